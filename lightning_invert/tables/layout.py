"""The layout of a text file, found by one look at its first lines."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_invert.tables.cells import CONVENTIONS, FLAGS, MISSING, Convention, conventions_of
from lightning_invert.tables.format import TableFormat
from lightning_invert.tables.rows import (
    Line,
    Row,
    first_lines,
    is_comment,
    read_lines,
    split_rows,
    until_broken,
)
from lightning_invert.tables.units import find_units, split_unit

__all__ = ["COMMENT", "Layout", "find_layout", "unsaid"]

SEPARATORS, INFINITIES = ",;\t| ", ("inf", "-inf", "nan")

COMMENT = "# "
"""At the beginning of a line among the rows; above them, any # will do."""

PLAIN = {
    "separator": ",", "decimal": ".", "thousands": "", "encoding": "utf-8", "skip_rows": 0, "units_row": 0,
}  # fmt: skip
"""Of a plain CSV file."""

TITLES_SEEN, MAX_TEXT_ROWS = 50, 3
"""Rows above the names, and rows under them without a number."""


@dataclass(frozen=True)
class Layout:
    """How a text file writes its table."""

    separator: str
    convention: Convention  # the simplest, until it is looked for
    names: tuple[str, ...]  # of the columns, as the file has them
    units: tuple[str, ...]  # of the columns, empty where none is told
    header_end: int  # the line before the first number, counted from 1
    spare: int  # columns without a name at the end of rows
    comments: bool  # whether lines among the rows are comments
    percents: frozenset[int]  # places of columns of per cent
    found: dict[str, Any]  # option -> what is not as in a plain CSV file, and nobody said

    def rows(self, lines: Iterable[Line]) -> Iterator[Row]:
        """Split what follows the names and units into rows."""
        below = (line for line in lines if line.number > self.header_end)
        return split_rows(_without_comments(below) if self.comments else below, self.separator)

    def describe(self) -> str:
        """Say in a few words what is not as in a plain CSV file."""
        found = ", ".join(f"{name} {value!r}" for name, value in self.found.items())
        percents = ", ".join(repr(self.names[place]) for place in sorted(self.percents))
        parts = [found and f"with {found}", percents and f"{percents} in per cent"]
        return "; ".join(filter(None, [*parts, "without its comments" * self.comments]))


def find_layout(
    file: Path,
    text: Path,
    columns: Sequence[str] | None,
    form: TableFormat,
    encoding: str,
) -> Layout:
    """Look at the first lines of a file; ``text`` is the file in UTF-8, ``columns`` will be read."""
    sample = list(first_lines(read_lines(text, "utf-8", file)))
    below, separator = _without_separator_line(sample[form.skip_rows or 0 :])
    if not any(line.text.strip() for line in below):
        raise ValueError(f"Expected {str(file)!r} to hold a table, but the file is empty.")
    comment, body = _from_the_names(file, below)
    kept = list(_without_comments(body)) or body
    separator = form.separator or separator or _find_separator(file, kept, columns)
    rows = [row for row in until_broken(split_rows(kept, separator)) if not row.is_blank]
    if not rows:
        next(split_rows(kept, separator))  # the error that names the line
    header = _find_header(rows, comment, separator, columns, form)
    rows = [row for row in rows if row.begin > header.begin]
    names = [cell.strip() for cell in header.cells]
    if columns is None and all(map(_is_number, names)) and not all(map(str.isdigit, names)):
        raise ValueError(
            f"Expected line {header.begin} of {str(file)!r} to name the columns, but it has the numbers "
            f"{', '.join(names[:3])}. Write a line of names above them, or name the columns to be read."
        )
    asked = columns or tuple(names)
    cut = any(len(row.cells) < len(names) for row in rows)  # as LabVIEW leaves comments out
    while len(names) > 1 and (
        not names[-1]
        or (cut and names[-1] not in asked and all(_end(row) < len(names) for row in rows))
    ):
        names.pop()
    tails = [len(row.cells) for row in rows if _end(row) <= len(names)]
    text_rows = _count_text_rows(rows, len(names)) if form.units_row is None else form.units_row
    text_rows = min(text_rows, len(rows))
    found = {
        "separator": separator,
        "encoding": encoding,
        "skip_rows": header.begin - 1,
        "units_row": text_rows,
    }
    return Layout(
        separator=separator,
        convention=CONVENTIONS[0],
        names=tuple(names),
        units=find_units(names, [row.cells for row in rows[:text_rows]]),
        header_end=rows[text_rows - 1].end if text_rows else header.end,
        spare=max([len(header.cells), *tails]) - len(names),
        comments=len(kept) < len(body),
        percents=frozenset(
            place
            for row in rows
            for place, cell in enumerate(row.cells[: len(names)])
            if cell.rstrip().endswith("%") and conventions_of(cell.strip())
        ),
        found=unsaid(found, form),
    )


def unsaid(found: Mapping[str, Any], form: TableFormat) -> dict[str, Any]:
    """Return what was found and is not what a plain CSV file has, nor what was said."""
    return {
        name: found[name]
        for name, plain in PLAIN.items()
        if found.get(name, plain) != plain and getattr(form, name) is None
    }


def _without_separator_line(lines: list[Line]) -> tuple[list[Line], str | None]:
    """Take off the line ``sep=;`` of a spreadsheet."""
    first = next((index for index, line in enumerate(lines) if line.text.strip()), 0)
    match = re.match(r'^"?sep=(.)"?\s*$', lines[first].text, re.IGNORECASE) if lines else None
    return (lines[first + 1 :], match[1]) if match else (lines, None)


