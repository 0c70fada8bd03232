"""Tables that are read and written piece by piece, so that they may be larger than the memory."""

from __future__ import annotations

import codecs
import difflib
import gzip
import io
import re
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import dropwhile, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_invert.arguments import repeated

if TYPE_CHECKING:
    from types import TracebackType

    import polars
    from typing_extensions import Self

__all__ = ["TableWriter", "check_separator", "read_table", "row_name", "unused"]

TEXT, PARQUET = (".csv", ".tsv", ".csv.gz", ".tsv.gz"), (".parquet", ".pq")

MAX_ROWS_AT_ONCE = 65536
MAX_LINES_OF_A_ROW = 65536

QUOTED = re.compile(rb'"[^"]*"?')


def read_table(
    file: str | Path,
    columns: Sequence[str] | None = None,
    *,
    separator: str = ",",
    rows_at_once: int = MAX_ROWS_AT_ONCE,
) -> Iterator[polars.DataFrame]:
    r"""Read columns of numbers from a CSV, TSV or Parquet file, piece by piece.

    Integers and booleans count as numbers, in text also true and false. Numbers are rounded to
    float64; in text they have a decimal point, and nothing between their thousands. Blanks around a
    cell or a name do not count. A blank line is a row without values; any other row has as many
    cells as the header.

    Args:
        file: Its name ends in .csv, .tsv, .csv.gz, .tsv.gz, .parquet or .pq.
        columns: Which, in this order; by default all.
        separator: Between the cells of a CSV file; a TSV file has tabs.
        rows_at_once: Rows of a piece.

    Yields:
        The pieces, with all columns as float64; an empty cell is NaN.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is of another kind, has no rows, is damaged or cannot be read, lacks
            a column or has it twice, has rows of another length, or a cell that is not a number or
            beyond the range of float64. Text has to be UTF-8.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp(), "points.csv")
        >>> file.write_text("a,b\n1,2\n3,4\n")
        12
        >>> [piece.rows() for piece in read_table(file, ["b"])]
        [[(2.0,), (4.0,)]]
    """
    from polars.exceptions import PanicException, PolarsError

    file = Path(file)
    if not file.is_file():
        what = "is a folder" if file.is_dir() else "is not there"
        raise FileNotFoundError(f"Expected a table, but {str(file)!r} {what}.")
    if not file.name.lower().endswith(TEXT + PARQUET):
        raise ValueError(
            f"Expected the name of a table to end in one of {', '.join(TEXT + PARQUET)}, but got "
            f"{str(file)!r}."
        )
    check_separator(separator)
    if again := repeated(columns or ()):
        raise ValueError(
            f"Expected each column of {str(file)!r} to be asked for once, but got {again}."
        )
    if _is_parquet(file):
        pieces = _read_parquet(file, columns, rows_at_once)
    else:
        pieces = _read_text(file, columns, separator, rows_at_once)
    some = False
    try:
        for piece in pieces:
            some = True
            yield piece.fill_null(float("nan"))
    except (PolarsError, PanicException, OSError, zlib.error, EOFError) as error:
        # What follows the first line is advice on the arguments of Polars.
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"Expected {str(file)!r} to hold a table, but it cannot be read: {reason}"
        ) from error
    if not some:
        raise ValueError(f"Expected {str(file)!r} to hold at least one row, but it has none.")


def check_separator(separator: str) -> None:
    """Complain of what cannot separate the cells of a text file.

    Raises:
        ValueError: If it is not a single ASCII character, or a quote or a line end.
    """
    if (
        not isinstance(separator, str)
        or len(separator) != 1
        or not separator.isascii()
        or separator in '"\r\n'
    ):
        raise ValueError(
            "Expected argument `separator` to be a single ASCII character, and no quote or line "
            f"end, but got {separator!r}."
        )


def row_name(file: str | Path, index: int) -> str:
    r"""Name a row so that it can be found.

    Args:
        file: The table.
        index: Of the row, from 0.

    Returns:
        The line at which it begins in a text file; the index in a Parquet file.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp(), "points.csv")
        >>> file.write_text('a,note\n1,"two\nlines"\n3,one\n')
        27
        >>> row_name(file, 1), row_name("points.parquet", 1)
        ('line 4', 'row 1 (counted from 0)')
    """
    if _is_parquet(Path(file)):
        return f"row {index} (counted from 0)"
    # A second look, so that no line numbers need to be kept for all that goes well.
    return f"line {next(islice(_rows(Path(file)), index + 1, None))[0]}"


