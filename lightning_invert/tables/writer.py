"""Write tables piece by piece."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_invert.tables.format import TableFormat

if TYPE_CHECKING:
    import polars
    from typing_extensions import Self

__all__ = ["TableWriter", "unused_path"]

READ = ("input/", "given/", "x/", "y/", "target/")
"""How the names of columns begin that repeat the table that was read, to all its digits."""


def unused_path(path: Path) -> Path:
    """Return the path, or the first of path-1, path-2, ... at which there is nothing yet."""
    number, free = 1, path
    while free.exists():
        free = path.with_stem(f"{path.stem}-{number}")
        number += 1
    return free


class TableWriter:
    """Write a table piece by piece, in bounded memory.

    An existing file is never replaced: the new name gets a number. What was written before an error stays.
    A missing number is an empty cell. A CSV file has the separator and the decimal sign of ``form``, and
    six digits of computed numbers.
    """

    def __init__(self, path: str | Path, form: TableFormat | None = None) -> None:
        path = Path(path)
        if path.suffix not in (".csv", ".parquet"):
            raise ValueError(
                f"Expected the name of a table to end in .csv or .parquet, but got {str(path)!r}."
            )
        self.path = unused_path(path)
        self.rows = 0
        # Blanks cannot tell an empty cell.
        self._separator = ((form and form.separator) or ",").replace(" ", ",")
        self._decimal_comma = form is not None and form.decimal == ","
        # Parquet files cannot grow: pieces lie beside the file and are joined at the end.
        self._pieces: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        self.rows, self._pieces = 0, None
        return self

    def write(self, columns: Mapping[str, Any]) -> None:
        """Append rows, name -> values; the names are the same in every call."""
        import polars

        piece = polars.DataFrame(columns).with_columns(polars.selectors.float().fill_nan(None))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.suffix == ".parquet":
            if self._pieces is None:
                self._pieces = tempfile.TemporaryDirectory(
                    dir=self.path.parent, prefix=f".{self.path.stem}-"
                )
            piece.write_parquet(Path(self._pieces.name, f"{self.rows:015d}.parquet"))
        else:
            with self.path.open("ab") as file:
                _with_six_digits(piece).write_csv(
                    file,
                    include_header=self.rows == 0,
                    separator=self._separator,
                    decimal_comma=self._decimal_comma,
                )
        self.rows += len(piece)

    def __exit__(self, *_: object) -> None:
        import polars

        if self._pieces is not None:
            pieces = sorted(Path(self._pieces.name).iterdir())
            polars.scan_parquet(pieces, glob=False).sink_parquet(self.path)
            self._pieces.cleanup()


def _with_six_digits(piece: polars.DataFrame) -> polars.DataFrame:
    """Round what was computed to six digits, and to two decimals from a million on: time stamps."""
    from polars import selectors, when

    computed = selectors.float() - selectors.starts_with(*READ)
    return piece.with_columns(
        when(computed.abs() < 1e6).then(computed.round_sig_figs(6)).otherwise(computed.round(2))
    )
