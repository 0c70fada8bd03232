"""Options of a command: a dataclass, with one line of help for each."""

from __future__ import annotations

import argparse
import csv
import re
from argparse import SUPPRESS
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, field, fields
from importlib import import_module
from typing import Any, NoReturn, get_args, get_origin, get_type_hints

from jsonargparse import ArgumentParser, DefaultHelpFormatter

from lightning_invert.arguments import suggest
from lightning_invert.cli.errors import describe_input_error, exit_on_bad_input, suggest_option
from lightning_invert.tables import TableFormat

__all__ = [
    "ALLOW",
    "BOUNDS",
    "CKPT",
    "FILES",
    "FIXED",
    "NEW_FOLDER",
    "PRICES",
    "PROGRESS",
    "AsWritten",
    "Names",
    "OneLineErrors",
    "check_names",
    "listed",
    "option",
    "run_command",
    "split_names",
]

Names = list[str] | str
"""Written as ``a``, ``a,b`` or ``[a, b]``."""

ALLOW = (
    "Packages, modules and classes that a checkpoint may import and run: a, or [a, b]. Default: only "
    "torch's layers and this package's own networks and schedules."
)
CKPT = "Checkpoint of a trained pair (ForwardInverseModule)."
FILES = ".csv, .tsv, .txt, .dat, each also as .gz, .parquet, .pq, .xlsx or .xlsm"
FIXED = "Fixed settings, {name: value} or a YAML file."
BOUNDS = (
    "Bounds of the settings, {name: [low, high]} or a YAML file. They replace the ranges in the "
    "checkpoint; null keeps an end."
)
PRICES = "Price of a unit of each setting, {name: price} or a YAML file."
NEW_FOLDER = "in the run of the checkpoint, else here. If it exists, the new name gets a number."
PROGRESS = "Whether to show a progress bar in a terminal if it takes long."


class AsWritten(DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keep the lines of a description."""


class Brief(AsWritten):
    """Show an option's default where it has one, and no type: the help says what to write."""

    def _get_help_string(self, action: argparse.Action) -> str:
        shown = action.default not in (None, SUPPRESS) and action.option_strings != ["-h", "--help"]
        return f"{action.help} Default: %(default)s." if shown else str(action.help)


class OneLineErrors(ArgumentParser):
    """End with one line, which names the option that a misspelt one is near to."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Exit with the line."""
        if not self.exit_on_error:  # a parser within: of one class among several
            super().error(message, ex)
        parser = getattr(ex, "subcommand_parser", None) or self
        name = parser.prog.replace(" [options]", "")
        # One that might be the beginning of several is misspelt, too.
        message = re.sub(
            r"ambiguous option: (\S+) could match .*", r"unrecognized arguments: \1", message
        )
        line = describe_input_error(ValueError(message)).rstrip(".")
        hint = suggest_option(message, parser.option_names())
        raise SystemExit(f"{name}: {line}.{hint or f' See {name} --help.'}") from ex

    def option_names(self) -> list[str]:
        """Return what a misspelt option may be near to."""
        return list(self._option_string_actions)


def option(text: str, default: Any = MISSING) -> Any:
    """Return the field of an option; without a default, a command needs it."""
    return field(default=default, metadata={"help": text})


def check_names(option: str, names: Iterable[str], known: Iterable[str], what: str) -> None:
    """Raise a ValueError for the first name that is none of the known ones."""
    known = list(known)
    for name in names:
        if name not in known:
            raise ValueError(
                f"Expected {option} to name {what}, some of {', '.join(known)}, but got {name!r}."
                + suggest(name, known)
            )


def listed(names: Names | None) -> list[str]:
    """Return names as a list; ``a,b`` are two."""
    return split_names(names) if isinstance(names, str) else list(names or ())


def split_names(text: str) -> list[str]:
    """Return the names of ``a, b``; one with a comma stands in double quotes."""
    names = next(csv.reader([text], skipinitialspace=True), [])
    return [name.strip() for name in names if name.strip()]


def run_command(name: str, args: Sequence[str]) -> None:
    """Read the options of ``cli/{name}_options.py`` and run ``cli/{name}.py``: only that loads torch.

    The first word may be the value of the option ``FIRST``. A dictionary may be the name of a YAML file.
    Bad input ends the process with one line.
    """
    module = import_module(f"lightning_invert.cli.{name}_options")
    parser = OneLineErrors(
        prog=f"lightning-invert {name}",
        usage="%(prog)s [options]",
        description=module.DESCRIPTION,
        formatter_class=Brief,
    )
    types = get_type_hints(module.Options)
    # How a table is written comes last.
    for part in sorted(fields(module.Options), key=lambda part: part in fields(TableFormat)):
        needed = part.default is MISSING
        parser.add_argument(
            f"--{part.name}",
            type=types[part.name],
            help=part.metadata["help"],
            sub_configs=_has_dictionary(types[part.name]),
            **{"required": True} if needed else {"default": part.default},
        )
    words = list(args)
    if words and not words[0].startswith("-"):
        words.insert(0, f"--{module.FIRST}")
    settings = parser.instantiate(parser.parse_args(words))
    options = module.Options(**vars(settings))
    with exit_on_bad_input(name):
        import_module(f"lightning_invert.cli.{name}").run(options)


def _has_dictionary(annotation: Any) -> bool:
    return any(get_origin(part) is dict for part in (annotation, *get_args(annotation)))
