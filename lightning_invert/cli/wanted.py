"""The outcomes that are wanted, from a table: values, intervals, and settings that are given."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lightning_invert.solver.rows import first_index
from lightning_invert.solver.targets import Interval
from lightning_invert.tables import read_table, row_name

__all__ = ["Wanted", "named_numbers", "number", "read_columns", "read_wanted"]

ENDS = {"_low": -torch.inf, "_high": torch.inf}


@dataclass(frozen=True)
class Wanted:
    """What a table of targets asks for.

    Attributes:
        file: The table.
        low: The least that is wanted of each output, (N, m), float64, minus infinity where open.
        high: The most.
        columns: What of it is to be told in a table: name -> output and either end, or None for both,
            which are the same.
        fixed: Settings that the table gives: index of the input -> (N,), float64.
    """

    file: str
    low: Tensor
    high: Tensor
    columns: dict[str, tuple[int, str | None]]
    fixed: dict[int, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.low)

    def interval(self, rows: slice) -> Interval:
        """Return some of the targets."""
        return Interval(self.low[rows], self.high[rows])

    def told(self, rows: slice) -> dict[str, Tensor]:
        """Return the columns of some of the targets; NaN where nothing is wanted, or an end is open."""
        told = {}
        for name, (output, end) in self.columns.items():
            values = (self.high if end == "_high" else self.low)[rows, output]
            told[name] = torch.where(values.isinf(), torch.nan, values)
        return told


def read_wanted(
    file: str, inputs: Sequence[str], outputs: Sequence[str], within: str | None = None
) -> Wanted:
    """Read a table of targets.

    Args:
        file: A row for each target. A column that is named like an output has the values wanted of
            it, one with ``_low`` or ``_high`` after that name an end of an interval, and one that is
            named like an input a setting that is given. An empty cell is a free output or an open
            end.
        inputs: Names of the n inputs.
        outputs: Names of the m outputs.
        within: How far an outcome may be from a value: "5%", or for single outputs "a=5%,b=2".

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a column is neither, a number is missing or not one, an interval is upside
            down, or nothing is wanted in a row.
    """
    columns = read_columns(file)
    low = torch.full((len(next(iter(columns.values()))), len(outputs)), -torch.inf).double()
    high, fixed = -low, dict[int, Tensor]()
    told: dict[str, tuple[int, str | None]] = {}
    for name, values in columns.items():
        if name in inputs and name not in outputs:
            fixed[inputs.index(name)] = _finite(
                file, name, values, "a setting in every row or none"
            )
            continue
        stem, end = _output_of(name, outputs)
        if stem is None:
            raise ValueError(_unknown(file, name, inputs, outputs))
        place = outputs.index(stem)
        if end is None:
            _check_not_infinite(file, name, values, values.isinf())
            low[:, place] = torch.where(values.isnan(), -torch.inf, values)
            high[:, place] = torch.where(values.isnan(), torch.inf, values)
        else:
            _check_not_infinite(file, name, values, values == -ENDS[end])
            side = low if end == "_low" else high
            side[:, place] = torch.where(values.isnan(), ENDS[end], values)
        told[name] = (place, end)
    for name, (place, end) in told.items():
        if end is not None and (place, None) in told.values():
            raise ValueError(
                f"Expected {file!r} to have either {outputs[place]!r} or its ends, but it has "
                f"{outputs[place]!r} and {name!r}."
            )
    if not told:
        raise ValueError(
            f"Expected {file!r} to have a column for an outcome that is wanted, one of "
            f"{', '.join(map(repr, outputs))}, but it has none."
        )
    _check_rows(file, low, high, outputs)
    for place, (amount, relative) in _tolerances(within, file, told, outputs).items():
        reach = amount * low[:, place].abs() if relative else amount
        low[:, place], high[:, place] = low[:, place] - reach, high[:, place] + reach
        told |= {f"{outputs[place]}{end}": (place, end) for end in ENDS}
        del told[outputs[place]]
    return Wanted(file, low, high, {f"wanted/{k}": v for k, v in told.items()}, fixed)


def read_columns(file: str, columns: Sequence[str] | None = None) -> dict[str, Tensor]:
    """Return columns of a table whole, float64; NaN where a cell is empty."""
    pieces = list(read_table(file, columns))
    numbers = torch.cat([piece.to_torch() for piece in pieces])
    return dict(zip(pieces[0].columns, numbers.T.contiguous(), strict=True))


def named_numbers(option: str, text: str) -> dict[str, str]:
    """Take "a=1,b=2" apart.

    Raises:
        ValueError: If it is not of that form, or has a name twice.

    Example:
        >>> named_numbers("--fixed", "wind=200, coal=1e2")
        {'wind': '200', 'coal': '1e2'}
    """
    found: dict[str, str] = {}
    for part in text.split(","):
        name, equals, number = (word.strip() for word in part.rpartition("="))
        if not (name and equals and number):
            raise ValueError(f"Expected {option} to be like name=1,other=2, but got {text!r}.")
        if name in found:
            raise ValueError(f"Expected {option} to name {name!r} once, but it is there twice.")
        found[name] = number
    return found


def number(text: str, what: str) -> float:
    """Return a finite number, or say of what it is none."""
    try:
        value = float(text)
    except ValueError:
        value = torch.nan
    if not -torch.inf < value < torch.inf:
        raise ValueError(f"Expected {what} to be a finite number, but got {text!r}.")
    return value


def _output_of(name: str, outputs: Sequence[str]) -> tuple[str | None, str | None]:
    """Return the output that a column is about, and which end of it."""
    if name in outputs:
        return name, None
    for end in ENDS:
        if name.endswith(end) and name.removesuffix(end) in outputs:
            return name.removesuffix(end), end
    return None, None


def _unknown(file: str, name: str, inputs: Sequence[str], outputs: Sequence[str]) -> str:
    known = [*outputs, *(out + end for out in outputs for end in ENDS), *inputs]
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return (
        f"Expected every column of {file!r} to be an outcome ({', '.join(outputs)}), one of its ends "
        f"(with _low or _high) or a setting that is given ({', '.join(inputs)}), but got {name!r}.{hint}"
    )


def _finite(file: str, name: str, values: Tensor, what: str) -> Tensor:
    missing = ~values.isfinite()
    if missing.any():
        row = first_index(missing)
        got = "has none" if values[row].isnan() else f"has {values[row]:g}"
        raise ValueError(
            f"Expected column {name!r} of {file!r} to have {what}, but {row_name(file, row)} {got}."
        )
    return values


def _check_not_infinite(file: str, name: str, values: Tensor, infinite: Tensor) -> None:
    if infinite.any():
        row = first_index(infinite)
        raise ValueError(
            f"Expected column {name!r} of {file!r} to hold finite numbers, or nothing where any value "
            f"will do, but {row_name(file, row)} has {values[row]:g}."
        )


def _check_rows(file: str, low: Tensor, high: Tensor, outputs: Sequence[str]) -> None:
    upside_down = low > high
    if upside_down.any():
        row = first_index(upside_down.any(1))
        place = first_index(upside_down[row])
        name = outputs[place]
        raise ValueError(
            f"Expected {name + '_low'!r} of {file!r} to be at most {name + '_high'!r}, but "
            f"{row_name(file, row)} has {low[row, place]:g} and {high[row, place]:g}."
        )
    free = (low.isinf() & high.isinf()).all(1)
    if free.any():
        raise ValueError(
            f"Expected every row of {file!r} to want something of an outcome, but "
            f"{row_name(file, first_index(free))} wants nothing ({int(free.sum())} such row(s) in all)."
        )


def _tolerances(
    within: str | None, file: str, told: dict[str, tuple[int, str | None]], outputs: Sequence[str]
) -> dict[int, tuple[float, bool]]:
    """Return how far each output may be from its value: a share or an amount, and whether a share."""
    if within is None:
        return {}
    values = [name for name, (_, end) in told.items() if end is None]
    if not values:
        raise ValueError(
            f"Expected --within only where {file!r} has values, but it has ends alone."
        )
    if "=" in within:
        texts = named_numbers("--within", within)
    elif within.strip().endswith("%") or len(values) == 1:
        texts = dict.fromkeys(values, within.strip())
    else:
        raise ValueError(
            "Expected --within to say of which outcome it is an amount, like "
            f"{values[0]}={within}, or to be a share of each, like 5%, but got {within!r}."
        )
    found = {}
    for name, text in texts.items():
        if name not in values:
            raise ValueError(
                f"Expected --within to name outcomes of which {file!r} has values, "
                f"{', '.join(values)}, but got {name!r}."
            )
        amount = number(text.removesuffix("%"), f"--within of {name!r}")
        if amount < 0:
            raise ValueError(f"Expected --within of {name!r} to be at least 0, but got {text!r}.")
        relative = text.endswith("%")
        found[outputs.index(name)] = (amount / 100 if relative else amount, relative)
    return found
