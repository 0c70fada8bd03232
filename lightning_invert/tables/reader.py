"""Read columns of numbers from a file of any kind, piece by piece."""

from __future__ import annotations

import csv
import io
import os
import re
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_invert.arguments import describe_repetitions, suggest
from lightning_invert.tables.cells import MISSING, CellParser
from lightning_invert.tables.decimal_sign import find_convention
from lightning_invert.tables.format import FormatError, TableFormat
from lightning_invert.tables.layout import Layout, find_layout
from lightning_invert.tables.rows import LINES_SEEN, Line, Row, find_encoding, read_lines
from lightning_invert.tables.units import split_unit
from lightning_invert.tables.workbook import read_sheet
from lightning_invert.tables.wrong_cells import WrongCells

if TYPE_CHECKING:
    import polars

__all__ = ["ENDINGS", "TableReader"]

TEXT = (".csv", ".tsv", ".txt", ".dat", ".csv.gz", ".tsv.gz", ".txt.gz", ".dat.gz")

TABS, PARQUET, EXCEL = (".tsv", ".tsv.gz"), (".parquet", ".pq"), (".xlsx", ".xlsm")

ENDINGS = TEXT + PARQUET + EXCEL

MAX_ROWS_AT_ONCE = 65536

MAX_TOTALS = 5
"""Rows at the end that may hold a total, a mean, a deviation."""


