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
    "Line",
    "Row",
    "find_encoding",
    "first_lines",
    "is_comment",
    "one_blank",
    "open_bytes",
    "read_lines",
    "split_rows",
    "until_broken",
]

BYTES_SEEN = 2**20
"""Of a file whose encoding is looked for."""

LINES_SEEN, FEW_LINES, CHARACTERS_SEEN = 1000, 20, 2**20
"""At the top of a file; of long lines fewer."""


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
    def is_blank(self) -> bool:
        """Whether no cell holds anything."""
        return not any(cell.strip() for cell in self.cells)


def open_bytes(file: Path) -> Any:
    """Open a file, packed or not."""
    return (gzip.open if file.suffix.lower() == ".gz" else open)(file, "rb")


def find_encoding(file: Path) -> str:
    """Return the encoding of a file by its mark or its first bytes; cp1252 if it is not UTF-8."""
    with open_bytes(file) as stream:
        head = stream.read(BYTES_SEEN)
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def read_lines(path: Path, encoding: str, file: Path) -> Iterator[Line]:
    """Yield the lines at a path; an error names the line that cannot be decoded, and the file."""
    number = 0
    with open_bytes(path) as stream:
        # A line of bytes ends at the byte of "\n", but for the wide encodings.
        wide = encoding.lower().replace("_", "-").startswith(("utf-16", "utf-32"))
        lines = io.TextIOWrapper(stream, encoding, newline="\n") if wide else stream
        try:
            for number, line in enumerate(lines, 1):
                text = line if wide else line.decode(encoding)
                if number == 1:
                    _check_text(file, text)
                    text = text.removeprefix("\ufeff")
                yield Line(number, text)
        except UnicodeDecodeError as error:
            raise FormatError(
                f"Expected {str(file)!r} to hold a table in {encoding.upper()}, but line "
                f"{number + wide} has the byte {error.object[error.start]:#x}. Save it as UTF-8, or say its encoding.",
                [("For example:", {"encoding": "latin-1" if encoding == "cp1252" else "cp1252"})],
            ) from None


def _check_text(file: Path, text: str) -> None:
    if "\0" in text:
        raise FormatError(
            f"Expected {str(file)!r} to hold a table in UTF-8, but line 1 is UTF-16 or binary. Save it "
            "as UTF-8.",
            [("If it is UTF-16 without a mark:", {"encoding": "utf-16-le"})],
        )


def first_lines(lines: Iterator[Line]) -> Iterator[Line]:
    """Yield the lines that tell how a file is written."""
    size = 0
    for line in lines:
        yield line
        size += len(line.text)
        if line.number >= LINES_SEEN or (line.number >= FEW_LINES and size > CHARACTERS_SEEN):
            return


def is_comment(line: Line) -> bool:
    """Whether a line looks like a comment; #N/A is a word for missing."""
    word = re.split(r"[,;\t|]", line.text, maxsplit=1)[0].strip().lower()
    return line.text.startswith("#") and word not in MISSING


def split_rows(lines: Iterable[Line], separator: str) -> Iterator[Row]:
    """Split lines into rows; a csv.Error names the line. A blank separates however often it comes."""
    numbers: list[int] = []

    def texts() -> Iterator[str]:
        for number, text in lines:
            numbers.append(number)
            text = text.replace("\0", "?")  # which Python 3.10 does not split
            yield one_blank(text) if separator == " " else text

    try:
        for cells in csv.reader(texts(), delimiter=separator, strict=True):
            yield Row(numbers[0], numbers[-1], cells)
            numbers.clear()
    except csv.Error as error:
        raise csv.Error(f"line {numbers[0]} cannot be split into cells: {error}") from error


def until_broken(rows: Iterator[Row]) -> Iterator[Row]:
    """Yield rows up to a line that cannot be split: reading will name it."""
    with suppress(csv.Error):
        yield from rows


def one_blank(text: str) -> str:
    """Return a line with one blank between its words."""
    return re.sub(r"[ \t]+", " ", text.strip()) + "\n"
