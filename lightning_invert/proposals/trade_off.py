"""Trade tolerance against cost: the least cost at which widened targets are reached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from lightning_invert.arguments import check_number
from lightning_invert.doorway import Drawn
from lightning_invert.solver.query import Query
from lightning_invert.solver.ranking import Ranking
from lightning_invert.solver.solution import Result
from lightning_invert.solver.targets import Targets

__all__ = ["WIDTHS", "TradeOff", "read_widths", "widened"]

WIDTHS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)


@dataclass(frozen=True, repr=False)
class TradeOff(Drawn):
    """The least cost at which N targets are reached, for each of K widths.

    Attributes:
        widths: How far each outcome may be from its target, in standard units, shape (K,), ascending.
        cost: Least cost found, shape (K, N), float64, never rising with the width; NaN where the target
            is not reached.
        inputs: Inputs at that cost, shape (K, N, n); NaN likewise.
    """

    widths: Tensor
    cost: Tensor
    inputs: Tensor

    @classmethod
    def of(cls, widths: Tensor, ranking: Ranking) -> TradeOff:
        """Take the least costs from the solutions of a :func:`widened` query.

        What reaches a narrower interval is in the wider one, too, and stays where it is cheaper.
        """
        best, shape = ranking.best(), (len(widths), -1)
        reached = best["result"] == Result.REACHED
        least, which = torch.where(reached, best["cost"], torch.inf).reshape(shape).cummin(0)
        inputs = best["inputs"].reshape(*shape, best["inputs"].shape[1])
        inputs = inputs.gather(0, which[:, :, None].expand_as(inputs))
        missed = ~least.isfinite()
        return cls(
            widths,
            least.masked_fill(missed, torch.nan),
            inputs.masked_fill(missed[:, :, None], torch.nan),
        )


def read_widths(widths: Sequence[float]) -> Tensor:
    """Return widths (K,), float64, after making sure that they ascend from 0 or more."""
    numbers = [check_number("widths", width, low=0.0) for width in widths]
    if not numbers or any(a >= b for a, b in pairwise(numbers)):
        raise ValueError(
            f"Expected argument `widths` to be numbers in ascending order, but got {widths!r}."
        )
    return torch.tensor(numbers, dtype=torch.float64)


def widened(query: Query, widths: Tensor) -> Query:
    """Return a query for N targets at each of K widths, (K N) in all: a few take as long as many."""
    unit, num_targets = query.model.output_spread, len(query)
    every = query.rows(torch.arange(num_targets, device=unit.device).repeat(len(widths)))
    low, high = every.targets
    reach = widths.to(unit.device).repeat_interleave(num_targets)[:, None] * unit
    return replace(every, targets=Targets(low - reach.to(low), high + reach.to(low)))
