"""Errors of a command in one line: a traceback is for faults of the program, not of its input."""

from __future__ import annotations

import pickle
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from textwrap import shorten

from lightning.fabric.utilities.exceptions import MisconfigurationException

__all__ = ["in_one_line"]

MAX_LENGTH = 250
"""Characters of an account of weights that do not fit."""


@contextmanager
def in_one_line(command: str, file: str | None = None) -> Iterator[None]:
    """End the process with one line, where it is the input that is wrong.

    Args:
        command: As it was called, like ``fit``.
        file: The checkpoint in use, which is named where it is what is wrong.

    Raises:
        SystemExit: Instead of an error that bad arguments, files or networks lead to.
    """
    try:
        yield
    except _of_input() as error:
        if isinstance(error, KeyError) and not file:
            raise
        said = _said(error)
        if file and re.search("checkpoint|state_dict", said) and file not in said:
            said = f"{file}: {said}"
        raise SystemExit(f"{f'lightning-invert {command}'.rstrip()}: {said}") from error


def _of_input() -> tuple[type[Exception], ...]:
    # Only where something went wrong, as Polars takes its time to load.
    from polars.exceptions import PolarsError

    return (
        ValueError,
        TypeError,
        OSError,
        RuntimeError,
        EOFError,
        ImportError,  # of what an extra brings
        KeyError,  # what Lightning raises where a checkpoint lacks what it looks for
        MisconfigurationException,
        PolarsError,
        pickle.PickleError,
        zipfile.BadZipFile,
        zlib.error,
    )


def _said(error: Exception) -> str:
    if isinstance(error, KeyError):
        said = str(error.args[0])
        return said if " " in said else f"the checkpoint lacks {said!r}"
    # The parser gives an account of all other types that an argument might have had.
    expected = re.search(r"^ *- (Expected (?!a <).*)", str(error), re.MULTILINE)
    if expected:
        return expected[1]
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    if "state_dict" in lines[0]:  # torch counts up every weight that does not fit
        return shorten(" ".join(lines), MAX_LENGTH, placeholder=" ...")
    return " ".join(lines)