class TableReader:
    """Read columns of numbers piece by piece: DataFrames of float64, NaN for a missing cell.

    ``form`` says how a text file is written; what it leaves open is found from the file's first lines. A
    column ``flow [t/h]`` is also found as ``flow``. Errors name the file, the line and the column: a
    ``FormatError`` says what to write, any other ``ValueError`` what is damaged.
    """

    def __init__(
        self,
        file: str | Path,
        columns: Sequence[str] | None = None,
        form: TableFormat | None = None,
    ) -> None:
        self.file, self.form = Path(file), form or TableFormat()
        _check_file(self.file)
        if again := describe_repetitions(columns or ()):
            raise ValueError(f"Expected each column of {str(file)!r} once, but got {again}.")
        self._layout: Layout | None = None
        self.note = ""
        """What is not as in a plain CSV file."""
        with _reading(self.file):
            names, units = self._open(columns)
        self.columns = list(columns or names)
        """Names of the columns, as they were asked for."""
        self._places = self._find_places(names)
        if self._layout:
            self._layout = find_convention(
                self.file, self._lines(), self._places, self._form, self._layout
            )
            if words := self._layout.describe():
                self.note = f"{self.file} is read {words}"
        self.units = {
            column: units[place] for column, place in zip(self.columns, self._places, strict=True)
        }
        """Column -> unit, as the file tells it; empty if it tells none."""

    def _open(self, columns: Sequence[str] | None) -> tuple[Sequence[str], Sequence[str]]:
        """Find the names and the units of all columns."""
        self._form, self._sheet = self.form, None
        if _ends_in(self.file, PARQUET):
            import polars

            names = polars.scan_parquet(self.file, glob=False).collect_schema().names()
            return names, [split_unit(name)[1] for name in names]
        if _ends_in(self.file, EXCEL):
            # Numbers of a workbook are numbers: they are written with a point here.
            self._form = replace(
                self.form, separator=",", decimal=".", thousands="", encoding="utf-8"
            )
            self._sheet = read_sheet(self.file)
        elif _ends_in(self.file, TABS):
            self._form = replace(self.form, separator="\t")
        self._encoding = self._form.encoding or find_encoding(self.file)
        sample = list(islice(self._lines(), LINES_SEEN))
        layout = find_layout(self.file, sample, columns, self._form, self._encoding)
        self._layout = layout
        return layout.names, layout.units

    def _lines(self) -> Iterator[Line]:
        if self._sheet is None:
            return read_lines(self.file, self._encoding)
        return (Line(*line) for line in enumerate(io.StringIO(self._sheet), 1))

    def _find_places(self, names: Sequence[str]) -> list[int]:
        """Return the places of the columns, which are named with their units or without."""
        short = [split_unit(name)[0] for name in names]
        places = []
        for column in self.columns:
            known = list(names) if column in names else short
            if known.count(column) > 1:
                raise ValueError(
                    f"Expected {str(self.file)!r} to have one column {column!r}, but it has "
                    f"{known.count(column)} of that name."
                )
            if column not in known:
                guessed = self._layout and self._layout.found.get("encoding") == "cp1252"
                raise FormatError(
                    f"Expected {str(self.file)!r} to have a column {column!r}, but it has "
                    f"{', '.join(map(repr, short))}.{suggest(column, short)}",
                    [("If its letters are wrong, write an encoding, like", {"encoding": "cp1250"})]
                    * bool(guessed),
                )
            places.append(known.index(column))
        return places

    @property
    def found(self) -> TableFormat:
        """The form with the separator and the decimal sign that the file has."""
        layout = self._layout
        if layout is None or self._sheet is not None:
            return TableFormat()
        return replace(self.form, separator=layout.separator, decimal=layout.convention.decimal)

    def read(self, rows_at_once: int = MAX_ROWS_AT_ONCE) -> Iterator[polars.DataFrame]:
        """Yield the columns in pieces; what is wrong with any cell of a file is told at once."""
        import polars

        pieces = self._read_parquet if self._layout is None else self._read_text
        sentinels = self.form.sentinels
        declared = polars.all().is_in(sentinels)
        empty = True
        with _reading(self.file):
            for piece in pieces(rows_at_once):
                empty = False
                if sentinels:
                    piece = piece.select(polars.when(~declared).then(polars.all()))
                yield piece.fill_null(float("nan"))
        if empty:
            raise ValueError(
                f"Expected {str(self.file)!r} to hold at least one row, but it has none."
            )

    def row_name(self, index: int) -> str:
        """Name a row, counted from 0, as its file is shown: by its line, or by its number from 1."""
        return self.row_names({index})[index]

    def row_names(self, indices: set[int]) -> dict[int, str]:
        """Name several rows; a text is read once."""
        numbers = self.row_numbers(indices)
        return {index: f"{self.word} {number}" for index, number in numbers.items()}

    def row_numbers(self, indices: set[int]) -> dict[int, int]:
        """Return where rows are in the file: their lines, or their numbers from 1."""
        if self._layout is None:
            return {index: index + 1 for index in indices}
        with _reading(self.file):
            rows = enumerate(islice(self._rows(), max(indices) + 1))
            return {index: row.begin for index, row in rows if index in indices}

    @property
    def word(self) -> str:
        """What the file calls a row."""
        return "row" if self._layout is None or self._sheet is not None else "line"

    def _read_parquet(self, rows_at_once: int) -> Iterator[polars.DataFrame]:
        import polars

        table = polars.scan_parquet(self.file, glob=False)
        types = table.collect_schema().dtypes()
        wrong = [
            f"{name!r} is of type {types[place]}"
            for name, place in zip(self.columns, self._places, strict=True)
            # A column without any value has a type of its own.
            if not (types[place].is_numeric() or types[place] in (polars.Boolean(), polars.Null()))
        ]
        if wrong:
            raise ValueError(
                f"Expected columns of {str(self.file)!r} to hold numbers, but {', '.join(wrong)}."
            )
        # By their places: a name like "*" or "^a$" would be a pattern.
        numbers = [
            polars.nth(place).cast(polars.Float64).alias(name)
            for place, name in zip(self._places, self.columns, strict=True)
        ]
        yield from table.select(numbers).collect_batches(chunk_size=rows_at_once)

    def _read_text(self, rows_at_once: int) -> Iterator[polars.DataFrame]:
        import polars

        assert self._layout is not None
        parser = CellParser(self._layout.convention, self.form.missing_values)
        wrong, rows = WrongCells(self.columns), self._rows()
        last: deque[tuple[int, str]] = deque(maxlen=2 * MAX_TOTALS)
        while piece := list(islice(rows, rows_at_once)):
            numbers = {}
            for name, place in zip(self.columns, self._places, strict=True):
                cells = polars.Series([row.cells[place] for row in piece]).str.strip_chars()
                numbers[name], odd = parser.parse(cells)
                if (first := odd.arg_max()) is not None and odd[first]:
                    wrong.add(name, cells.filter(odd), piece[first].begin)
            last.extend((row.begin, cell) for row in piece if (cell := row.cells[0].strip()))
            if not wrong.counts:
                yield polars.DataFrame(numbers)
        if wrong.counts:
            raise wrong.error(self.file, self.form, self._layout, self.word)
        if 0 not in self._places:
            self._check_end(list(last))

    def _rows(self) -> Iterator[Row]:
        """Yield the rows, each at least as long as the names; blank ones at the end are none."""
        assert self._layout is not None
        length = len(self._layout.names)
        blank: list[Row] = []
        for row in self._layout.rows(self._lines()):
            filled = row.length
            if not filled:
                blank.append(row._replace(cells=[""] * length))
                continue
            if not filled <= length <= len(row.cells):
                raise ValueError(
                    f"Expected every row of {str(self.file)!r} to have as many cells as its header, "
                    f"{length}, but {self.word} {row.begin} has {len(row.cells)}."
                )
            yield from blank
            blank.clear()
            yield row

    def _check_end(self, last: list[tuple[int, str]]) -> None:
        """Raise an error if words end a first column of numbers or times: a total is no row."""
        labels: list[tuple[int, str]] = []
        while last and not re.match(r"[+-]?\d", last[-1][1]):
            labels.insert(0, last.pop())
        if (
            not labels
            or len(last) < len(labels)
            or labels[-1][1].lower() in MISSING
            or any(re.search(r"\d", cell) for _, cell in labels)
        ):
            return
        raise ValueError(
            f"Expected every row of {str(self.file)!r} to hold measurements, but {self.word} "
            f"{labels[0][0]}, one of the last, begins with {labels[0][1]!r} where those above begin "
            "with a number or a time. If it is a total, delete it; if not, leave its first cell empty."
        )


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    """Name the file in what is raised while it is read."""
    from polars.exceptions import PanicException, PolarsError

    try:
        yield
    except csv.Error as error:
        raise ValueError(
            f"Expected {str(file)!r} to hold a table, but {error}. Write a quote in a cell twice, put "
            "the cell in quotes, close every quote, and end lines as Unix or Windows does."
        ) from error
    except (PolarsError, PanicException, OSError, zlib.error, EOFError) as error:
        # What follows the first line is advice on the arguments of Polars.
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"Expected {str(file)!r} to hold a table, but it cannot be read: {reason}"
        ) from error


def _check_file(file: Path) -> None:
    if not file.is_file():
        what = "is a folder" if file.is_dir() else "does not exist"
        near = suggest(file.name, os.listdir(file.parent)) if file.parent.is_dir() else ""
        raise FileNotFoundError(f"Expected a table, but {str(file)!r} {what}.{near}")
    if not _ends_in(file, ENDINGS):
        raise ValueError(
            "Expected the name of a table to end in one of "
            f"{', '.join(ENDINGS)}, but got {str(file)!r}."
        )


def _ends_in(file: Path, endings: tuple[str, ...]) -> bool:
    return file.name.lower().endswith(endings)
