"""Tables of numbers, read and written in pieces: a file may be larger than the memory."""

from __future__ import annotations

import csv
import gzip
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lightning_invert.arguments import describe_repetitions, suggest

if TYPE_CHECKING:
    import polars
    from typing_extensions import Self

__all__ = ["TableWriter", "check_separator", "read_table", "row_name", "unused_path"]

TEXT, PARQUET = (".csv", ".tsv", ".csv.gz", ".tsv.gz"), (".parquet", ".pq")

MAX_ROWS_AT_ONCE = 65536

MAX_UNCHECKED = 2**26
"""Bytes. A larger file is first searched for an open quote: Polars would read it whole."""

BLOCK = 2**24
"""Bytes that are searched at a time."""

WORDS = {"": None, "true": "1", "True": "1", "false": "0", "False": "0"}
"""What these cells stand for."""


def read_table(
    file: str | Path,
    columns: Sequence[str] | None = None,
    *,
    separator: str = ",",
    rows_at_once: int = MAX_ROWS_AT_ONCE,
) -> Iterator[polars.DataFrame]:
    """Read columns of numbers piece by piece: DataFrames of float64, NaN for an empty cell.

    A TSV file has tabs in place of ``separator``. By default all columns are read. Numbers have a
    decimal point and no thousands separator; ``true`` and ``false`` are 1 and 0. Blanks around a
    cell or a name do not count. A blank line is a row without values. A file that is damaged or no
    such table is a ValueError that names the file, the line and the column.
    """
    from polars.exceptions import PanicException, PolarsError

    file = Path(file)
    if not file.is_file():
        what = "is a folder" if file.is_dir() else "does not exist"
        raise FileNotFoundError(f"Expected a table, but {str(file)!r} {what}.")
    if not file.name.lower().endswith(TEXT + PARQUET):
        raise ValueError(
            f"Expected the name of a table to end in one of {', '.join(TEXT + PARQUET)}, but got "
            f"{str(file)!r}."
        )
    check_separator(separator)
    if again := describe_repetitions(columns or ()):
        raise ValueError(f"Expected each column of {str(file)!r} once, but got {again}.")
    if _is_parquet(file):
        pieces = _read_parquet(file, columns, rows_at_once)
    else:
        pieces = _read_text(file, columns, _separator(file, separator), rows_at_once)
    empty = True
    try:
        for piece in pieces:
            empty = False
            yield piece.fill_null(float("nan"))
    except (PolarsError, PanicException, OSError, zlib.error, EOFError) as error:
        # What follows the first line is advice on the arguments of Polars.
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"Expected {str(file)!r} to hold a table, but it cannot be read: {reason}"
        ) from error
    if empty:
        raise ValueError(f"Expected {str(file)!r} to hold at least one row, but it has none.")


def check_separator(separator: str) -> None:
    """Raise a ValueError for what cannot separate the cells of a text file."""
    is_character = isinstance(separator, str) and len(separator) == 1 and separator.isascii()
    if not is_character or separator in '"\r\n':
        raise ValueError(
            "Expected argument `separator` to be a single ASCII character, and no quote or line "
            f"end, but got {separator!r}."
        )


def row_name(file: str | Path, index: int, separator: str = ",") -> str:
    """Name a row, counted from 0, as an editor shows it: by the line at which it begins."""
    file = Path(file)
    if _is_parquet(file):
        return f"row {index} (counted from 0)"
    return f"line {next(islice(_rows(file, _separator(file, separator)), index + 1, None)).begin}"


def _is_parquet(file: Path) -> bool:
    return file.name.lower().endswith(PARQUET)


def _separator(file: Path, separator: str) -> str:
    return "\t" if file.name.lower().endswith((".tsv", ".tsv.gz")) else separator


