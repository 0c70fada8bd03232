"""Targets: for each output a value, an interval, or nothing."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_invert.arrays import Placement, TensorLike, read_tensor
from lightning_invert.solver.rows import first_index

__all__ = ["Interval", "Targets"]


class Interval(NamedTuple):
    r"""Targets between two ends, both included.

    Each end is a number, or numbers of shape (m,) or (N, m). Equal ends are a value; an end that is
    None, infinite or NaN is open; an output without ends is free.

    Attributes:
        low: The low end of each output.
        high: The high end.

    Example:
        >>> from lightning_invert import solve
        >>> inf = float("inf")
        >>> targets = Interval(low=[1.0, 2.0], high=[1.0, inf])  # exactly 1, and at least 2
        >>> solution = solve(lambda x: 2 * x, targets, starts=[[0.0, 3.0]])
        >>> solution.outputs.round(decimals=3)
        tensor([[1., 6.]])
    """

    low: TensorLike | None = None
    high: TensorLike | None = None


class Targets(NamedTuple):
    """Wanted outcomes of N targets: infinite where an end is open."""

    low: Tensor  # (N, m)
    high: Tensor  # (N, m), nowhere below low

    @classmethod
    def of(cls, targets: Any, num_outputs: int, placement: Placement) -> Targets:
        """Read values of shape (N, m), NaN where an output is free, or an :class:`Interval`."""
        is_interval = isinstance(targets, Interval)
        ends = [targets.low, targets.high] if is_interval else [targets]
        read = [read_tensor("targets", torch.nan if e is None else e, placement) for e in ends]
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
        result._check()
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

    def _check(self) -> None:
        empty = (self.low > self.high) | (self.low == torch.inf) | (self.high == -torch.inf)
        if empty.any():
            row = first_index(empty.any(1))
            column = first_index(empty[row])
            raise ValueError(
                "Expected argument `targets` to have intervals with low <= high, but got low="
                f"{self.low[row, column]:g} and high={self.high[row, column]:g} for output {column} "
                f"of target {row}."
            )
        free = ~self.constrained.any(1)
        if free.any():
            raise ValueError(
                "Expected argument `targets` to hold a value or an end for at least one output of "
                f"each target, but row {first_index(free)} has only free ones (NaN)."
            )


def distance_of(low: Tensor, high: Tensor) -> Tensor:
    """Return the length of the smallest change between two ends (N, m), shape (N,)."""
    missing: Tensor = torch.maximum(low.clamp(min=0), (-high).clamp(min=0)).norm(dim=-1)
    return missing
