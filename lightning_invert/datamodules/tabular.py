"""Pairs from a table: any CSV or Parquet file with named columns."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from lightning_invert.arguments import check_choice, describe_repetitions, expected_but_got
from lightning_invert.datamodules.pair import PairDataModule
from lightning_invert.tables import check_separator, read_table, row_name
from lightning_invert.variables import Variable

__all__ = ["TabularDataModule"]


class TabularDataModule(PairDataModule):
    r"""Pairs (x, y) from the columns of a CSV or Parquet file.

    Only the named columns are read. Integers and booleans are numbers. A constant column is an
    error, and so are too few rows.

    Args:
        file: The table: ``.csv``, ``.tsv``, either also as ``.gz``, ``.parquet`` or ``.pq``.
        inputs: Names of the columns of x.
        outputs: Names of the columns of y.
        units: Column -> unit, as labels show it; a column may be left out.
        separator: Character between the cells of a CSV file; a TSV file has tabs.
        on_missing: What happens to a row in which one of the columns is empty, NaN or infinite:
            ``"raise"`` ends with an error, ``"drop"`` leaves the row out and warns of their number.
        batch_size: Rows of a training batch.
        eval_batch_size: Rows of a batch in validation, test and prediction.
        val_fraction: Share of the rows held out for validation, in (0, 1).
        test_fraction: Share of the rows held out for the test, in [0, 1).
        seed: Seed of the split.
        num_workers: Worker processes of each loader.

    Raises:
        ValueError: If an argument is out of range; when the file is read, if it lacks a column or
            holds a cell that is no finite number.
        FileNotFoundError: When the file is read, if there is none.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "table.csv"
        >>> _ = path.write_text("speed,load,heat\n" + "1,2,3\n4,5,6\n7,8,10\n2,2,2\n")
        >>> data = TabularDataModule(path, inputs=["speed", "load"], outputs=["heat"])
        >>> x, y = data.load()
        >>> x.shape, y.shape
        (torch.Size([4, 2]), torch.Size([4, 1]))
    """

    def __init__(
        self,
        file: str | os.PathLike[str],
        inputs: Sequence[str],
        outputs: Sequence[str],
        units: Mapping[str, str] | None = None,
        separator: str = ",",
        on_missing: Literal["raise", "drop"] = "raise",
        batch_size: int = 16,
        eval_batch_size: int = 1024,
        val_fraction: float = 0.2,
        test_fraction: float = 0.0,
        seed: int = 42,
        num_workers: int = 0,
    ) -> None:
        super().__init__(
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
            val_fraction=val_fraction,
            test_fraction=test_fraction,
            seed=seed,
            num_workers=num_workers,
        )
        if not isinstance(file, str | os.PathLike) or not str(file):
            raise TypeError(expected_but_got("file", "the path of a table", file))
        if units is not None and not isinstance(units, Mapping):
            raise TypeError(
                expected_but_got("units", "a mapping of columns to units, {'heat': 'kW'}", units)
            )
        inputs, outputs = _read_names("inputs", inputs), _read_names("outputs", outputs)
        file, units = str(file), dict(units or {})
        if both := sorted(set(inputs) & set(outputs)):
            raise ValueError(
                f"Expected arguments `inputs` and `outputs` to have no column in common, got {both}."
            )
        if unknown := sorted(set(units) - {*inputs, *outputs}):
            raise ValueError(
                f"Expected argument `units` to name columns of `inputs` and `outputs`, got {unknown}."
            )
        check_separator(separator)
        self.save_hyperparameters()
        self.file = Path(file)
        self.separator = separator
        self.on_missing = check_choice("on_missing", on_missing, ("raise", "drop"))
        self.inputs = tuple(Variable(name, units.get(name, "")) for name in inputs)
        self.outputs = tuple(Variable(name, units.get(name, "")) for name in outputs)

    @property
    def source(self) -> str:
        """The file."""
        return repr(str(self.file))

    def load(self) -> tuple[Tensor, Tensor]:
        """Read the columns: x of shape (N, n) and y of shape (N, m), in float64."""
        names = [variable.name for variable in (*self.inputs, *self.outputs)]
        pieces = read_table(self.file, names, separator=self.separator)
        table = torch.cat([piece.to_torch() for piece in pieces])
        table = self._without_missing(table, names)
        x, y = table.split((len(self.inputs), len(self.outputs)), dim=1)
        return x, y

    def _without_missing(self, table: Tensor, names: Sequence[str]) -> Tensor:
        missing = ~table.isfinite()
        if not missing.any():
            return table
        rows = missing.any(1)
        first = int(rows.int().argmax())
        column = int(missing[first].int().argmax())
        what = f"{rows.sum()} of {len(table)} rows of {self.source} lack a finite value"
        if self.on_missing == "raise":
            value = table[first, column]
            cell = "empty or NaN" if value.isnan() else value.item()
            raise ValueError(
                f"{what}: the first is {row_name(self.file, first, self.separator)}, column "
                f"{names[column]!r} ({cell}). Mend the file, or leave such rows out with "
                "`on_missing='drop'`."
            )
        rank_zero_warn(f"{what} and are left out (`on_missing='drop'`).")
        return table[~rows]


def _read_names(side: str, names: Any) -> list[str]:
    # A single name is a sequence, too: of its letters.
    is_list = isinstance(names, Iterable) and not isinstance(names, str)
    columns: list[Any] = list(names) if is_list else [None]
    if not all(isinstance(name, str) for name in columns):
        raise TypeError(
            expected_but_got(side, "a list of the names of columns, ['speed', 'load']", names)
        )
    if not columns:
        raise ValueError(f"Expected argument `{side}` to name at least one column, got none.")
    if again := describe_repetitions(columns):
        raise ValueError(f"Expected argument `{side}` to name each column once, but got {again}.")
    return columns
