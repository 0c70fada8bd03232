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

In every case below, a fit with the callback ends like a fit without it, to the bit: weights, buffers, the project's own metrics, random streams.

The column *without arguments* shows what `InvertibilityCallback()` does:

- *watched*: it watches `forward` at the first part of the batch.
- an entry: it cannot guess what to watch, and says so once. The message gives this entry of `maps=` to copy, for the map `forward`. The tests copied it, and it was watched.
- *shows a method*: no entry works. The message says why, and shows two lines of a method to add.

The column *with maps* shows entries that watch more, or watch where nothing else does. [Name what to watch](../how_to/name_what_to_watch.md) explains them. n → m are the numbers of inputs and outputs of the first map.

## Real packages

`make test-projects` installs each package in an environment of its own and trains it as its users do. It does so four times: without the callback, with it and no arguments, with the entry of its message (if there is one), and with the maps below. All end with the same weights, metrics and random streams. The last column is the error of the singular values at two points, against autograd's own Jacobian, as a share of the largest.

| package | trained | without arguments | with maps | n → m | error |
|---|---|---|---|---|---|
{real}

## Miniatures

These projects are small copies of others. Their batches, the signatures of their `forward` and what it returns are those of the originals. Their sizes are not.

| project | copy of | without arguments | with maps | n → m |
|---|---|---|---|---|
"""

TRAINER = """
## Options of Trainer and loaders

A module draws random numbers and logs in its forward, and has dropout and BatchNorm. Its fit is the same to the bit, with the callback and without, with

"""

ELSEWHERE = """\
- DDP and FSDP2 on two processes: with as many points on each, with uneven numbers, with none on one of them, and with one that fails (`tests/callbacks/test_strategies.py`)
- one validation loader or several, merged or separate (`test_dataloaders.py`)
- `limit_val_batches`, `val_check_interval`, `check_val_every_n_epoch` (`test_schedule.py`)
- TensorBoard, Weights & Biases (offline), MLflow (files), CSV, several loggers, none (`tests/report/loggers`)
- `lightning` and `pytorch_lightning`; `fit`, `validate`, `test`; resumed fits (`test_resume.py`)

The tests write this page (`python -m docs.tried`) and try every line of it: `tests/test_drop_in.py` and `tests/callbacks/test_no_interference.py`.
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
        by_itself = f"`{advised!r}`" if advised else "shows a method"
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


def option(options):
    if not options:
        return "- no further option"
    ((name, value),) = options.items()
    if name == "module":
        return "- an encoder that `torch.compile` made"
    if name == "callbacks":
        (callback,) = value
        return f"- the callback `{callback.__name__}`"
    return f"- `{name}={value!r}`"


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
