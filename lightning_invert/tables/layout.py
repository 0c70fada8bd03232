"""The layout of a text file, found by one look at its first lines."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_invert.tables.cells import CONVENTIONS, FLAGS, MISSING, Convention, conventions_of
from lightning_invert.tables.format import TableFormat
from lightning_invert.tables.rows import Line, Row, is_comment, split_rows, until_broken
from lightning_invert.tables.units import find_units, split_unit

__all__ = ["Layout", "find_layout", "unsaid"]

SEPARATORS, INFINITIES = ",;\t| ", ("inf", "-inf", "nan")

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
    names: tuple[str, ...]  # of the columns, as the file has them
    units: tuple[str, ...]  # of the columns, empty where none is told
    header_end: int  # the line before the first number, counted from 1
    comments: bool  # whether there are comments among the rows
    found: dict[str, Any]  # option -> what is not as in a plain CSV file, and nobody said
    convention: Convention = CONVENTIONS[0]  # until it is looked for

    def rows(self, lines: Iterable[Line]) -> Iterator[Row]:
        """Split what follows the names and units into rows."""
        below = (
            line
            for line in lines
            if line.number > self.header_end and not (self.comments and is_comment(line))
        )
        return split_rows(below, self.separator)

    def describe(self) -> str:
        """Say in a few words what is not as in a plain CSV file."""
        found = ", ".join(f"{name} {value!r}" for name, value in self.found.items())
        parts = [f"with {found}" * bool(found), "without its comments" * self.comments]
        return "; ".join(filter(None, parts))


def find_layout(
    file: Path,
    lines: Sequence[Line],
    columns: Sequence[str] | None,
    form: TableFormat,
    encoding: str,
) -> Layout:
    """Return the layout that the first lines of a file tell; ``columns`` will be read."""
    lines = lines[form.skip_rows or 0 :]
    # A spreadsheet may tell the separator in a line of its own.
    marked = re.match(r'"?sep=(.)"?\s*$', lines[0].text, re.IGNORECASE) if lines else None
    kept = [line for line in lines[bool(marked) :] if not is_comment(line)]
    separator = form.separator or (marked and marked[1]) or _find_separator(file, kept, columns)
    rows = list(until_broken(split_rows(kept, separator)))
    if not rows:
        list(split_rows(kept, separator))  # the error that names the line
        raise ValueError(f"Expected {str(file)!r} to hold a table, but the file is empty.")
    above = [line for line in lines if is_comment(line) and line.number < rows[0].begin]
    possible = rows[: TITLES_SEEN if form.skip_rows is None else 1]
    header = _find_header(possible, above[-1:], separator, columns)
    rows = [row for row in rows if row.begin > header.begin]
    names = [cell.strip() for cell in header.cells]
    if columns is None and all(map(_is_number, names)) and not all(map(str.isdigit, names)):
        raise ValueError(
            f"Expected line {header.begin} of {str(file)!r} to name the columns, but it has the numbers "
            f"{', '.join(names[:3])}. Write a line of names above them, or name the columns to be read."
        )
    asked, longest = columns or names, max([row.length for row in rows], default=len(names))
    while not names[-1] or (len(names) > longest and names[-1] not in asked):
        names.pop()  # LabVIEW names a column of comments that rows leave out
    text_rows = _count_text_rows(rows, len(names)) if form.units_row is None else form.units_row
    texts = rows[:text_rows]
    found = {
        "separator": separator,
        "encoding": encoding,
        "skip_rows": header.begin - 1,
        "units_row": len(texts),
    }
    header_end = [header, *texts][-1].end
    return Layout(
        separator=separator,
        names=tuple(names),
        units=find_units(names, [row.cells for row in texts]),
        header_end=header_end,
        comments=any(line.number > header_end and is_comment(line) for line in lines),
        found=unsaid(found, form),
    )


def unsaid(found: Mapping[str, Any], form: TableFormat) -> dict[str, Any]:
    """Return what was found and is not what a plain CSV file has, nor what was said."""
    return {
        name: found[name]
        for name, plain in PLAIN.items()
        if found.get(name, plain) != plain and getattr(form, name) is None
    }


def _find_separator(file: Path, lines: list[Line], columns: Sequence[str] | None) -> str:
    """Return the separator that gives names and rows one length and the most numbers."""
    ranks: dict[str, tuple[bool, int, int]] = {}
    for separator in SEPARATORS:
        is_blank = separator == " "
        # A blank is in names and between thousands, too.
        if is_blank and (ranks or file.name.lower().endswith((".csv", ".csv.gz"))):
            break
        rows = list(until_broken(split_rows(lines, separator)))
        length = _usual_length(rows)
        if length > 1 and _header_index(rows) is not None:
            numeric = len(_numeric_places(rows[1:], length))
            named = any(_holds(row, columns) for row in rows[:TITLES_SEEN])
            if named or not is_blank:
                ranks[separator] = named, numeric, numeric - length
    if ranks:
        return max(ranks, key=ranks.__getitem__)
    # One column, whose commas then are within its cells; or broken, which reading will tell.
    text = "".join(line.text for line in lines)
    mark = max(",;\t|", key=text.partition("\n")[0].count)
    return mark if mark in text.partition("\n")[0] or "," not in text else ";"


def _usual_length(rows: Sequence[Row]) -> int:
    counts = Counter(len(row.cells) for row in rows[1:] or rows)
    return counts.most_common(1)[0][0] if counts else 0


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
        named = row.length <= length and all(r.length <= row.length for r in below)
        if named and (index == 0 or (below and _is_text(row))):
            return index
    return 0 if rows and len(rows[0].cells) == length else None


def _is_text(row: Row) -> bool:
    return not any(_is_number(cell) or cell.strip().lower() in MISSING for cell in row.cells)


def _find_header(
    rows: Sequence[Row], comment: Sequence[Line], separator: str, columns: Sequence[str] | None
) -> Row:
    """Return the row of names, which may be the last comment above the rows."""
    comments = [
        row
        for number, text in comment
        for cut in (text.lstrip("# "), text)
        for row in until_broken(split_rows([Line(number, cut)], separator))
    ]
    for row in [*rows, *comments]:
        if columns and _holds(row, columns):
            return row
    header = rows[_header_index(rows) or 0]
    if header is rows[0] and all(map(_is_number, filter(str.strip, header.cells))):
        width = len(header.cells)
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