def _read_parquet(
    file: Path, columns: Sequence[str] | None, rows_at_once: int
) -> Iterator[polars.DataFrame]:
    import polars

    table = polars.scan_parquet(file, glob=False)
    types = table.collect_schema()
    columns = columns or types.names()
    places = _places(file, types.names(), columns)
    for name in columns:
        # A column without any value has a type of its own.
        if not (types[name].is_numeric() or types[name] in (polars.Boolean, polars.Null)):
            raise ValueError(
                f"Expected column {name!r} of {str(file)!r} to hold numbers, but its type is "
                f"{types[name]}."
            )
    # By their places: a name like "*" or "^a$" would be a pattern.
    numbers = table.select(polars.nth(places).cast(polars.Float64))
    yield from numbers.collect_batches(chunk_size=rows_at_once)


def _read_text(
    file: Path, columns: Sequence[str] | None, separator: str, rows_at_once: int
) -> Iterator[polars.DataFrame]:
    import polars

    cells = _read_cells(file, columns, separator, rows_at_once)
    begin = 0
    for text in cells:
        if counts := _count_wrong(text):
            name = next(iter(counts))
            row = int(_is_wrong(text[name]).arg_max() or 0)
            for rest in cells:
                counts += _count_wrong(rest)
            total = ", ".join(f"{count} in {column!r}" for column, count in counts.items())
            raise ValueError(
                f"Expected column {name!r} of {str(file)!r} to hold numbers, but "
                f"{row_name(file, begin + row, separator)} has {text[name][row]!r}. Cells that are no "
                f"numbers: {total}."
            )
        yield text.cast(polars.Float64, strict=False)
        begin += len(text)


def _count_wrong(text: polars.DataFrame) -> Counter[str]:
    return +Counter({cells.name: int(_is_wrong(cells).sum()) for cells in text})


def _is_wrong(cells: polars.Series) -> polars.Series:
    """Return which cells hold what is no number, or one that float64 does not hold."""
    import polars

    cells = cells.alias("")  # Polars takes a name like "^a$" for a pattern
    numbers = cells.cast(polars.Float64, strict=False)
    overflow = numbers.is_infinite() & ~cells.str.contains("(?i)inf")
    return (numbers.is_null() & cells.is_not_null()) | overflow.fill_null(value=False)


def _read_cells(
    file: Path, columns: Sequence[str] | None, separator: str, rows_at_once: int
) -> Iterator[polars.DataFrame]:
    """Yield the columns as text without blanks around it; an empty cell is null."""
    import polars
    from polars.exceptions import PolarsError

    header = next(_rows(file, separator), None)
    if header is None:
        raise ValueError(f"Expected {str(file)!r} to hold a table, but the file is empty.")
    names = [name.strip() for name in header.cells]
    columns = columns or names
    places = _places(file, names, columns)
    if file.stat().st_size > MAX_UNCHECKED:
        with _open(file) as stream:
            quotes = sum(block.count(b'"') for block in iter(lambda: stream.read(BLOCK), b""))
        if quotes % 2:
            _check_rows(file, separator, len(names))
    table = polars.scan_csv(
        file,
        separator=separator,
        has_header=False,
        skip_lines=header.end,
        # Polars would rename a column whose name is there twice.
        schema={str(place): polars.String for place in range(len(names))},
        missing_columns="insert",
        glob=False,
    )
    selected = [
        polars.nth(place).str.strip_chars().replace(WORDS).alias(name)
        for place, name in zip(places, columns, strict=True)
    ]
    lengths_checked = False
    try:
        for piece in table.collect_batches(chunk_size=rows_at_once):
            # Polars fills up a row that is too short: its last cell looks empty.
            if not lengths_checked and piece[:, -1].has_nulls():
                _check_rows(file, separator, len(names))
                lengths_checked = True
            yield piece.select(selected)
    except PolarsError:
        _check_rows(file, separator, len(names))
        raise


class _Row(NamedTuple):
    """A row of a text file, from the line ``begin`` to the line ``end``, counted from 1."""

    begin: int
    end: int
    cells: list[str]


