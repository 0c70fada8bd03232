"""Read columns of numbers from a file of any kind, piece by piece."""

from __future__ import annotations

import codecs
import csv
import shutil
import tempfile
import weakref
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_invert.arguments import describe_repetitions, suggest
from lightning_invert.tables.cells import MISSING, CellParser
from lightning_invert.tables.decimal_sign import find_convention
from lightning_invert.tables.format import FormatError, TableFormat
from lightning_invert.tables.layout import COMMENT, Layout, find_layout
from lightning_invert.tables.rows import Row, find_encoding, one_blank, open_bytes, read_lines
from lightning_invert.tables.units import split_unit
from lightning_invert.tables.workbook import read_sheet
from lightning_invert.tables.wrong_cells import WrongCells

if TYPE_CHECKING:
    import polars

__all__ = ["TableReader"]

TEXT = (".csv", ".tsv", ".txt", ".dat", ".csv.gz", ".tsv.gz", ".txt.gz", ".dat.gz")

TABS, PARQUET, EXCEL = (".tsv", ".tsv.gz"), (".parquet", ".pq"), (".xlsx", ".xlsm")

MAX_ROWS_AT_ONCE = 65536

MAX_UNCHECKED = 2**26
"""Bytes. A larger file is first searched for an open quote: Polars would read it whole."""

BLOCK = 2**24
"""Bytes that are searched at a time."""

MAX_TOTALS = 5
"""Rows at the end that may hold a total, a mean, a deviation."""


