"""Errors of a command: bad input ends it with one line, a fault of the program with a traceback."""

from __future__ import annotations

import pickle
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from inspect import signature
from textwrap import shorten

from lightning_invert.arguments import suggest
from lightning_invert.tables import FormatError

__all__ = ["describe_input_error", "exit_on_bad_input", "suggest_option"]

MAX_LENGTH = 250
"""Characters of a message about weights that do not fit."""

UNKNOWN = r"class_path '([\w.]+)':\s+Option '(\w+)' is not accepted"
"""What the parser says of a setting that a class does not have."""

WRONG = r"class_path '([\w.]+)':\s+Parser key \"(\w+)\": (Expected .*)"
"""What the parser says of a setting that does not have its type."""


NEEDED = r"(?:class_path '([\w.]+)':\s+)?the following arguments are required: (\w+(?:, \w+)*)"
"""What the parser says of a setting that is not there."""

CHOICE = r'Parser key "([\w.]+)":\s+Expected a typing\.Literal\[(.*?)\]\. Got value: (\S+)'
"""What the parser says of a setting that is none of a few words."""


@contextmanager
def exit_on_bad_input(command: str, file: str | None = None) -> Iterator[None]:
    """End the process with one line for an error of its input.

    The line begins with the command, and with the checkpoint ``file`` if that is what is wrong.
    """
    try:
        yield
    except _input_errors() as error:
        if isinstance(error, KeyError) and not file:
            raise
        message = describe_input_error(error)
        if file and re.search("checkpoint|state_dict", message) and file not in message:
            message = f"{file}: {message}"
        raise SystemExit(f"{f'lightning-invert {command}'.rstrip()}: {message}") from error


def _input_errors() -> tuple[type[Exception], ...]:
    # Imported on an error alone: they take their time to load.
    from lightning.fabric.utilities.exceptions import MisconfigurationException
    from polars.exceptions import PolarsError

    return (
        ValueError,
        TypeError,
        OSError,
        RuntimeError,
        EOFError,
        ImportError,  # of a package that an extra installs
        KeyError,  # from Lightning, of a checkpoint that lacks an entry
        MisconfigurationException,
        PolarsError,
        pickle.PickleError,
        zipfile.BadZipFile,
        zlib.error,
    )


def describe_input_error(error: Exception) -> str:
    """Return one line for an error of the input."""
    if isinstance(error, FormatError):
        return error.as_options()
    if isinstance(error, KeyError):
        key = str(error.args[0])
        return key if " " in key else f"the checkpoint lacks {key!r}"
    if unknown := re.search(UNKNOWN, str(error)):
        return f"{unknown[1]} has no setting {unknown[2]!r}."
    if wrong := re.search(WRONG, str(error)):
        return f"{wrong[2]} of {wrong[1]}: {wrong[3]}"
    # The parser lists all other types that the argument might have had.
    expected = re.search(r"^ *- (Expected (?!<|a <|a path|a dot).*)", str(error), re.MULTILINE)
    if expected:
        return expected[1]
    if needed := re.search(NEEDED, str(error)):
        of = f" of {needed[1]}" if needed[1] else ""
        return f"Expected a value of {', '.join(f'--{name}' for name in needed[2].split(', '))}{of}"
    if choice := re.search(CHOICE, str(error)):
        return f"--{choice[1]}: Expected one of {choice[2]}, but got {choice[3]!r}"
    if named := re.match(r'Parser key "([\w.]+)":', str(error)):
        reasons = re.findall(
            r"(Expected (?:a )?(?!path|<class 'NoneType'>)(?:<|dot).*)", str(error)
        )
        value = re.search(r"Given value: (.*)", str(error))
        if reasons:
            reason = re.sub(r"<class '(?:[\w.]+\.)?(\w+)'>", r"\1", reasons[-1])
            got = f", but got {value[1]}" if value and not re.search("Got|string:", reason) else ""
            return f"--{named[1]}: {reason}{got}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    if "state_dict" in lines[0]:  # torch lists every weight that does not fit
        return shorten(" ".join(lines), MAX_LENGTH, placeholder=" ...")
    return " ".join(lines)


def suggest_option(message: str, options: Sequence[str]) -> str:
    """Return " Did you mean ...?" for a misspelt option of a parser; empty if none is near."""
    if unknown := re.search(UNKNOWN, message):
        module, _, name = unknown[1].rpartition(".")
        parts = getattr(import_module(module), name).__mro__
        return suggest(unknown[2], [name for part in parts for name in signature(part).parameters])
    misspelt = re.search(r"(?:unrecognized arguments: -|accept option ')-*([\w.]+)", message)
    return suggest(f"--{misspelt[1]}", options) if misspelt else ""
