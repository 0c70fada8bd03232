"""The words of ``fit``, ``validate``, ``test`` and ``predict``, put as Lightning's parser reads them."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import Trainer

from lightning_invert.arguments import suggest
from lightning_invert.cli.options import listed
from lightning_invert.datamodules import ProblemDataModule, TabularDataModule
from lightning_invert.pair.checkpoint import read_checkpoint
from lightning_invert.pair.module import ForwardInverseModule
from lightning_invert.tables import TableFormat, TableReader, split_unit
from lightning_invert.tables.reader import ENDINGS

__all__ = ["ASK_FOR_CKPT", "short_options", "words_of_parser"]

CONFIGS = Path(__file__).parents[1] / "configs"

GROUPS = {
    "data": (TabularDataModule, ProblemDataModule),
    "model": (ForwardInverseModule,),
    "trainer": (Trainer,),
}

HELP = ("-h", "--help", "--print_config")
"""Options that take no word."""

ASK_FOR_CKPT = (
    "Expected --ckpt to name the checkpoint of a trained pair; without one the networks would be "
    "untrained."
)

COLUMNS = ("--data.inputs", "--data.outputs")


def words_of_parser(words: Sequence[str]) -> list[str]:
    """Return a command line as the parser reads it.

    A table is a file for the packaged config of tables, a YAML file a config. An option of data, model or
    trainer may go without its group. ``--config`` may name a packaged config. Columns may be ``a,b``
    or ``a b``.
    """
    command, *rest = words or [""]
    known, table, read = short_options(), "", list[str]()
    for option, equals, values in _phrases(rest, known):
        takes = bool(equals) or option not in ("", *HELP)
        own, free = values[:takes], values[takes:]
        if not table and free and (not option or free[-1].lower().endswith(ENDINGS)):
            table = free.pop(-1 if option else 0)
        if option in COLUMNS and not "".join(own).startswith("["):
            own, free = [json.dumps(listed(",".join([*own, *free])))], []
        elif option in ("-c", "--config"):
            own = [_config_file(value) for value in own]
        read += [f"{option}={own[0]}"] if equals else [*[option] * bool(option), *own]
        read += free
    if table.endswith((".yaml", ".yml")):
        table, read = "", ["--config", table, *read]
    return [*words[:1], *(_options_of_table(table, command, read) if table else []), *read]


def _phrases(words: Sequence[str], known: Mapping[str, str]) -> list[tuple[str, str, list[str]]]:
    """Return each option with the words up to the next one; the first phrase has no option."""
    phrases: list[tuple[str, str, list[str]]] = [("", "", [])]
    for word in words:
        option, equals, value = word.partition("=")
        if word.startswith("--"):
            head, dot, tail = option[2:].partition(".")
            name = head.removesuffix("+")
            option = f"--{known.get(name, name)}{head[len(name) :]}{dot}{tail}"
        elif option not in ("-c", "-h"):
            phrases[-1][2].append(word)
            continue
        phrases.append((option, equals, [value] if equals else []))
    return phrases


def short_options() -> dict[str, str]:
    """Return what an option without its group stands for: ``max_epochs`` for ``trainer.max_epochs``."""
    known = {"ckpt": "ckpt_path", "seed": "seed_everything", "allow": "allow"}
    for group, kinds in GROUPS.items():
        for part in (part for kind in kinds for part in kind.__mro__):
            for name in signature(part).parameters:
                known.setdefault(name, f"{group}.{name}")
    return known


def _options_of_table(file: str, command: str, words: Sequence[str]) -> list[str]:
    """Return the options that a table stands for; those of its data may be those of a checkpoint."""
    given = dict[str, str]()
    for word, value in zip(words, [*words[1:], ""], strict=False):
        name, equals, own = word.partition("=")
        given[name] = own if equals else value
    settings: dict[str, Any] = {}
    if command != "fit" and "--ckpt_path" in given:
        kept = read_checkpoint(given["--ckpt_path"]).get("datamodule_hyper_parameters", {})
        names = [name for part in TabularDataModule.__mro__ for name in signature(part).parameters]
        settings = {name: kept[name] for name in names if kept.get(name) is not None}
    settings["file"] = file
    columns = [listed(yaml.safe_load(given[side])) for side in COLUMNS if side in given]
    reader = TableReader(
        file, list({n: n for names in columns for n in names}) or None, _format_of(given)
    )
    is_named = len(columns) == 2 or "--config" in given or "-c" in given or "inputs" in settings
    if not is_named:
        # A misspelt --inputs is the likeliest reason.
        written = [name for name in given if name.startswith("--") and "." not in name]
        hint = next(
            filter(None, (suggest(name, ("--inputs", "--outputs")) for name in written)), ""
        )
        hint = f".{hint}" if hint else ""
        raise ValueError(_ask_for_columns(reader) + hint if command == "fit" else ASK_FOR_CKPT)
    run = re.sub(r"[^\w.-]", "_", Path(file.removesuffix(".gz")).stem).lstrip(".") or "table"
    options = {f"data.{name}": value for name, value in settings.items()}
    return [
        *("--config", str(CONFIGS / "tabular.yaml"), "--trainer.logger.init_args.name", run),
        *(f"--{n}={v if isinstance(v, str) else json.dumps(v)}" for n, v in options.items()),
    ]


def _format_of(given: Mapping[str, str]) -> TableFormat:
    names = TableFormat.__dataclass_fields__
    written = {name: given[f"--data.{name}"] for name in names if f"--data.{name}" in given}
    written.pop("missing", None)
    return TableFormat(**{n: int(v) if v.isdigit() else v for n, v in written.items()})  # type: ignore[arg-type]


def _ask_for_columns(reader: TableReader) -> str:
    columns = TableReader(reader.file, None, reader.form).columns
    names = [split_unit(column)[0] for column in columns]
    names = names if len(set(names)) == len(names) else columns
    names = [f'"{name}"' if "," in name else name for name in names]
    return (
        "Expected --inputs a,b and --outputs c to name the settings and the outcomes. The columns of "
        f"{reader.file} are {shlex.quote(','.join(names))}"
    )


def _config_file(name: str) -> str:
    # The parser judges what looks like a path or like YAML.
    if not re.fullmatch(r"\w[\w-]*", name) or Path(name).is_file():
        return name
    packaged = {path.stem: str(path) for path in sorted(CONFIGS.glob("*.yaml"))}
    if name not in packaged:
        raise ValueError(
            f"Expected --config to be a file or one of {', '.join(packaged)}, but got {name!r}."
        )
    return packaged[name]
