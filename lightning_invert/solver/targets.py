"""Targets: for each output a value, an interval, or nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from lightning_invert.arguments import expected_but_got
from lightning_invert.arrays import Placement, TensorLike, read_number, read_tensor
from lightning_invert.solver.rows import first_index
from lightning_invert.variables import Variable, by_column, without_none

__all__ = ["Interval", "Targets", "TargetsLike", "read_weights"]


class Interval(NamedTuple):
    """Ask for outputs between two ends, both included.

    Each end is a number, numbers of shape (m,) or (N, m), or name -> number. An end that is None, infinite
    or NaN is open. Equal ends are a value; an output without ends is free. For one output among others:
    ``{"conversion": 80, "purity": Interval(low=0.9)}``.

    Attributes:
        low: The low end of each output.
        high: The high end of each output.

    Example:
        >>> from lightning_invert import solve
        >>> inf = float("inf")
        >>> targets = Interval(low=[1.0, 2.0], high=[1.0, inf])  # exactly 1, and at least 2
        >>> solution = solve(lambda x: 2 * x, targets, starts=[[0.0, 3.0]])
        >>> solution.outputs.round(decimals=3)
        tensor([[1., 6.]])
    """

    low: TensorLike | Mapping[Any, Any] | None = None
    high: TensorLike | Mapping[Any, Any] | None = None


TargetsLike: TypeAlias = TensorLike | Interval | Mapping[Any, Any]
"""What :meth:`Targets.of` reads."""


class Targets(NamedTuple):
    """Wanted outcomes of N targets: infinite where an end is open."""

    low: Tensor  # (N, m)
    high: Tensor  # (N, m), nowhere below low

    @classmethod
    def of(cls, targets: Any, outputs: Sequence[Variable], placement: Placement) -> Targets:
        """Read values (N, m), NaN where an output is free, or by name; or an :class:`Interval`."""
        num_outputs = len(outputs)
        if isinstance(targets, Mapping):
            targets = Interval(*({k: _end(v, i) for k, v in targets.items()} for i in (0, 1)))
        is_interval = isinstance(targets, Interval)
        ends = [targets.low, targets.high] if is_interval else [targets]
        read = [_read_end(end, outputs, placement) for end in ends]
        try:
            shape = torch.broadcast_shapes(*(e.shape for e in read))
            if is_interval:
                shape = torch.broadcast_shapes(shape, (1, num_outputs))
        except RuntimeError:
            shape = torch.Size()
        if len(shape) != 2 or shape[1] != num_outputs or shape[0] == 0:
            got = " and ".join(str(tuple(e.shape)) for e in read)
            raise ValueError(
                f"Expected argument `targets` to be of shape (N, {num_outputs}) with N >= 1, a row for "
                f"each target and a column for each output, but got {got}."
            )
        low, high = read[0].expand(shape), read[-1].expand(shape)
        if not is_interval and low.isinf().any():
            raise ValueError(
                "Expected argument `targets` to be finite, or NaN where an output is free, but row "
                f"{first_index(low.isinf().any(1))} holds infinity: for an open end write "
                "`Interval(low, high)`."
            )
        result = cls(
            torch.where(low.isnan(), -torch.inf, low), torch.where(high.isnan(), torch.inf, high)
        )
        result._check(outputs)
        return result

    @property
    def constrained(self) -> Tensor:
        """Whether each output has a target, shape (N, m)."""
        return (self.low > -torch.inf) | (self.high < torch.inf)

    def rows(self, rows: Tensor | slice) -> Targets:
        """Return the targets of these rows."""
        return Targets(self.low[rows], self.high[rows])

    def change(self, outputs: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
        """Return the least and the most by which outputs (N, m) have to change, in their spread."""
        outputs = outputs.double()
        return (self.low.double() - outputs) / spread, (self.high.double() - outputs) / spread

    def distance(self, outputs: Tensor, spread: Tensor) -> Tensor:
        """Return how far outputs (N, m) are from the targets, (N,), float64; NaN where one is NaN."""
        return distance_of(*self.change(outputs, spread))

    def shortfall(self, outputs: Tensor) -> Tensor:
        """Return what outputs (N, m) lack: above 0 where they are too low, below 0 where too high."""
        return (self.low - outputs).clamp(min=0) - (outputs - self.high).clamp(min=0)

    def _check(self, outputs: Sequence[Variable]) -> None:
        empty = (self.low > self.high) | (self.low == torch.inf) | (self.high == -torch.inf)
        if empty.any():
            row = first_index(empty.any(1))
            column = first_index(empty[row])
            raise ValueError(
                "Expected argument `targets` to have intervals with low <= high, but got low="
                f"{self.low[row, column]:g} and high={self.high[row, column]:g} for output "
                f"{outputs[column].name!r} of target {row + 1}."
            )
        free = ~self.constrained.any(1)
        if free.any():
            raise ValueError(
                "Expected argument `targets` to hold a value or an end for at least one output of "
                f"each target, but target {first_index(free) + 1} has only free ones (NaN)."
            )


def read_weights(weights: Any, outputs: Sequence[Variable], placement: Placement) -> Tensor:
    """Read weights (m,) or by name, those that are not named 1; float64."""
    placement = placement._replace(dtype=torch.float64)
    if isinstance(weights, Mapping):
        read = torch.ones(len(outputs), dtype=torch.float64, device=placement.device)
        for index, weight in by_column("weights", weights, outputs).items():
            read[index] = read_number("weights", weight, placement)
    else:
        read = read_tensor("weights", weights, placement)
    if read.shape != (len(outputs),) or not ((read > 0) & read.isfinite()).all():
        what = f"positive numbers, name -> weight or of shape ({len(outputs)},)"
        raise ValueError(expected_but_got("weights", what, weights))
    return read


def _end(value: Any, place: int) -> Any:
    """Return an end of what is asked of one output."""
    if isinstance(value, tuple) and not isinstance(value, Interval):
        text = ", ".join(map(str, value))
        raise TypeError(
            f"Expected argument `targets` to hold a number, a list or an Interval for each name, but got "
            f"({text}): write Interval({text}) for what is between, or [{text}] for several targets."
        )
    return value[place] if isinstance(value, Interval) else value


def _read_end(end: Any, outputs: Sequence[Variable], placement: Placement) -> Tensor:
    """Read one end: (), (m,) or (N, m), NaN where it is open."""
    if not isinstance(end, Mapping):
        return read_tensor("targets", torch.nan if end is None else end, placement)
    columns = {
        index: read_tensor("targets", without_none(values), placement)
        for index, values in by_column("targets", end, outputs).items()
    }
    lengths = {outputs[i].name: len(column) for i, column in columns.items() if column.ndim}
    if any(column.ndim > 1 for column in columns.values()) or len({*lengths.values()}) > 1:
        got = " and ".join(f"{length} for {name!r}" for name, length in lengths.items())
        raise ValueError(
            "Expected argument `targets` to hold for each name a number, or one for each target, but "
            f"got {got}."
        )
    count = next(iter(lengths.values()), 1)
    free = torch.full((count,), torch.nan, dtype=placement.dtype, device=placement.device)
    return torch.stack([columns.get(i, free).expand(count) for i in range(len(outputs))], 1)


def distance_of(low: Tensor, high: Tensor) -> Tensor:
    """Return the length of the smallest change between two ends (N, m), shape (N,)."""
    missing: Tensor = torch.maximum(low.clamp(min=0), (-high).clamp(min=0)).norm(dim=-1)
    return missing
