"""The tables that a command reads: what was found of them is printed."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_invert.tables import TableFormat, TableReader, split_unit
from lightning_invert.variables import Variable

__all__ = ["open_table"]

SPELLINGS = str.maketrans("³²", "32", "^·°* ")


def open_table(
    file: str, columns: Sequence[str] | None, form: TableFormat, variables: Sequence[Variable] = ()
) -> TableReader:
    """Open a table; print how it is read, and where its units are not those of ``variables``."""
    reader = TableReader(file, columns, form)
    if reader.note:
        print(f"{reader.note}.")
    known = {variable.name: variable.unit for variable in variables}
    others = []
    for column, unit in reader.units.items():
        name = split_unit(column)[0]
        name = name if name in known else name.removesuffix("_low").removesuffix("_high")
        expected = known.get(name, "")
        if unit and expected and unit.translate(SPELLINGS) != expected.translate(SPELLINGS):
            others.append(f"{name!r} in {unit}, and the checkpoint in {expected}")
    if others:
        print(f"{file} has {'; '.join(others)}. Nothing is converted.")
    return reader
