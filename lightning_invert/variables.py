"""The columns of inputs and outputs: names, units, ranges and statistics."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_invert.arguments import (
    check_integer,
    check_number,
    describe_repetitions,
    expected_but_got,
    suggest,
    to_builtin,
)
from lightning_invert.arrays import Placement, read_number, read_tensor

__all__ = [
    "Bounds",
    "ColumnStatistics",
    "Variable",
    "as_variables",
    "by_column",
    "check_rounding",
    "read_levels",
    "without_none",
]

MIN_RELATIVE_SPREAD = 1e-12
"""Of the mean: a column that varies less is constant but for rounding."""

MAX_ROUNDING = 0.1
"""Of a column's standard deviation: a dtype that rounds by more loses half a percent of its
variance, and soon all of it."""


class Variable(NamedTuple):
    """Describe a column of x or y: name, unit and range.

    Attributes:
        name: The column's name.
        unit: Its unit, as labels show it; empty without one.
        low: Low end of the range in which it is used, if known.
        high: High end of that range, if known.
        levels: The only values that it may take, such as ``(0, 1, 2)``; empty if it is continuous.
        matters_if: The condition under which it matters, such as ``("h2_injection", ">", 0)``: another
            input, a sign and a number. Elsewhere no value is proposed, and it costs nothing.

    Example:
        >>> Variable("wind_rate", "m³/h", 0.0, 250.0).label, Variable.of("load")
        ('wind_rate [m³/h]', Variable(name='load', unit='', low=None, high=None, levels=(), matters_if=None))
    """

    name: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    levels: tuple[float, ...] = ()
    matters_if: tuple[str, str, float] | None = None

    @property
    def label(self) -> str:
        """The name with its unit."""
        return f"{self.name} [{self.unit}]" if self.unit else self.name

    @classmethod
    def of(cls, described: Any) -> Variable:
        """Read the description of a column: a name, or an object with ``name``."""
        unit, low, high = (getattr(described, part, None) for part in ("unit", "low", "high"))
        levels = getattr(described, "levels", ())
        condition = getattr(described, "matters_if", None)
        name = str(getattr(described, "name", described))
        return cls(name, str(unit or ""), low, high, levels, condition)


def as_variables(
    variables: Sequence[Variable] | None, side: str, count: int
) -> tuple[Variable, ...]:
    """Return the variables of columns; without any, x0, x1, ... by position."""
    return tuple(variables or (Variable(f"{side}{i}") for i in range(count)))


def read_levels(variable: Variable) -> tuple[float | None, float | None]:
    """Return the least and the greatest level of a variable, None without any.

    Raises:
        ValueError: If its levels are no finite numbers, or one lies outside of its range.
    """
    whose, levels = f"levels of {variable.name!r}", variable.levels
    if not isinstance(levels, tuple | list):
        raise TypeError(expected_but_got(whose, "a tuple of numbers", levels))
    for level in levels:
        check_number(whose, level)
        low, high = (level if end is None else end for end in (variable.low, variable.high))
        if not low <= level <= high:
            raise ValueError(
                f"Expected argument `{whose}` to lie within its bounds, {low:g} to {high:g}, but got "
                f"{level:g}."
            )
    return min(levels, default=None), max(levels, default=None)


def by_column(
    argument: str, values: Mapping[Any, Any], variables: Sequence[Variable]
) -> dict[int, Any]:
    """Return values by the index of their column: a key is its name, its label with the unit, or the index.

    Raises:
        ValueError: If a key names no column, with the nearest name; or if two name the same.
    """
    names, labels = [v.name for v in variables], [v.label for v in variables]
    indices = {}
    for key in values:
        if not isinstance(key, str):
            what = "or a name, as its keys"
            indices[key] = check_integer(argument, key, low=0, high=len(names) - 1, what=what)
        elif key in names or key in labels:
            indices[key] = (names if key in names else labels).index(key)
        else:
            expected = f"keyed by one of {names}"
            hint = suggest(key, [*names, *labels])
            raise ValueError(expected_but_got(argument, expected, key) + hint)
    if twice := describe_repetitions([names[index] for index in indices.values()]):
        raise ValueError(
            f"Expected argument `{argument}` to name each column once, but got {twice}."
        )
    return {index: values[key] for key, index in indices.items()}


class Bounds(NamedTuple):
    """Low and high ends of inputs: infinite where an end is open, equal where an input is fixed."""

    low: Tensor
    high: Tensor
    """Each of shape (n,), or (N, n) with a row for each point."""

    @classmethod
    def of(cls, bounds: Any, variables: Sequence[Variable], placement: Placement) -> Bounds:
        """Read a pair (low, high): each a number, (n,) or (N, n), open where None, NaN or infinite."""
        if not isinstance(bounds, Sequence) or isinstance(bounds, str) or len(bounds) != 2:
            raise TypeError(expected_but_got("bounds", "a pair (low, high)", bounds))
        ends, num_inputs = [], len(variables)
        for value, open_end in zip(bounds, (-torch.inf, torch.inf), strict=True):
            end = read_tensor("bounds", without_none(value), placement)
            if end.shape != () and (end.ndim > 2 or end.shape[-1] != num_inputs):
                raise ValueError(
                    f"Expected argument `bounds` to be of shape ({num_inputs},) or (N, {num_inputs}) "
                    f"each, but got {tuple(end.shape)}."
                )
            end = torch.where(end.isnan(), open_end, end)
            ends.append(end if end.ndim else end.expand(num_inputs))
        try:
            low, high = torch.broadcast_tensors(*ends)
        except RuntimeError:
            raise ValueError(
                "Expected argument `bounds` to have as many rows in both ends, but got "
                f"{len(ends[0])} and {len(ends[1])}."
            ) from None
        empty = (low > high) | (low == torch.inf) | (high == -torch.inf)
        if empty.any():
            place = tuple(empty.nonzero()[0].tolist())
            of = f" of target {place[0]}" if len(place) > 1 else ""
            raise ValueError(
                f"Expected argument `bounds` to have low <= high, but got low={low[place]:g} and "
                f"high={high[place]:g} for input {variables[place[-1]].name!r}{of}."
            )
        return cls(low, high)

    @classmethod
    def of_variables(cls, variables: Sequence[Variable]) -> Bounds:
        """Return the ranges of variables, float64; one with levels has theirs unless it has its own."""
        ends = []
        for v in variables:
            least, most = read_levels(v)
            own = (least if v.low is None else v.low, most if v.high is None else v.high)
            ends.append([without_none(end) for end in own])
        low, high = torch.tensor(ends, dtype=torch.float64).reshape(-1, 2).T
        return cls(
            torch.where(low.isnan(), -torch.inf, low), torch.where(high.isnan(), torch.inf, high)
        )

    def replaced(self, ends: Mapping[Any, Any], variables: Sequence[Variable]) -> Bounds:
        """Return bounds (n,) with the ends of ``{name or index: (low, high)}``; None keeps an end."""
        sides = Bounds(*(end.clone() for end in self))
        for index, pair in by_column("bounds", ends, variables).items():
            if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
                expected = f"a pair (low, high) for {variables[index].name!r}"
                raise TypeError(expected_but_got("bounds", expected, pair))
            for side, end in zip(sides, pair, strict=True):
                if end is not None:
                    side[index] = read_number("bounds", end, Placement(side.dtype, side.device))
        return sides

    @property
    def movable(self) -> Tensor:
        """Whether each input may move, shape (n,) or (N, n)."""
        return self.low < self.high

    @property
    def closed(self) -> Tensor:
        """Whether both ends of each input are finite, shape (n,) or (N, n)."""
        return self.low.isfinite() & self.high.isfinite()

    @property
    def middle(self) -> Tensor:
        """The middle, or what is next to 0 where an end is open, shape (n,) or (N, n)."""
        return self.clamp(torch.where(self.closed, (self.low + self.high) / 2, 0.0))

    def or_range(self, points: Tensor) -> Bounds:
        """Replace open ends by the range of points (K, n), and not beyond the other end."""
        finite = points.isfinite()
        least = torch.where(finite, points, torch.inf).amin(0)
        most = torch.where(finite, points, -torch.inf).amax(0)
        return Bounds(
            torch.where(self.low.isinf(), least.minimum(self.high), self.low),
            torch.where(self.high.isinf(), most.maximum(self.low), self.high),
        )

    def around(self) -> Bounds:
        """Return the least bounds (n,) that hold those of all points."""
        if self.low.ndim == 1:
            return self
        return Bounds(self.low.amin(0), self.high.amax(0))

    def rows(self, rows: Tensor | slice) -> Bounds:
        """Return the bounds of these points."""
        return Bounds(self.low[rows], self.high[rows])

    def clamp(self, inputs: Tensor) -> Tensor:
        """Move inputs to the nearest point inside."""
        return inputs.clamp(self.low, self.high)

    def steps(self, inputs: Tensor, spread: Tensor, *, share: float = 1.0) -> tuple[Tensor, Tensor]:
        """Return by how much inputs (N, n) may fall and rise, in units of ``spread`` (n,) / ``share``."""
        inputs, unit = inputs.double(), spread / share
        return (self.low.double() - inputs) / unit, (self.high.double() - inputs) / unit


def without_none(value: Any) -> Any:
    """Return a number, or numbers, NaN in the place of None."""
    value = to_builtin(value)
    if isinstance(value, list | tuple):
        return [torch.nan if end is None else end for end in value]
    return torch.nan if value is None else value


class ColumnStatistics:
    r"""Mean and standard deviation of the columns of a table that comes in pieces.

    In float64 (on a device without it, in float32), by the update of T. F. Chan, G. H. Golub and
    R. J. LeVeque, *Algorithms for computing the sample variance*, The American Statistician 37
    (1983): no large squares cancel.
    """

    def __init__(self) -> None:
        self.count = 0  # of rows
        self.mean = torch.zeros(())  # then of shape (n,)
        self._squares = torch.zeros(())
        self._eps = 0.0  # of the coarsest rows

    def add(self, rows: Tensor) -> None:
        r"""Add rows, shape (N, \*), flattened after the first dimension."""
        rows = rows.detach().flatten(1)
        if rows.is_floating_point():
            self._eps = max(self._eps, torch.finfo(rows.dtype).eps)
        rows = rows if rows.device.type == "mps" else rows.double()  # MPS has no float64
        if len(rows) == 0:
            return
        before, count, mean = self.count, len(rows), rows.mean(0)
        self.count = before + count
        shift = mean - self.mean
        between = shift.square() * before * count / self.count
        self._squares = self._squares + (rows - mean).square().sum(0) + between
        self.mean = self.mean + shift * count / self.count

    @property
    def std(self) -> Tensor:
        """Standard deviation of each column, shape (n,), with Bessel's correction; 0 of one row."""
        return (self._squares / max(1, self.count - 1)).sqrt()

    @property
    def spread(self) -> Tensor:
        """Standard deviation, (n,), but 1 for a column that varies by rounding alone: a divisor."""
        return torch.where(self.std > 2 * self._eps * self.mean.abs(), self.std, 1.0)

    def check(self, variables: Sequence[Variable], whose: str) -> None:
        """Raise a ValueError for a column that is constant or not finite, named with ``whose``: "of a.csv"."""
        columns = zip(variables, self.mean.tolist(), self.std.tolist(), strict=True)
        for variable, centre, spread in columns:
            if not (math.isfinite(centre) and math.isfinite(spread)):
                raise ValueError(
                    f"Expected column {variable.name!r} {whose} to hold finite numbers whose squares are finite "
                    f"too, but its mean is {centre:g} and its standard deviation {spread:g} in the "
                    f"{self.count} rows of the training split. Mend it, or take a larger unit."
                )
            if spread <= MIN_RELATIVE_SPREAD * abs(centre) or spread == 0:
                raise ValueError(
                    f"Expected column {variable.name!r} {whose} to vary, but it is {centre:g} in all "
                    f"{self.count} rows of the training split. Nothing can be learned from a "
                    "constant column: leave it out."
                )

    def summed(self, reduce: Callable[[Tensor], Tensor]) -> ColumnStatistics:
        """Return the statistics of the rows of all processes; ``reduce`` sums over processes."""
        everywhere = ColumnStatistics()
        everywhere.count = int(reduce(torch.full_like(self.mean, float(self.count))).flatten()[0])
        everywhere.mean = reduce(self.mean * self.count) / everywhere.count
        shift = (self.mean - everywhere.mean).square() * self.count
        everywhere._squares = reduce(self._squares + shift)
        return everywhere


def check_rounding(
    variables: Sequence[Variable], mean: Tensor, std: Tensor, dtype: torch.dtype
) -> None:
    """Raise a ValueError for a column, of mean and std (n,), that loses its content in ``dtype``."""
    limits = torch.finfo(dtype)
    kind = str(dtype).removeprefix("torch.")
    for variable, centre, spread in zip(variables, mean.tolist(), std.tolist(), strict=True):
        rounding = limits.eps / 2 * abs(centre)
        if rounding > MAX_ROUNDING * spread:
            why = f"{kind} rounds it by {rounding:.3g}, and its standard deviation is {spread:.3g}"
        elif not limits.tiny < spread < limits.max / 100 or abs(centre) > limits.max / 2:
            why = (
                f"{kind} does not hold numbers of its size, with mean {centre:.3g} and standard "
                f"deviation {spread:.3g}"
            )
        else:
            continue
        raise ValueError(
            f"Expected column {variable.name!r} to come in float64: {why}. If a device or a precision "
            "rules float64 out, subtract an offset or take another unit."
        )
