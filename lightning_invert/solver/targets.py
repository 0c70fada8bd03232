"""What is wanted of each output: a value, an interval, or nothing."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_invert.solver.reading import Kind, read_numbers
from lightning_invert.solver.rows import first

__all__ = ["Interval", "Targets"]


class Interval(NamedTuple):
    r"""Wanted outcomes between two ends, both included.

    Each end is a number, or numbers of shape (m,) or (N, m). Where the two are equal a value is
    wanted; where an end is None, infinite or NaN there is none, so that an output without either is
    free.

    Attributes:
        low: The least that is wanted of each output.
        high: The most.

    Example:
        >>> from lightning_invert import solve
        >>> inf = float("inf")
        >>> wanted = Interval(low=[1.0, 2.0], high=[1.0, inf])  # exactly 1, and at least 2
        >>> found = solve(lambda x: 2 * x, wanted, start=[[0.0, 3.0]])
        >>> found.outputs.round(decimals=3)
        tensor([[1., 6.]])
    """

    low: Any = None
    high: Any = None


class Targets(NamedTuple):
    """Wanted outcomes in one form: infinite where an end is open.

    Attributes:
        low: Shape (N, m).
        high: Shape (N, m), nowhere below ``low``.
    """

    low: Tensor
    high: Tensor

    @classmethod
    def of(cls, described: Any, num_outputs: int, kind: Kind) -> Targets:
        """Read what was asked for.

        Args:
            described: Values of shape (N, m) with NaN for a free output, or an :class:`Interval`.
            num_outputs: m.
            kind: In what the function is evaluated.

        Raises:
            TypeError: If it holds anything but floating numbers.
            ValueError: If a shape does not fit, an interval is upside down, a value is infinite or
                nothing is wanted of a target.
        """
        is_interval = isinstance(described, Interval)
        ends = [described.low, described.high] if is_interval else [described]
        read = [read_numbers("targets", torch.nan if e is None else e, kind) for e in ends]
        try:
            shape = torch.broadcast_shapes(*(e.shape for e in read))
            if is_interval:
                shape = torch.broadcast_shapes(shape, (1, num_outputs))
        except RuntimeError:
            shape = torch.Size()
        if len(shape) != 2 or shape[1] != num_outputs or shape[0] == 0:
            got = " and ".join(str(tuple(e.shape)) for e in read)
            raise ValueError(
                f"Expected argument `targets` to be of shape (N, {num_outputs}), a row for each "
                f"target and a column for each output, but got {got}."
            )
        low, high = read[0].expand(shape), read[-1].expand(shape)
        if not is_interval and low.isinf().any():
            raise ValueError(
                f"Expected argument `targets` to be finite, or NaN where an output is free, but row "
                f"{first(low.isinf().any(1))} holds infinity: for an open end write `Interval(low, high)`."
            )
        targets = cls(
            torch.where(low.isnan(), -torch.inf, low), torch.where(high.isnan(), torch.inf, high)
        )
        targets._check()
        return targets

    @property
    def wanted(self) -> Tensor:
        """Whether anything is wanted of each output, shape (N, m)."""
        return (self.low > -torch.inf) | (self.high < torch.inf)

    def rows(self, rows: Tensor | slice) -> Targets:
        """Return some of the targets."""
        return Targets(self.low[rows], self.high[rows])

    def change(self, outputs: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
        """Return the least and the most by which outputs are to change, (N, m) each.

        Args:
            outputs: Shape (N, m).
            spread: The unit of each output, shape (m,), float64.
        """
        outputs = outputs.double()
        return (self.low.double() - outputs) / spread, (self.high.double() - outputs) / spread

    def distance(self, outputs: Tensor, spread: Tensor) -> Tensor:
        """Return the Euclidean distance of outputs, (N, m), from the targets, shape (N,), float64.

        NaN where an output is, of which something is wanted or not.
        """
        return distance_of(*self.change(outputs, spread))

    def _check(self) -> None:
        upside_down = (self.low > self.high) | (self.low == torch.inf) | (self.high == -torch.inf)
        if upside_down.any():
            row = first(upside_down.any(1))
            column = first(upside_down[row])
            raise ValueError(
                "Expected argument `targets` to have intervals with low <= high, but got low="
                f"{self.low[row, column]:g} and high={self.high[row, column]:g} for output {column} "
                f"of target {row}."
            )
        nothing = ~self.wanted.any(1)
        if nothing.any():
            raise ValueError(
                "Expected argument `targets` to want something of at least one output, but got a row "
                f"of free ones (NaN): row {first(nothing)}."
            )


def distance_of(low: Tensor, high: Tensor) -> Tensor:
    """Return the length of the smallest change between two ends, (N, m) each, shape (N,)."""
    missing: Tensor = torch.maximum(low.clamp(min=0), (-high).clamp(min=0)).norm(dim=-1)
    return missing