def _without_comments(lines: Iterable[Line]) -> Iterator[Line]:
    return (line for line in lines if not line.text.startswith(COMMENT))


def _from_the_names(file: Path, lines: list[Line]) -> tuple[Line | None, list[Line]]:
    """Return the last comment above the names, and what follows the comments there."""
    filled = [line for line in lines if line.text.strip()]
    first = next((index for index, line in enumerate(filled) if not is_comment(line)), 0)
    below = filled[first + 1 :]
    strange = [line for line in below if is_comment(line) and not line.text.startswith(COMMENT)]
    if 0 < len(strange) < len(below):  # all: numbers of rows, like #1
        raise ValueError(
            f"Expected a comment in {str(file)!r} to begin with {COMMENT!r}, but line "
            f"{strange[0].number} begins with {strange[0].text[:9].strip()!r}. Write a blank there, or "
            "delete the line."
        )
    comment = filled[first - 1] if first else None
    return comment, lines[lines.index(filled[first]) :]


def _find_separator(file: Path, lines: list[Line], columns: Sequence[str] | None) -> str:
    """Return the separator that gives names and rows one length and the most numbers."""
    ranks: dict[str, tuple[bool, int, int]] = {}
    for separator in SEPARATORS:
        is_blank = separator == " "
        # A blank is in names and between thousands, too.
        if is_blank and (ranks or file.name.lower().endswith((".csv", ".csv.gz"))):
            break
        try:
            rows = [row for row in split_rows(lines, separator) if not row.is_blank]
        except csv.Error:
            continue
        length = _usual_length(rows)
        if length > 1 and _header_index(rows) is not None:
            numeric = len(_numeric_places(rows[1:], length))
            named = any(_holds(row, columns) for row in rows[:TITLES_SEEN])
            if named or not is_blank:
                ranks[separator] = named, numeric, numeric - length
    if ranks:
        return max(ranks, key=ranks.__getitem__)
    # One column, whose commas then are within its cells; or broken, which reading will tell.
    mark = max(",;\t|", key=lines[0].text.count)
    if mark in lines[0].text:
        return mark
    return ";" if any("," in line.text for line in lines) else ","


def _usual_length(rows: Sequence[Row]) -> int:
    counts = Counter(len(row.cells) for row in rows[1:] or rows)
    return counts.most_common(1)[0][0] if counts else 0


def _end(row: Row) -> int:
    """Return the number of cells up to the last that holds anything."""
    return max((i for i, cell in enumerate(row.cells, 1) if cell.strip()), default=0)


def _numeric_places(rows: Sequence[Row], length: int) -> list[int]:
    """Return the places at which half of the filled cells are numbers, in any convention."""
    places = []
    for place in range(length):
        cells = [row.cells[place].strip() for row in rows if place < len(row.cells)]
        filled = [cell for cell in cells if cell and cell.lower() not in MISSING]
        numbers = sum(map(_is_number, filled))
        if numbers and 2 * numbers >= len(filled):
            places.append(place)
    return places


def _is_number(cell: str) -> bool:
    cell = cell.strip()
    return bool(conventions_of(cell)) or cell.lower() in (*FLAGS, *INFINITIES)


def _header_index(rows: Sequence[Row]) -> int | None:
    """Return which row names the columns: the first that has a name for each, or the first."""
    length = _usual_length(rows)
    for index, row in enumerate(rows[:TITLES_SEEN]):
        below = [r for r in rows[index + 1 :][:TITLES_SEEN] if len(r.cells) == length]
        named = _end(row) <= length and all(_end(r) <= _end(row) for r in below)
        half_filled = 2 * sum(map(bool, map(str.strip, row.cells))) >= min(length, len(row.cells))
        if named and half_filled and (index == 0 or (below and _is_text(row))):
            return index
    return 0 if rows and len(rows[0].cells) == length else None


def _is_text(row: Row) -> bool:
    return not any(_is_number(cell) or cell.strip().lower() in MISSING for cell in row.cells)


def _find_header(
    rows: list[Row],
    comment: Line | None,
    separator: str,
    columns: Sequence[str] | None,
    form: TableFormat,
) -> Row:
    """Return the row of names, which may be the last comment above the rows."""
    comments: list[Row] = []
    if comment:
        for text in (comment.text.lstrip("#").lstrip(" "), comment.text):
            comments += split_rows([Line(comment.number, text)], separator)
    possible = rows[: TITLES_SEEN if form.skip_rows is None else 1]
    if columns:
        for row in [*possible, *comments]:
            if _holds(row, columns):
                return row
    index = _header_index(possible) or 0
    header, width = rows[index], len(rows[index].cells)
    if index == 0 and all(map(_is_number, filter(str.strip, header.cells))):
        return next((r for r in comments if len(r.cells) == width and _is_text(r)), header)
    return header


def _holds(row: Row, columns: Sequence[str] | None) -> bool:
    names = {name for cell in row.cells for name in (cell.strip(), split_unit(cell)[0])}
    return names.issuperset(columns or ())


def _count_text_rows(rows: Sequence[Row], length: int) -> int:
    """Return how many rows under the names hold words, and no number where the others do."""
    places = _numeric_places(rows[1:], length)
    for index, row in enumerate(rows[:MAX_TEXT_ROWS]):
        cells = [row.cells[place].strip() for place in places if place < len(row.cells)]
        words = [cell for cell in cells if cell and cell.lower() not in MISSING]
        others = [cell for place, cell in enumerate(row.cells) if place not in places]
        has_time = any(re.match(r"\s*\d", cell) for cell in others)
        if not words or has_time or any(map(_is_number, cells)):
            return index
    return 0 if len(rows) <= MAX_TEXT_ROWS else MAX_TEXT_ROWS
