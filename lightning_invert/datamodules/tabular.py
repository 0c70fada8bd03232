"""Pairs from a table: any CSV or Parquet file with named columns."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor

from lightning_invert.arguments import check_choice, describe_repetitions, expected_but_got
from lightning_invert.conditions import filled
from lightning_invert.datamodules.pair import PairDataModule, described
from lightning_invert.tables import FormatError, TableFormat, TableReader, split_unit
from lightning_invert.variables import Variable

__all__ = ["TabularDataModule"]


class TabularDataModule(PairDataModule):
    r"""Load pairs (x, y) from columns of a text file, a Parquet file or an Excel workbook.

    Only the named columns are read; integers and booleans count as numbers. A constant column is an error,
    and so are too few rows. The first lines of a text file show how it is written (separator, decimal
    sign, encoding, ...); what is found is logged. If they leave a doubt, an error names the arguments to
    write: docs/how_to/tables.md.

    Args:
        file: The table: ``.csv``, ``.tsv``, ``.txt`` or ``.dat``, each also as ``.gz``,
            ``.parquet``, ``.pq``, ``.xlsx`` or ``.xlsm``.
        inputs: Names of the columns of x. A column ``flow [t/h]`` may be called ``flow``.
        outputs: Names of the columns of y.
        units: Column -> unit, for labels; columns may be left out. Names like ``flow [t/h]`` and a row
            of units in the file also give units.
        on_missing: What to do with a row in which a named column is empty, NaN, infinite or a word for
            missing. ``"raise"``: raise an error. ``"drop"``: leave the row out, with a warning. A cell
            may be empty where ``matters_if`` says that its column does not matter.
        separator: Character between the cells of a text file; a TSV file has tabs.
        decimal: Decimal sign: ``"."`` or ``","``.
        thousands: Sign between the thousands: ``","``, ``"."``, ``" "``, ``"'"``, or ``""`` for none.
        encoding: Encoding of a text file.
        skip_rows: Number of lines before the names of the columns.
        units_row: Number of rows under the names that hold no numbers; the last holds the units.
        missing: Words and numbers that stand for a missing value, such as ``[-200, "Offline"]``, besides
            the usual words.
        **options: ``batch_size``, ``eval_batch_size``, ``val_fraction``, ``test_fraction``,
            ``seed``, ``num_workers``, ``constraints`` and ``variables`` of :class:`PairDataModule`.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range. When the file is read: if it lacks a column, or a cell
            is not a finite number.
        FileNotFoundError: When the file is read, if it does not exist.

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
        on_missing: Literal["raise", "drop"] = "raise",
        separator: str | None = None,
        decimal: Literal[".", ","] | None = None,
        thousands: Literal["", ",", ".", " ", "'"] | None = None,
        encoding: str | None = None,
        skip_rows: int | None = None,
        units_row: int | None = None,
        missing: list[float | str] | float | str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
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
                f"Expected arguments `inputs` and `outputs` to have no column in common, but got {both}."
            )
        if unknown := sorted(set(units) - {*inputs, *outputs}):
            raise ValueError(
                f"Expected argument `units` to name columns of `inputs` and `outputs`, got {unknown}."
            )
        self.table_format = TableFormat(
            separator=separator,
            decimal=decimal,
            thousands=thousands,
            encoding=encoding,
            skip_rows=skip_rows,
            units_row=units_row,
            missing=missing,
        )
        """How the file is written; once it is read, with the separator and decimal sign found."""
        self.save_hyperparameters()
        self.file = Path(file)
        self.on_missing = check_choice("on_missing", on_missing, ("raise", "drop"))
        self._columns, self._units = (inputs, outputs), units
        self._name_variables({})

    def _name_variables(self, units: Mapping[str, str]) -> None:
        """Name the variables, without units in their names; ``units`` are those of the file."""
        known = {**units, **{name: unit for name, unit in self._units.items() if unit}}
        columns = [name for names in self._columns for name in names]
        short = Counter(split_unit(name)[0] for name in columns)
        variables = {}
        for column in columns:
            name, own = split_unit(column)
            unit = known.get(column) or own
            variables[column] = Variable(name if short[name] == 1 else column, unit)
        self.inputs, self.outputs = (
            tuple(variables[name] for name in names) for names in self._columns
        )
        self.inputs = described(self.inputs, self.variables)

    @property
    def source(self) -> str:
        """The file."""
        return repr(str(self.file))

    def load(self) -> tuple[Tensor, Tensor]:
        """Read the columns: x of shape (N, n) and y of shape (N, m), in float64."""
        names = [name for side in self._columns for name in side]
        reader = TableReader(self.file, names, self.table_format)
        if reader.note:
            rank_zero_info(f"{reader.note}.")
        table = torch.cat([piece.to_torch() for piece in reader.read()])
        self.table_format = reader.found
        self._name_variables(reader.units)
        x, y = self._without_missing(table, reader).split([len(s) for s in self._columns], dim=1)
        return x, y

    def _without_missing(self, table: Tensor, reader: TableReader) -> Tensor:
        n = len(self.inputs)
        known = filled(table[:, :n], self.inputs, torch.zeros(n))
        missing = ~torch.cat([known, table[:, n:]], 1).isfinite()
        if not missing.any():
            return table
        if missing.all(0).any():
            name = reader.columns[int(missing.all(0).int().argmax())]
            raise ValueError(
                f"Expected column {name!r} of {self.source} to hold numbers, but it has none in any row."
            )
        rows = missing.any(1)
        first = int(rows.int().argmax())
        column = int(missing[first].int().argmax())
        what = f"{rows.sum()} of {len(table)} rows of {self.source} lack a finite value"
        if self.on_missing == "raise":
            value = table[first, column]
            cell = "missing" if value.isnan() else value.item()
            advice: list[tuple[str, dict[str, Any]]] = [
                ("To leave such rows out, write", {"on_missing": "drop"})
            ]
            names = [variable.name for variable in self.inputs]
            if value.isnan() and column < n > 1:
                condition = {"matters_if": [names[column == 0], ">", 0]}
                words = f"If {names[column]!r} matters only sometimes, say where, as in"
                advice.append((words, {"variables": {names[column]: condition}}))
            raise FormatError(
                f"{what}: the first is {reader.row_name(first)}, column {reader.columns[column]!r} "
                f"({cell}). Mend the file.",
                advice,
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