class TableReader:
    """Read columns of numbers piece by piece: DataFrames of float64, NaN for a missing cell.

    How a text file is written, its first lines tell: ``note`` says what is not as in a plain CSV
    file. ``form`` replaces what it would find. ``true`` and ``false`` are 1 and 0. Blanks around a
    cell or a name do not count. A blank line is a row without values, and those at the end are none. A column ``flow [t/h]`` is
    found by the name ``flow`` too.

    Args:
        file: A text file, a Parquet file or the first sheet of an Excel workbook.
        columns: Names of the columns; by default all.
        form: What is known of a text file.

    Raises:
        FileNotFoundError: If there is no file.
        ValueError: If the file is damaged or no table; it names the file, the line and the column.
        FormatError: If it can be read in several ways; it says what to write.
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
        with _reading(self.file):
            self._open(columns)
        self.columns = list(columns or self._names)
        """Names of the columns, as they were asked for."""
        self.places = self._find_places(self.columns)
        found = [self._units[place] or split_unit(self._names[place])[1] for place in self.places]
        self.units = dict(zip(self.columns, found, strict=True))
        """Column -> unit, as the file tells it; empty if it tells none."""

    def _open(self, columns: Sequence[str] | None) -> None:
        """Find the names of the columns and how they are written."""
        self._layout: Layout | None = None
        self._text, self.note = self.file, ""
        self.is_workbook = _ends_in(self.file, EXCEL)
        if _ends_in(self.file, PARQUET):
            import polars

            self._names = polars.scan_parquet(self.file, glob=False).collect_schema().names()
            self._units = [""] * len(self._names)
            return
        form = self.form
        if self.is_workbook:
            # Numbers of a workbook are numbers: they are written with a point here.
            form = replace(form, separator=",", decimal=".", thousands="", encoding="utf-8")
            self._copy([read_sheet(self.file)])
        elif _ends_in(self.file, TABS):
            form = replace(form, separator="\t")
        encoding = form.encoding or find_encoding(self.file)
        if codecs.lookup(encoding).name not in ("utf-8", "utf-8-sig"):
            self._copy(line.text for line in read_lines(self.file, encoding, self.file))
        layout = find_layout(self.file, self._text, columns, form, encoding)
        self._layout = layout = find_convention(self.file, self._text, columns, form, layout)
        if layout.separator == " ":  # Polars takes each blank of a run for a separator
            self._copy(one_blank(line.text) for line in read_lines(self._text, "utf-8", self.file))
        self._names, self._units = list(layout.names), list(layout.units)
        if words := layout.describe():
            self.note = f"{self.file} is read {words}"

    def _find_places(self, columns: Sequence[str]) -> list[int]:
        """Return the places of columns, which are named with their units or without."""
        short = [split_unit(name)[0] for name in self._names]
        places = []
        for column in columns:
            names = self._names if column in self._names else short
            if names.count(column) > 1:
                raise ValueError(
                    f"Expected {str(self.file)!r} to have one column {column!r}, but it has "
                    f"{names.count(column)} of that name."
                )
            if column not in names:
                guessed = (
                    self._layout is not None and self._layout.found.get("encoding") == "cp1252"
                )
                raise FormatError(
                    f"Expected {str(self.file)!r} to have a column {column!r}, but it has "
                    f"{', '.join(map(repr, short))}.{suggest(column, short)}",
                    [("If its letters are wrong, write an encoding, like", {"encoding": "cp1250"})]
                    * guessed,
                )
            places.append(names.index(column))
        return places

    @property
    def found(self) -> TableFormat:
        """The form with the separator and the decimal sign that the file has."""
        layout = self._layout
        if layout is None or self.is_workbook:
            return TableFormat()
        return replace(self.form, separator=layout.separator, decimal=layout.convention.decimal)

    def _copy(self, lines: Iterable[str]) -> None:
        """Write lines to a file of its own, from which the table is read."""
        folder = tempfile.mkdtemp(prefix="lightning-invert-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        copy = Path(folder, "table.csv")
        with copy.open("w", encoding="utf-8", newline="") as text:
            text.writelines(lines)
        self._text = copy

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
        """Name a row, counted from 0, as an editor shows it: by the line at which it begins."""
        return self.row_names({index})[index]

    def row_names(self, indices: set[int]) -> dict[int, str]:
        """Name several rows; a text is read once."""
        if self._layout is None:
            return {index: f"row {index} (counted from 0)" for index in indices}
        word = "row" if self.is_workbook else "line"
        rows = enumerate(islice(self._rows(), max(indices) + 1))
        return {index: f"{word} {row.begin}" for index, row in rows if index in indices}

    def _rows(self) -> Iterator[Row]:
        """Yield the rows with their lines: slower than Polars, and only for errors."""
        assert self._layout is not None
        with _reading(self.file):
            yield from self._layout.rows(read_lines(self._text, "utf-8", self.file))

    def _read_parquet(self, rows_at_once: int) -> Iterator[polars.DataFrame]:
        import polars

        table = polars.scan_parquet(self.file, glob=False)
        types = table.collect_schema().dtypes()
        wrong = [
            f"{name!r} is of type {types[place]}"
            for name, place in zip(self.columns, self.places, strict=True)
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
            for place, name in zip(self.places, self.columns, strict=True)
        ]
        yield from table.select(numbers).collect_batches(chunk_size=rows_at_once)

    def _read_text(self, rows_at_once: int) -> Iterator[polars.DataFrame]:
        import polars

        assert self._layout is not None
        parser = CellParser(self._layout.convention, self.form.missing_values)
        wrong = WrongCells(self.columns)
        begin = blank = 0
        last: tuple[int, polars.Series] | None = None
        for text in self._read_cells(rows_at_once):
            numbers = []
            for name, place in zip(self.columns, self.places, strict=True):
                cells = text[str(place)].str.strip_chars()
                values, odd = parser.parse(cells, place in self._layout.percents)
                numbers.append(values.alias(name))
                if odd.any():
                    wrong.add(name, cells.filter(odd), begin + int(odd.arg_max() or 0))
            filled = len(text) - _count_blank_rows(text)
            if filled and not wrong.counts:
                if blank:  # they were not at the end
                    # A name like "^a$" would be a pattern in `Series.clear`.
                    nothing = [None] * blank
                    yield polars.DataFrame(
                        [polars.Series(c.name, nothing, polars.Float64) for c in numbers]
                    )
                yield polars.DataFrame(numbers).head(filled)
            last = (begin, text["0"]) if filled else last
            blank = len(text) - filled + (0 if filled else blank)
            begin += len(text)
        if wrong.counts:
            lines = self.row_names({row for row, _ in wrong.first.values()})
            raise wrong.error(self.file, self.form, self._layout, lines)
        if last is not None and 0 not in self.places:
            self._check_end(*last)

    def _check_end(self, begin: int, cells: polars.Series) -> None:
        """Raise an error if words end a first column of numbers or times: a total is no row."""
        text = cells.str.strip_chars()
        filled = text.filter(text.fill_null("") != "")
        label = ~filled.str.contains(r"^[+-]?\d")
        count = int(label.sum())
        if not 0 < count <= min(MAX_TOTALS, len(filled) / 2) or not label[-count:].all():
            return
        labels = filled[-count:]
        if labels.str.contains(r"\d").any() or labels[-1].lower() in MISSING:
            return
        row = self.row_name(begin + int((text == labels[0]).arg_max() or 0))
        raise ValueError(
            f"Expected every row of {str(self.file)!r} to hold measurements, but {row}, one of the "
            f"last, begins with {labels[0]!r} where those above begin with a number or a time. If it "
            "is a total, delete it; if not, leave its first cell empty."
        )

    def _read_cells(self, rows_at_once: int) -> Iterator[polars.DataFrame]:
        """Yield the columns as text, each by the name of its place, and those at the end of rows."""
        import polars
        from polars.exceptions import PolarsError

        layout = self._layout
        assert layout is not None
        length = len(layout.names)
        if self._text.stat().st_size > MAX_UNCHECKED and self._has_open_quote():
            self._check_rows(layout)
        table = polars.scan_csv(
            self._text,
            separator=layout.separator,
            has_header=False,
            skip_lines=layout.header_end,
            comment_prefix=COMMENT if layout.comments else None,
            # Polars would rename a column whose name is there twice.
            schema={str(place): polars.String for place in range(length + layout.spare)},
            missing_columns="insert",
            glob=False,
        )
        ends = [str(place) for place in range(length - 1, length + layout.spare)]
        selected = table.select(*{"0", *map(str, self.places), *ends})
        lengths_checked = False
        try:
            for piece in selected.collect_batches(chunk_size=rows_at_once):
                # Polars fills up a row that is too short: its last cell looks empty.
                last, *spare = piece.select(ends).get_columns()
                doubtful = last.has_nulls() or any(s.null_count() < len(s) for s in spare)
                if not lengths_checked and doubtful:
                    self._check_rows(layout)
                    lengths_checked = True
                yield piece
        except PolarsError as error:
            self._check_rows(layout)
            if "malformed" in str(error):
                raise csv.Error("a cell that is not in quotes has a quote") from error
            raise

    def _has_open_quote(self) -> bool:
        with open_bytes(self._text) as stream:
            blocks = iter(lambda: stream.read(BLOCK), b"")
            quotes: int = sum(block.count(b'"') for block in blocks)
        return quotes % 2 == 1

    def _check_rows(self, layout: Layout) -> None:
        """Raise an error that names the first row of another length than the names."""
        length = len(layout.names)
        for row in self._rows():
            spare = row.cells[length:]
            right = length <= len(row.cells) <= length + layout.spare
            if not row.is_blank and (not right or any(cell.strip() for cell in spare)):
                raise ValueError(
                    f"Expected every row of {str(self.file)!r} to have as many cells as its header, "
                    f"{length}, but line {row.begin} has {len(row.cells)}."
                )


def _count_blank_rows(text: polars.DataFrame) -> int:
    """Return how many rows at the end of a piece hold nothing."""
    import polars

    if any(map(str.strip, filter(None, text.row(-1)))):
        return 0
    filled = text.select(
        polars.any_horizontal(polars.all().str.contains(r"\S").fill_null(value=False))
    )
    return int((filled.to_series().reverse().cast(polars.Int64).cum_sum() == 0).sum())


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
        raise FileNotFoundError(f"Expected a table, but {str(file)!r} {what}.")
    if not _ends_in(file, TEXT + PARQUET + EXCEL):
        raise ValueError(
            "Expected the name of a table to end in one of "
            f"{', '.join(TEXT + PARQUET + EXCEL)}, but got {str(file)!r}."
        )


def _ends_in(file: Path, endings: tuple[str, ...]) -> bool:
    return file.name.lower().endswith(endings)
