"""The tables that a command reads: what was found of them is printed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from torch import Tensor

from lightning_invert.tables import TableFormat, TableReader, TableWriter, split_unit
from lightning_invert.variables import Variable

if TYPE_CHECKING:
    import polars

__all__ = ["InlineRow", "open_table", "write_table"]

SPELLINGS = str.maketrans("³²", "32", "^·°* ")


class InlineRow:
    """A table of one row, written in place of a file: ``{yield: 90, purity_low: 99}``."""

    note, units, found = "", dict[str, str](), TableFormat()

    def __init__(self, text: str, option: str) -> None:
        self.file = option
        try:
            values = yaml.safe_load(text)
            self._numbers = {str(name): float(value) for name, value in values.items()}
        except (yaml.YAMLError, AttributeError, TypeError, ValueError):
            raise ValueError(
                f"Expected {option} to be a file, or a number of each column like "
                f"'{{yield: 90, purity_low: 99}}', but got {text!r}."
            ) from None
        self.columns = list(self._numbers)

    def read(self) -> Iterator[polars.DataFrame]:
        """Yield the row."""
        import polars

        yield polars.DataFrame([self._numbers])

    def row_name(self, index: int) -> str:
        """Name the row."""
        return "the target"

    def row_names(self, indices: set[int]) -> dict[int, str]:
        """Name the row."""
        return dict.fromkeys(indices, "the target")


def write_table(
    file: Path, columns: Mapping[str, Tensor], units: Mapping[str, str], form: TableFormat
) -> None:
    """Write columns with their units in their heads."""
    heads = {name: Variable(name, units.get(name, "")).label for name in columns}
    with TableWriter(file, form) as table:
        table.write({heads[name]: values.cpu().numpy() for name, values in columns.items()})


def open_table(
    file: str,
    columns: Sequence[str] | None,
    form: TableFormat,
    variables: Sequence[Variable],
    said: set[str] | None = None,
) -> TableReader:
    """Open a table; print how it is read, and where its units are not those of ``variables``.

    What is in ``said`` is not printed again.
    """
    reader = TableReader(file, columns, form)
    words = [f"{reader.note}."] if reader.note else []
    known = {variable.name: variable.unit for variable in variables}
    others = []
    for column, unit in reader.units.items():
        name = split_unit(column)[0]
        name = name if name in known else name.removesuffix("_low").removesuffix("_high")
        expected = known.get(name, "")
        if unit and expected and unit.translate(SPELLINGS) != expected.translate(SPELLINGS):
            others.append(f"{name!r} in {unit}, the checkpoint in {expected}")
    if others:
        words.append(f"{file} has {'; '.join(others)}. Nothing is converted.")
    said = set() if said is None else said
    for line in words:
        if line not in said:
            print(line)
            said.add(line)
    return reader
