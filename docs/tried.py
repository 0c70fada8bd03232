"""The table of what the callback was tried with: ``python -m docs.tried`` writes docs/evidence/tried.md."""

import json
from importlib import import_module
from pathlib import Path

from tests.callbacks.trainer_options import OPTIONS
from tests.real import NAMES, SEEN
from tests.third_party import PROJECTS
from tests.third_party.advised import ADVISED

FILE = Path(__file__).parent / "evidence" / "tried.md"

HEAD = """\
# What it was tried with

For those who ask whether the callback works with a project like theirs.

Made by the tests (`python -m docs.tried`), which try every line of it: `tests/test_drop_in.py` and `tests/callbacks/test_no_interference.py`. *By itself*: what `InvertibilityCallback()` does without being told anything: it watches `forward` at the first part of the batch, or says once what the batch holds and what to write. That is shown: each such entry of `maps` was copied from the message, and watched. Where no entry works, the message says why and shows the two lines of a method. *Maps*: with what it watches more, or at all. In each case a fit with the callback ends like one without, to the bit: weights, buffers, the project's own metrics, random streams.

## Real packages

`make test-projects` installs each in an environment of its own and trains it as its users do. The fit alone, watched without arguments, watched by the advice and watched by the maps below ends with the same weights, metrics and random streams; the singular values at two points are those of autograd's own Jacobian, up to the error in the last column (of the largest).

| package | trained | by itself | maps | n → m | error |
|---|---|---|---|---|---|
{real}

## Miniatures

These projects are miniatures: their batches, the signatures of their `forward` and what it returns are those of the originals, their sizes are not.

| project | after | by itself | maps | n → m |
|---|---|---|---|---|
"""

TRAINER = """
## Trainer options

A fit of a module with dropout, BatchNorm, random streams and logging in its forward, with and without the callback, is the same to the bit with

"""

ELSEWHERE = """\
- DDP and FSDP2 on two processes, with as many points, uneven, none on one of them, and one that fails (`tests/callbacks/test_strategies.py`)
- one validation loader or several, merged or separate (`test_dataloaders.py`); `limit_val_batches`, `val_check_interval`, `check_val_every_n_epoch` (`test_schedule.py`)
- TensorBoard, Weights & Biases (offline), MLflow (files), CSV, several loggers, none (`tests/report/loggers`)
- `lightning` and `pytorch_lightning`; `fit`, `validate`, `test`; resumed fits (`test_resume.py`)
"""


def plain(value):
    """Replace callables, at any depth, by a word."""
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    return "<callable>" if callable(value) else value


def entry_text(entry):
    if not isinstance(entry, dict):
        return f"`{entry!r}`"
    return f"`{plain(entry)!r}`"


def row(project):
    maps = "<br>".join(
        f"{name}: {entry_text(entry)}" for name, entry in (project.maps or {}).items()
    )
    shape = f"{project.shape[0]} → {project.shape[1]}" if project.shape else ""
    by_itself = "watched"
    if not project.is_watched_by_default:
        advised = ADVISED[project.name]
        by_itself = f"advises `{advised!r}`" if advised else "advises a method"
    source = project.source.replace("|", "/")
    return f"| {project.name} | {source} | {by_itself} | {maps.replace('|', '/')} | {shape} |"


def real_row(name, seen):
    project = import_module(f"tests.real.{name}")
    maps = "<br>".join(f"{key}: {entry_text(entry)}" for key, entry in project.MAPS.items())
    n, m = seen["shape"]
    return (
        f"| {project.REQUIREMENTS[0]} | {project.TRAINED} | {seen['alone']} | {maps} | {n} → {m} | "
        f"{seen['error']} |"
    )


def option_text(value):
    if isinstance(value, list):
        return [kind.__name__ for kind in value]
    return getattr(value, "__name__", value)


def option(options):
    return (
        f"- `{ {name: option_text(value) for name, value in options.items()}!r}`"
        if options
        else "- nothing else"
    )


def table():
    rows = "\n".join(row(project) for project in PROJECTS)
    seen = json.loads(SEEN.read_text(encoding="utf-8"))
    real = "\n".join(real_row(name, seen[name]) for name in NAMES)
    return (
        f"{HEAD.format(real=real)}{rows}\n{TRAINER}"
        + "\n".join(map(option, OPTIONS))
        + f"\n{ELSEWHERE}"
    )


if __name__ == "__main__":
    FILE.write_text(table(), encoding="utf-8")