def _rows(file: Path, separator: str) -> Iterator[_Row]:
    """Yield the header and the rows with their lines: slower than Polars, and only for errors."""
    with _open(file) as lines:
        reader = csv.reader(_decode(file, lines), delimiter=separator, strict=True)
        begin, is_header = 1, True
        try:
            for cells in reader:
                if not is_header or any(cell.strip() for cell in cells):
                    yield _Row(begin, reader.line_num, cells)
                    is_header = False
                begin = reader.line_num + 1
        except csv.Error as error:
            raise ValueError(
                f"Expected {str(file)!r} to hold a table, but line {begin} cannot be split into "
                f"cells: {error}. Write a quote in a cell twice, put the cell in quotes, close every "
                "quote, and end lines as Unix or Windows does."
            ) from error


def _open(file: Path) -> Any:
    return (gzip.open if file.suffix.lower() == ".gz" else open)(file, "rb")


def _decode(file: Path, lines: Iterable[bytes]) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"Expected {str(file)!r} to hold a table in UTF-8, but line {number} has the byte "
                f"{line[error.start]:#x}. Save it as UTF-8."
            ) from None
        if number == 1 and "\0" in text:
            raise ValueError(
                f"Expected {str(file)!r} to hold a table in UTF-8, but line 1 is UTF-16 or binary. "
                "Save it as UTF-8."
            )
        yield text.replace("\0", "?")  # which Python 3.10 does not split


def _check_rows(file: Path, separator: str, length: int) -> None:
    """Raise an error that names the first row of another length than the header."""
    for row in _rows(file, separator):
        if len(row.cells) != length and any(cell.strip() for cell in row.cells):
            raise ValueError(
                f"Expected every row of {str(file)!r} to have as many cells as its header, "
                f"{length}, but line {row.begin} has {len(row.cells)}."
            )


def _places(file: Path, names: Sequence[str], columns: Sequence[str]) -> list[int]:
    """Return the places of columns among the names of a file."""
    for column in columns:
        if names.count(column) > 1:
            raise ValueError(
                f"Expected {str(file)!r} to have one column {column!r}, but it has "
                f"{names.count(column)} of that name."
            )
        if column not in names:
            hint = suggest(column, names)
            raise ValueError(
                f"Expected {str(file)!r} to have a column {column!r}, but it has "
                f"{', '.join(map(repr, names))}.{hint}"
            )
    return [names.index(column) for column in columns]


def unused_path(path: Path) -> Path:
    """Return the path, or the first of path-1, path-2, ... at which there is nothing yet."""
    number, free = 1, path
    while free.exists():
        free = path.with_stem(f"{path.stem}-{number}")
        number += 1
    return free


class TableWriter:
    """Write a table piece by piece, in bounded memory.

    An existing file is never replaced: a number is added to the name. What was written before an
    error stays.
    """

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        if path.suffix not in (".csv", ".parquet"):
            raise ValueError(
                f"Expected the name of a table to end in .csv or .parquet, but got {str(path)!r}."
            )
        self.path = unused_path(path)
        self.rows = 0
        # Parquet files cannot grow: pieces lie beside the file and are joined at the end.
        self._pieces: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        return self

    def write(self, columns: Mapping[str, Any]) -> None:
        """Append rows, name -> values; the names are the same in every call."""
        import polars

        piece = polars.DataFrame(columns)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.suffix == ".parquet":
            if self._pieces is None:
                self._pieces = tempfile.TemporaryDirectory(
                    dir=self.path.parent, prefix=f".{self.path.stem}-"
                )
            piece.write_parquet(Path(self._pieces.name, f"{self.rows:015d}.parquet"))
        else:
            with self.path.open("ab") as file:
                piece.write_csv(file, include_header=self.rows == 0)
        self.rows += len(piece)

    def __exit__(self, *_: object) -> None:
        import polars

        if self._pieces is not None:
            pieces = sorted(Path(self._pieces.name).iterdir())
            polars.scan_parquet(pieces, glob=False).sink_parquet(self.path)
            self._pieces.cleanup()