def _is_parquet(file: Path) -> bool:
    return file.name.lower().endswith(PARQUET)


def _read_parquet(
    file: Path, columns: Sequence[str] | None, rows_at_once: int
) -> Iterator[polars.DataFrame]:
    import polars

    table = polars.scan_parquet(file, glob=False)
    types = table.collect_schema()
    columns = columns or types.names()
    _check_columns(file, types.names(), columns)
    for name in columns:
        # A column without any value has a type of its own.
        if not (types[name].is_numeric() or types[name] in (polars.Boolean, polars.Null)):
            raise ValueError(
                f"Expected column {name!r} of {str(file)!r} to hold numbers, but its type is "
                f"{types[name]}."
            )
    # By their places: a name like "*" or "^a$" would be a pattern.
    places = [types.names().index(name) for name in columns]
    table = table.select(polars.nth(places).cast(polars.Float64))
    begin = 0
    while len(piece := table.slice(begin, rows_at_once).collect()):
        yield piece
        begin += len(piece)


def _read_text(
    file: Path, columns: Sequence[str] | None, separator: str, rows_at_once: int
) -> Iterator[polars.DataFrame]:
    import polars

    texts = _texts(file, columns, separator, rows_at_once)
    begin = 0
    for text in texts:
        numbers = text.cast(polars.Float64, strict=False)
        for name in text.columns:
            wrong = _wrong(text[name], numbers[name])
            if wrong.any():
                index = int(wrong.arg_max() or 0)
                count = int(wrong.sum()) + sum(int(_wrong(some[name]).sum()) for some in texts)
                raise ValueError(
                    f"Expected column {name!r} of {str(file)!r} to hold numbers, but in "
                    f"{row_name(file, begin + index)} it has {text[name][index]!r} ({count} such "
                    "cell(s) in all)."
                )
        yield numbers
        begin += len(text)


def _wrong(cells: polars.Series, numbers: polars.Series | None = None) -> polars.Series:
    """Tell which cells hold what is no number, or one that float64 does not hold."""
    import polars

    # Without its name, as Polars takes one like "^a$" for a pattern.
    cells = cells.alias("")
    numbers = cells.cast(polars.Float64, strict=False) if numbers is None else numbers.alias("")
    wrong = numbers.is_null() & cells.is_not_null()
    infinite = numbers.is_infinite().fill_null(value=False)
    if infinite.any():
        wrong |= infinite & ~cells.str.contains("(?i)inf").fill_null(value=False)
    return wrong


def _texts(
    file: Path, columns: Sequence[str] | None, separator: str, rows_at_once: int
) -> Iterator[polars.DataFrame]:
    import polars

    separator = "\t" if file.name.lower().endswith((".tsv", ".tsv.gz")) else separator
    mark, rows = separator.encode(), _rows(file)
    begin, header = next(rows, (0, b""))
    _check_header(file, begin, header)
    names = _parse(file, [(begin, header)], b"", separator, has_header=False).row(0)
    there = [(name or "").strip() for name in names]
    columns = columns or there
    _check_columns(file, there, columns)
    # Places for names, as Polars would rename a column whose name is there twice.
    places = {name: str(there.index(name)) for name in columns}
    header = separator.join(map(str, range(len(there)))).encode() + b"\n"
    cells = [polars.col(places[name]).str.strip_chars().alias(name) for name in columns]
    meant = {"": None, "true": "1", "false": "0", "True": "1", "False": "0"}
    while some := list(islice(rows, rows_at_once)):
        for begin, row in some:
            if row.count(mark) + 1 == len(there) and b'"' not in row:
                continue
            if (count := _count_cells(row, mark)) != len(there) and row.strip():
                raise ValueError(
                    f"Expected every row of {str(file)!r} to have as many cells as its header, "
                    f"{len(there)}, but that of line {begin} has {count}."
                )
        piece = _parse(file, some, header, separator, columns=list(places.values()))
        yield piece.select(cells).with_columns(polars.all().replace(meant))


def _count_cells(row: bytes, mark: bytes) -> int:
    return QUOTED.sub(b"", row).count(mark) + 1


