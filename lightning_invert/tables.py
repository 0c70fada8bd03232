"""Tables that are read and written piece by piece, so that they may be larger than the memory."""

from __future__ import annotations

import difflib
import io
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import TracebackType

    import polars
    from typing_extensions import Self

__all__ = ["TableWriter", "check_columns", "read_table", "unused"]

ROWS_AT_ONCE = 65536


def read_table(
    file: str | Path, columns: Sequence[str] | None = None, *, rows_at_once: int = ROWS_AT_ONCE
) -> Iterator[polars.DataFrame]:
    r"""Read columns of numbers from a CSV, TSV or Parquet file, piece by piece.

    Args:
        file: Its name ends in .csv, .tsv or .parquet.
        columns: Which, in this order; by default all.
        rows_at_once: Rows of a piece.

    Yields:
        The pieces, with all columns as float64; an empty cell is NaN.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is of another kind, is empty, lacks a column or has a cell that is
            not a number.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp(), "points.csv")
        >>> file.write_text("a,b\n1,2\n3,4\n")
        12
        >>> [piece.rows() for piece in read_table(file, ["b"])]
        [[(2.0,), (4.0,)]]
    """
    file = Path(file)
    if not file.is_file():
        raise FileNotFoundError(f"Expected a table, but there is no file {str(file)!r}.")
    if file.stat().st_size == 0:
        raise ValueError(f"Expected {str(file)!r} to hold a table, but the file is empty.")
    if file.suffix == ".parquet":
        yield from _read_parquet(file, columns, rows_at_once)
    elif file.suffix in (".csv", ".tsv"):
        yield from _read_csv(file, columns, rows_at_once)
    else:
        raise ValueError(
            f"Expected the name of a table to end in .csv, .tsv or .parquet, but got {str(file)!r}."
        )


def _read_parquet(
    file: Path, columns: Sequence[str] | None, rows_at_once: int
) -> Iterator[polars.DataFrame]:
    import polars

    table = polars.scan_parquet(file)
    there = table.collect_schema().names()
    check_columns(repr(str(file)), there, columns or [])
    table = table.select(columns or there)
    begin = 0
    while len(piece := table.slice(begin, rows_at_once).collect()):
        yield _as_numbers(piece, file, f"row {begin} (counted from 0) or below")
        begin += len(piece)


def _read_csv(
    file: Path, columns: Sequence[str] | None, rows_at_once: int
) -> Iterator[polars.DataFrame]:
    import polars

    separator = "\t" if file.suffix == ".tsv" else ","
    with file.open("rb") as lines:
        header = next(lines)
        there = polars.read_csv(io.BytesIO(header), separator=separator).columns
        check_columns(repr(str(file)), there, columns or [])
        begin = 2
        while some := list(islice(lines, rows_at_once)):
            piece = polars.read_csv(
                io.BytesIO(b"".join([header, *some])),
                columns=list(columns or there),
                separator=separator,
                infer_schema=False,
            ).select(columns or there)
            yield _as_numbers(piece, file, f"line {begin} or below")
            begin += len(some)


def _as_numbers(piece: polars.DataFrame, file: Path, where: str) -> polars.DataFrame:
    import polars

    numbers = piece.select(polars.all().cast(polars.Float64, strict=False))
    for name in piece.columns:
        wrong = numbers[name].is_null() & piece[name].is_not_null()
        if wrong.any():
            cell = piece[name][int(wrong.arg_max() or 0)]
            raise ValueError(
                f"Expected column {name!r} of {str(file)!r} to hold numbers, but it has {cell!r} "
                f"in {where}."
            )
    return numbers.fill_null(float("nan"))


def check_columns(source: str, there: Sequence[str], wanted: Sequence[str]) -> None:
    """Raise a ValueError, with the nearest name, if a table lacks a column that is wanted."""
    for name in wanted:
        if name in there:
            continue
        close = difflib.get_close_matches(name, there, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"Expected {source} to have a column {name!r}, but it has "
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
            polars.scan_parquet(Path(self._pieces.name, "*.parquet")).sink_parquet(self.path)
            self._pieces.cleanup()
