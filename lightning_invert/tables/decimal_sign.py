"""The decimal sign of a text file: the one convention in which all its numbers can be read."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path

from lightning_invert.tables.cells import CONVENTIONS, Convention, conventions_of
from lightning_invert.tables.format import FormatError, TableFormat
from lightning_invert.tables.layout import Layout, unsaid
from lightning_invert.tables.rows import LINES_SEEN, Line, until_broken

__all__ = ["find_convention"]


def find_convention(
    file: Path, lines: Iterable[Line], places: Collection[int], form: TableFormat, layout: Layout
) -> Layout:
    """Return the layout with the one convention in which all numbers at ``places`` can be read.

    The first lines decide, and where they leave two decimal signs possible, the lines after them.
    """
    left = {
        convention
        for convention in CONVENTIONS
        if form.decimal in (None, convention.decimal)
        and form.thousands in (None, convention.thousands)
    }
    doubtful, commas = None, False
    separating = layout.separator == "," and (len(layout.names) > 1 or form.separator == ",")
    for row in until_broken(layout.rows(lines)):
        if row.begin > LINES_SEEN and (separating or _is_decided(left)):
            break
        for place in places:
            cell = row.cells[place].strip() if place < len(row.cells) else ""
            found = conventions_of(cell)
            left = left & found or left  # reading will name a number in none of them
            commas = commas or (bool(found) and "," in cell)
            if doubtful is None and not _is_decided(found) and ("." in cell or "," in cell):
                doubtful = row.begin, layout.names[place], cell
    if separating and not commas:  # then a comma was no decimal sign
        left = {convention for convention in left if convention.decimal == "."} or left
    if doubtful is not None and not _is_decided(left):
        raise _doubt(file, layout, doubtful, left)
    convention = next(convention for convention in CONVENTIONS if convention in left)
    known = unsaid(layout.found | convention._asdict(), form)
    return replace(layout, convention=convention, found=known)


def _is_decided(conventions: Iterable[Convention]) -> bool:
    return len({convention.decimal for convention in conventions}) < 2


def _doubt(
    file: Path, layout: Layout, cell: tuple[int, str, str], left: Collection[Convention]
) -> FormatError:
    """Return the error that shows each number that a cell can be, and what to write for it."""
    line, column, text = cell
    values: dict[float, Convention] = {}
    for convention in CONVENTIONS:
        if convention in left and convention in conventions_of(text):
            values.setdefault(convention.read(text), convention)
    return FormatError(
        f"Expected {str(file)!r} to tell how its numbers are written, but column {column!r} has "
        f"{text!r} in line {line}, and no number in the file shows whether that is "
        f"{' or '.join(f'{value:.15g}' for value in values)}.",
        [
            (f"If it is {value:.15g}, write", layout.found | convention._asdict())
            for value, convention in values.items()
        ],
    )
