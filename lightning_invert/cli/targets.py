"""The table of targets: values and intervals of outcomes, and values of fixed settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_invert.arguments import suggest
from lightning_invert.cli.options import check_names
from lightning_invert.cli.solve_options import Within
from lightning_invert.cli.tables import InlineRow
from lightning_invert.proposals.surrogate import Surrogate
from lightning_invert.solver.rows import first_index
from lightning_invert.tables import TableReader, split_unit

__all__ = ["TargetTable", "check_cells", "read_columns", "read_rows", "read_targets"]

ENDS = {"_low": -torch.inf, "_high": torch.inf}


@dataclass(frozen=True)
class TargetTable:
    """Targets of N rows."""

    reader: TableReader | InlineRow
    low: Tensor  # (N, m), the low end of each output, float64, infinite where open
    high: Tensor
    cells: dict[str, tuple[int, Tensor]]  # column beside the proposals -> (output, (N,) or NaN)
    fixed: dict[str, Tensor]  # settings that the table fixes, name -> (N,), NaN if empty


def read_targets(
    reader: TableReader | InlineRow,
    inputs: Sequence[str],
    outputs: Sequence[str],
    within: Within | None = None,
) -> TargetTable:
    """Read a table with a row for each target; ``inputs`` and ``outputs`` are names."""
    file, names = str(reader.file), _names(reader)
    others = [n for n in names if n not in inputs and _output_of(n, outputs)[0] is None]
    if others:
        raise ValueError(_unknown_columns(file, others, inputs, outputs))
    columns = read_columns(reader)
    num_rows = len(next(iter(columns.values())))
    ends = {
        end: torch.full((num_rows, len(outputs)), limit).double() for end, limit in ENDS.items()
    }
    values, limits, fixed = {}, dict[str, int](), {}
    for name, cells in columns.items():
        output, end = _output_of(name, outputs)
        if name in inputs and name not in outputs:
            fixed[name] = cells
        elif end is None:
            check_cells(reader, name, cells, cells.isinf(), "finite numbers or empty cells")
            values[name] = cells
        else:
            infinite = cells == -ENDS[end]
            check_cells(reader, name, cells, infinite, "finite numbers or empty cells")
            limits[name] = place = outputs.index(output)
            ends[end][:, place] = torch.where(cells.isnan(), ENDS[end], cells)
    widths = {} if within is None else _half_widths(within, file, values)
    for name, cells in values.items():
        place = outputs.index(name)
        if place in limits.values():
            raise ValueError(
                f"Expected {file!r} to have either {name!r} or its ends, but got both."
            )
        for (end, limit), sign in zip(ENDS.items(), (-1, 1), strict=True):
            wide = cells + sign * widths[name] if name in widths else cells
            ends[end][:, place] = torch.where(cells.isnan(), limit, wide)
        limits |= {f"{name}{end}": place for end in (ENDS if name in widths else [""])}
    if not limits:
        raise ValueError(
            f"Expected {file!r} to have a column for a target, one of "
            f"{', '.join(map(repr, outputs))}, but it has none."
        )
    low, high = ends.values()
    _check_rows(reader, low, high, outputs)
    shown = {}
    for name, place in limits.items():
        side = (high if name.endswith("_high") else low)[:, place]
        shown[f"target/{name}"] = place, torch.where(side.isinf(), torch.nan, side)
    return TargetTable(reader, low, high, shown, fixed)


def read_columns(reader: TableReader | InlineRow) -> dict[str, Tensor]:
    """Read whole columns of a table, (N,) each, float64, by names without units; NaN if empty."""
    numbers = torch.cat([piece.to_torch() for piece in reader.read()])
    return dict(zip(_names(reader), numbers.T.contiguous(), strict=True))


def read_rows(reader: TableReader, surrogate: Surrogate) -> tuple[Tensor, Tensor]:
    """Read settings (N, n), then outcomes (N, m), float64; what does not matter may be empty."""
    columns = read_columns(reader)
    numbers = torch.stack(list(columns.values()), 1)
    n = len(surrogate.description.inputs or columns)
    x, y = surrogate.filled(numbers[:, :n]), numbers[:, n:]
    missing = ~torch.cat([x, y], 1).isfinite()
    if missing.any():
        row = first_index(missing.any(1))
        name = list(columns)[first_index(missing[row])]
        raise ValueError(
            f"Expected column {name!r} of {str(reader.file)!r} to have a number in every row, but "
            f"{reader.row_name(row)} has none. Delete rows where a value was not measured."
        )
    return x, y


def _names(reader: TableReader | InlineRow) -> list[str]:
    short = [split_unit(name)[0] for name in reader.columns]
    return short if len(set(short)) == len(short) else reader.columns


def _output_of(name: str, outputs: Sequence[str]) -> tuple[str | None, str | None]:
    """Return the output of a column, and which end of it the column holds."""
    if name in outputs:
        return name, None
    for end in ENDS:
        if name.endswith(end) and name.removesuffix(end) in outputs:
            return name.removesuffix(end), end
    return None, None


def _unknown_columns(
    file: str, names: Sequence[str], inputs: Sequence[str], outputs: Sequence[str]
) -> str:
    known = [*outputs, *(output + end for output in outputs for end in ENDS), *inputs]
    hint = next(filter(None, (suggest(name, known) for name in names)), " Delete the others.")
    return (
        f"Expected every column of {file!r} to be an outcome ({', '.join(outputs)}), an end of one "
        f"(with _low or _high) or a setting ({', '.join(inputs)}), but got "
        f"{', '.join(map(repr, names))}.{hint}"
    )


def check_cells(
    reader: TableReader | InlineRow, name: str, cells: Tensor, wrong: Tensor, expected: str
) -> None:
    """Raise a ValueError if a cell of a column is wrong."""
    if wrong.any():
        row = first_index(wrong)
        got = "is empty" if cells[row].isnan() else f"has {cells[row]:g}"
        raise ValueError(
            f"Expected column {name!r} of {str(reader.file)!r} to hold {expected}, but "
            f"{reader.row_name(row)} {got}."
        )


def _check_rows(
    reader: TableReader | InlineRow, low: Tensor, high: Tensor, outputs: Sequence[str]
) -> None:
    empty, file = low > high, str(reader.file)
    if empty.any():
        row = first_index(empty.any(1))
        place = first_index(empty[row])
        name = outputs[place]
        raise ValueError(
            f"Expected {name + '_low'!r} of {file!r} to be at most {name + '_high'!r}, but "
            f"{reader.row_name(row)} has {low[row, place]:g} and {high[row, place]:g}."
        )
    free = (low.isinf() & high.isinf()).all(1)
    if free.any():
        raise ValueError(
            f"Expected every row of {file!r} to have a target, but "
            f"{reader.row_name(first_index(free))} has none ({int(free.sum())} such row(s) in all)."
        )


def _half_widths(within: Within, file: str, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return by how much each value may be missed, name -> (N,) or ()."""
    if not values:
        raise ValueError(
            f"Expected {file!r} to have values for --within, but it has only ends (_low, _high)."
        )
    amounts = within if isinstance(within, dict) else dict.fromkeys(values, within)
    if not isinstance(within, dict) and len(values) > 1 and not str(within).endswith("%"):
        raise ValueError(
            f"Expected --within to be a percentage like 5%, or an amount of each outcome by name, "
            f"like '{{{next(iter(values))}: {within}}}', but got {within!r}."
        )
    widths = {}
    check_names("--within", amounts, values, f"outcomes with values in {file!r}")
    for name, amount in amounts.items():
        text = str(amount)
        try:
            number = float(text.removesuffix("%"))
        except ValueError:
            number = torch.nan
        if not 0 <= number < torch.inf:
            raise ValueError(
                f"Expected --within of {name!r} to be an amount or a percentage of at least 0, like 5%, "
                f"but got {amount!r}."
            )
        relative = text.endswith("%")
        widths[name] = values[name].abs() * (number / 100) if relative else torch.tensor(number)
    return widths