def _check_header(file: Path, line: int, header: bytes) -> None:
    if not header:
        raise ValueError(f"Expected {str(file)!r} to hold a table, but the file is empty.")
    if header.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in header:
        raise ValueError(
            f"Expected {str(file)!r} to be text in UTF-8, but line {line} has what UTF-16 or a "
            "binary file has. Save it as UTF-8."
        )
    if b"\r" in QUOTED.sub(b"", header).rstrip(b"\r\n"):
        raise ValueError(
            f"Expected the lines of {str(file)!r} to end in a line feed, but a carriage return "
            f"alone is in line {line}. Save it with the line ends of Unix or Windows."
        )


def _parse(
    file: Path, rows: Sequence[tuple[int, bytes]], header: bytes, separator: str, **options: Any
) -> polars.DataFrame:
    """Take rows apart into cells, or name the first line that cannot be."""
    import polars
    from polars.exceptions import PolarsError

    def parse(some: Sequence[tuple[int, bytes]]) -> polars.DataFrame:
        whole = b"".join([header, *(row for _, row in some)])
        return polars.read_csv(
            io.BytesIO(whole), separator=separator, infer_schema=False, **options
        )

    try:
        return parse(rows)
    except PolarsError:
        for line, row in rows:
            try:
                row.decode()
                parse([(line, row)])
            except UnicodeDecodeError as error:
                cell = _count_cells(row[: error.start], separator.encode())
                raise ValueError(
                    f"Expected {str(file)!r} to hold a table in UTF-8, but line {line} has the byte "
                    f"{row[error.start]:#x} in cell {cell}. Save it as UTF-8."
                ) from None
            except PolarsError as error:
                raise ValueError(
                    f"Expected {str(file)!r} to hold a table, but line {line} cannot be taken apart "
                    "into cells: a quote in a cell has to be written twice, and the cell in quotes."
                ) from error
        raise


def _rows(file: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the number of the first line and the text of the header and of each row."""
    with (gzip.open if file.suffix.lower() == ".gz" else open)(file, "rb") as lines:
        begin, row, inside = 0, list[bytes](), False
        for number, line in dropwhile(lambda pair: not pair[1].strip(), enumerate(lines, 1)):
            begin = begin if row else number
            row.append(line)
            # Two quotes within a cell stand for one, so that only an odd one opens or closes it.
            inside ^= line.count(b'"') % 2 == 1
            if not inside:
                yield begin, b"".join(row)
                row.clear()
            elif len(row) > MAX_LINES_OF_A_ROW:
                break
    if inside:
        raise ValueError(
            f"Expected {str(file)!r} to close every quote, but that of line {begin} stays open."
        )


def _check_columns(file: Path, there: Sequence[str], wanted: Sequence[str]) -> None:
    for name in wanted:
        if there.count(name) > 1:
            raise ValueError(
                f"Expected {str(file)!r} to have one column {name!r}, but it has "
                f"{there.count(name)} of that name."
            )
        if name in there:
            continue
        close = difflib.get_close_matches(name, there, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"Expected {str(file)!r} to have a column {name!r}, but it has "
            f"{', '.join(map(repr, there))}.{hint}"
        )


def unused(path: Path) -> Path:
    """Return the path, or the first of path-1, path-2, ... at which there is nothing yet."""
    number, free = 1, path
    while free.exists():
        free = path.with_stem(f"{path.stem}-{number}")
        number += 1
    return free


class TableWriter:
    r"""Write a table piece by piece, in bounded memory.

    An existing file is never replaced: a number is added to the name. What was written before an
    error stays.

    Args:
        path: Its name ends in .csv or .parquet.

    Raises:
        ValueError: If it does not.

    Example:
        >>> import tempfile
        >>> with TableWriter(Path(tempfile.mkdtemp(), "found.csv")) as table:
        ...     table.write({"a": [1, 2]})
        ...     table.write({"a": [3]})
        >>> table.path.read_text()
        'a\n1\n2\n3\n'
    """

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        if path.suffix not in (".csv", ".parquet"):
            raise ValueError(
                f"Expected the name of a table to end in .csv or .parquet, but got {str(path)!r}."
            )
        self.path = unused(path)
        self.rows = 0
        # Parquet files cannot grow: pieces are kept beside the file and put together at the end.
        self._pieces: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        return self

    def write(self, columns: Mapping[str, Any]) -> None:
        """Append rows.

        Args:
            columns: Name -> values; the same names in every call.
        """
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        import polars

        if self._pieces is not None:
            pieces = sorted(Path(self._pieces.name).iterdir())
            polars.scan_parquet(pieces, glob=False).sink_parquet(self.path)
            self._pieces.cleanup()
