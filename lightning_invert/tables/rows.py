"""The lines and rows of a text file, numbered as an editor shows them."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from lightning_invert.tables.cells import MISSING
from lightning_invert.tables.format import FormatError

__all__ = [
    "LINES_SEEN",
    "Line",
    "Row",
    "find_encoding",
    "is_comment",
    "read_lines",
    "split_rows",
    "until_broken",
]

BYTES_SEEN = 2**20
"""Of a file whose encoding is looked for."""

LINES_SEEN = 1000
"""At the top of a file, which tell how it is written."""


class Line(NamedTuple):
    """A line of a file, counted from 1, with its end."""

    number: int
    text: str


class Row(NamedTuple):
    """A row of a text file, from the line ``begin`` to the line ``end``, counted from 1."""

    begin: int
    end: int
    cells: list[str]

    @property
    def length(self) -> int:
        """Number of cells up to the last that holds anything."""
        length = len(self.cells)
        while length and not self.cells[length - 1].strip():
            length -= 1
        return length


def open_bytes(file: Path) -> Any:
    """Open a file, packed or not."""
    return (gzip.open if file.suffix.lower() == ".gz" else open)(file, "rb")


def find_encoding(file: Path) -> str:
    """Return the encoding of a file by its mark or its first bytes; cp1252 if it is not UTF-8."""
    with open_bytes(file) as stream:
        head = stream.read(BYTES_SEEN)
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    with suppress(UnicodeDecodeError):
        codecs.getincrementaldecoder("utf-8")().decode(head)
        return "utf-8"
    return "cp1252"


def read_lines(file: Path, encoding: str) -> Iterator[Line]:
    """Yield the lines of a file; an error names the line that cannot be decoded."""
    number = 0
    with open_bytes(file) as stream:
        # A line of bytes ends at the byte of "\n", but for the wide encodings.
        wide = codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))
        lines = io.TextIOWrapper(stream, encoding, newline="\n") if wide else stream
        try:
            for number, line in enumerate(lines, 1):
                text = line if wide else line.decode(encoding)
                yield Line(number, text.removeprefix("\ufeff") if number == 1 else text)
        except UnicodeDecodeError as error:
            raise FormatError(
                f"Expected {str(file)!r} to hold a table in {encoding.upper()}, but line "
                f"{number + wide} has the byte {error.object[error.start]:#x}. Save it as UTF-8, or say its encoding.",
                [("For example:", {"encoding": "latin-1" if encoding == "cp1252" else "cp1252"})],
            ) from None


def is_comment(line: Line) -> bool:
    """Whether a line begins with #, but for a word for missing, like #N/A."""
    word = re.split(r"[,;\t|]", line.text, maxsplit=1)[0].strip().lower()
    return line.text.startswith("#") and word not in MISSING


def split_rows(lines: Iterable[Line], separator: str) -> Iterator[Row]:
    """Split lines into rows; a csv.Error names the line. A blank separates however often it comes."""
    numbers: list[int] = []

    def texts() -> Iterator[str]:
        for number, text in lines:
            numbers.append(number)
            text = text.replace("\0", "?")  # which Python 3.10 does not split
            yield re.sub(r"[ \t]+", " ", text.strip()) + "\n" if separator == " " else text

    try:
        for cells in csv.reader(texts(), delimiter=separator, strict=True):
            yield Row(numbers[0], numbers[-1], cells)
            numbers.clear()
    except csv.Error as error:
        raise csv.Error(f"line {numbers[0]} cannot be split into cells: {error}") from error


def until_broken(rows: Iterator[Row]) -> Iterator[Row]:
    """Yield the rows that hold anything, up to a line that cannot be split: reading will name it."""
    with suppress(csv.Error):
        yield from (row for row in rows if row.length)
