"""Errors of a command: bad input ends it with one line, a fault of the program with a traceback."""

from __future__ import annotations

import pickle
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from textwrap import shorten

from lightning.fabric.utilities.exceptions import MisconfigurationException

from lightning_invert.tables import FormatError

__all__ = ["exit_on_bad_input"]

MAX_LENGTH = 250
"""Characters of a message about weights that do not fit."""


@contextmanager
def exit_on_bad_input(command: str, file: str | None = None, *, prefix: str = "") -> Iterator[None]:
    """End the process with one line for an error of its input.

    The line begins with the command, and with the checkpoint ``file`` if that is what is wrong.
    Options of a table that it advises begin with ``prefix``.
    """
    try:
        yield
    except _input_errors() as error:
        if isinstance(error, KeyError) and not file:
            raise
        message = _message(error, prefix)
        if file and re.search("checkpoint|state_dict", message) and file not in message:
            message = f"{file}: {message}"
        raise SystemExit(f"{f'lightning-invert {command}'.rstrip()}: {message}") from error


def _input_errors() -> tuple[type[Exception], ...]:
    # Imported on an error alone: Polars takes its time to load.
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


def _message(error: Exception, prefix: str) -> str:
    if isinstance(error, FormatError):
        return error.as_options(prefix)
    if isinstance(error, KeyError):
        key = str(error.args[0])
        return key if " " in key else f"the checkpoint lacks {key!r}"
    # The parser lists all other types that the argument might have had.
    expected = re.search(r"^ *- (Expected (?!a <).*)", str(error), re.MULTILINE)
    if expected:
        return expected[1]
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    if "state_dict" in lines[0]:  # torch lists every weight that does not fit
        return shorten(" ".join(lines), MAX_LENGTH, placeholder=" ...")
    return " ".join(lines)
