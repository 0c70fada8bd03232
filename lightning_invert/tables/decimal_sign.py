"""The decimal sign of a text file: the one convention in which all its numbers can be read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from lightning_invert.tables.cells import CONVENTIONS, Convention, conventions_of
from lightning_invert.tables.format import FormatError, TableFormat
from lightning_invert.tables.layout import Layout, unsaid
from lightning_invert.tables.rows import Line, first_lines, open_bytes, read_lines, until_broken
from lightning_invert.tables.units import split_unit

__all__ = ["find_convention"]

BLOCK = 2**20
"""Bytes that are searched at a time."""

LIKE_A_TIME = re.compile(r"^\s*\d\d\.[0-5]\d\s*$")
"""14.30, 31.12: no evidence for a decimal point, in a column that is not read."""


def find_convention(
    file: Path, text: Path, columns: Sequence[str] | None, form: TableFormat, layout: Layout
) -> Layout:
    """Return the layout with the one convention in which all numbers can be read.

    The first lines decide, and where they leave two decimal signs possible, the lines after them.
    """
    lines = read_lines(text, "utf-8", file)
    sample = list(first_lines(lines))
    wanted = {
        place
        for place, name in enumerate(layout.names)
        if columns is None or name in columns or split_unit(name)[0] in columns
    }
    possible = {
        convention
        for convention in CONVENTIONS
        if form.decimal in (None, convention.decimal)
        and form.thousands in (None, convention.thousands)
    }
    everywhere, within = set(possible), set(possible)
    doubtful, commas = None, False
    separating = layout.separator == "," and (len(layout.names) > 1 or form.separator == ",")
    for row in until_broken(layout.rows(chain(sample, _telling(text, sample, lines)))):
        decided = separating or _decided(everywhere or within)
        if row.begin > len(sample) and decided:
            break
        for place, cell in enumerate(row.cells[: len(layout.names)]):
            found = conventions_of(cell.strip())
            if not found or (place not in wanted and LIKE_A_TIME.match(cell)):
                continue
            everywhere &= found
            commas = commas or "," in cell
            if place in wanted:
                within &= found
                if doubtful is None and not _decided(found) and ("." in cell or "," in cell):
                    doubtful = row.begin, layout.names[place], cell.strip()
    # Numbers in two conventions: reading will name the cells.
    left = everywhere or within or {next(c for c in CONVENTIONS if c in possible)}
    if separating and not commas:  # then a comma was no decimal sign
        left = {convention for convention in left if convention.decimal == "."} or left
    if doubtful is not None and not _decided(left):
        raise _doubt(file, layout.found, doubtful, left)
    convention = next(convention for convention in CONVENTIONS if convention in left)
    known = unsaid(layout.found | convention._asdict(), form)
    return replace(layout, convention=convention, found=known)


def _decided(conventions: Iterable[Convention]) -> bool:
    return len({convention.decimal for convention in conventions}) < 2


def _telling(text: Path, sample: Sequence[Line], rest: Iterator[Line]) -> Iterator[Line]:
    """Yield the lines after the first ones, unless no point and no comma is in them."""
    with open_bytes(text) as stream:
        stream.read(sum(len(line.text.encode()) for line in sample))
        blocks = iter(lambda: stream.read(BLOCK), b"")
        tells = any(b"." in block or b"," in block for block in blocks)
    yield from rest if tells else ()


def _doubt(
    file: Path, known: dict[str, Any], cell: tuple[int, str, str], left: Iterable[Convention]
) -> FormatError:
    """Return the error that shows each number that a cell can be, and what to write for it."""
    line, column, text = cell
    advice: list[tuple[float, dict[str, Any]]] = []
    for convention in CONVENTIONS:
        if convention in left and convention in conventions_of(text):
            value = convention.read(text)
            if all(value != other for other, _ in advice):
                said = {"decimal": convention.decimal, "thousands": convention.thousands}
                advice.append((value, known | said))
    readings = " or ".join(f"{value:.15g}" for value, _ in advice)
    return FormatError(
        f"Expected {str(file)!r} to tell how its numbers are written, but column {column!r} has "
        f"{text!r} in line {line}, and no number in the file shows whether that is {readings}.",
        [(f"If it is {value:.15g}, write", said) for value, said in advice],
    )
