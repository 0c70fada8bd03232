"""Order the solutions that several starts led to: the best first, then those that differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_invert.conditions import matters
from lightning_invert.jacobians.singular_values import singular_values
from lightning_invert.jacobians.thresholds import condition_number
from lightning_invert.solver.query import Query
from lightning_invert.solver.rows import finite_rows, spread_out
from lightning_invert.solver.solution import Alternatives, Ends, Result

__all__ = ["Ranking"]

MIN_APART = 0.01
"""Solutions that differ by less in every input, in its spread, are the same."""


@dataclass(frozen=True)
class Ranking:
    r"""The solutions of N targets, R of each, best first."""

    count: Tensor  # (N,): how many solutions exist, from 1 to R
    columns: dict[str, Tensor]  # name -> (N, R, *), blank where no solution exists

    @classmethod
    def of(cls, query: Query, ends: Ends) -> Ranking:
        """Rank what the starts of a query led to."""
        order, count = _order(query, ends)
        first = torch.arange(len(order), device=order.device) * order.shape[1]
        rows = (first[:, None] + order)[:, : int(count.max())]
        columns = {n: part[rows] for n, part in ends._asdict().items() if part is not None}
        ranking = cls(count, columns)
        inputs, movable = columns["inputs"], query.bounds.movable[:, None]
        low, high = (end[:, None] for end in query.bounds)
        at_bound = ((inputs == low) | (inputs == high)) & movable
        mattering = matters(inputs.flatten(0, 1), query.conditions)
        if mattering is not None:
            at_bound &= mattering.reshape(inputs.shape)
        if query.constraints is not None:
            binding = query.constraints.binding(inputs.flatten(0, 1)).unflatten(0, inputs.shape[:2])
            stopped = (columns["result"] == Result.OUT_OF_REACH) & binding.any(2)
            columns["result"] = torch.where(stopped, Result.AT_CONSTRAINTS, columns["result"])
            columns["binding"] = binding
        stopped = (columns["result"] == Result.OUT_OF_REACH) & at_bound.any(2)
        columns["result"] = torch.where(stopped, Result.AT_BOUNDS, columns["result"])
        return ranking.adding(at_bound=at_bound, condition=ranking._condition(query))

    @classmethod
    def joined(cls, parts: Sequence[Ranking]) -> Ranking:
        """Put the rankings of several batches of targets together."""
        num_ranks = max(part.num_ranks for part in parts)
        return cls(
            torch.cat([part.count for part in parts]),
            {
                name: torch.cat([_padded(part.columns[name], num_ranks) for part in parts])
                for name in parts[0].columns
            },
        )

    def rows(self, rows: Tensor) -> Ranking:
        """Return the solutions of these targets."""
        return Ranking(self.count[rows], {n: part[rows] for n, part in self.columns.items()})

    @property
    def num_ranks(self) -> int:
        """R."""
        return self.columns["inputs"].shape[1]

    @property
    def exists(self) -> Tensor:
        """Which solutions exist, shape (N, R)."""
        ranks = torch.arange(self.num_ranks, device=self.count.device)
        return ranks < self.count[:, None]

    def adding(self, **columns: Tensor) -> Ranking:
        """Return the ranking with further columns, blank where no solution exists."""
        exists = self.exists
        every = {**self.columns, **columns}
        return Ranking(self.count, {name: _blanked(part, exists) for name, part in every.items()})

    def reordered(self, worth: Tensor) -> Ranking:
        """Sort those that reach their targets by a worth (N, R), the least first."""
        last = ~self.exists | (self.columns["result"] != Result.REACHED)
        order = _sort(worth.nan_to_num(torch.inf), last)
        each = torch.arange(len(order), device=order.device)[:, None]
        return Ranking(self.count, {name: part[each, order] for name, part in self.columns.items()})

    def best(self) -> dict[str, Tensor]:
        """Return the columns of the best solutions, (N, *) each."""
        return {name: part[:, 0] for name, part in self.columns.items()}

    def alternatives(self) -> Alternatives:
        """Return the other solutions."""
        of_target = ("result", "unfinished")
        others = {name: part[:, 1:] for name, part in self.columns.items() if name not in of_target}
        return Alternatives(count=self.count - 1, **others)

    def _condition(self, query: Query) -> Tensor:
        """Return the condition numbers of the parts of the Jacobians that count, (N, R)."""
        inputs = self.columns["inputs"]
        solved = self.exists & inputs.isfinite().all(2)
        part = query.rows(solved.nonzero()[:, 0])
        jacobian, count = part.moving_jacobian(inputs[solved])
        condition = jacobian.new_full((len(count),), torch.nan)
        rows = finite_rows(jacobian)
        if rows.any():
            # What does not count adds singular values of 0, which come last.
            sigma = singular_values(jacobian[rows]).to(count.device)
            last = sigma.gather(1, count[rows].clamp(min=1)[:, None] - 1)
            condition[rows] = condition_number(torch.cat((sigma[:, :1], last), 1))
        return spread_out(solved, condition)


def _order(query: Query, ends: Ends) -> tuple[Tensor, Tensor]:
    """Return the order of each target's solutions, (N, S), and how many of them count, (N,).

    The best comes first, whether it reaches the target or not; then those that do, and differ.
    """
    num_targets = len(query)
    residual = ends.residual.reshape(num_targets, -1)
    starts = residual.shape[1]
    reached = residual <= query.tolerance
    each = torch.arange(num_targets, device=residual.device).repeat_interleave(residual.shape[1])
    distance = query.rows(each).distance(ends.outputs, ends.residual).reshape(residual.shape)
    worth = torch.where(reached, residual, distance)
    if ends.cost is not None:
        cost = ends.cost.reshape(num_targets, -1).nan_to_num(nan=torch.inf)
        worth = torch.where(reached, cost, distance)
    order = _sort(worth, ~reached)
    if starts == 1:
        return order, torch.ones_like(order[:, 0])

    inputs, mattering = ends.inputs.double(), matters(ends.inputs, query.conditions)
    if mattering is not None:
        inputs = inputs.where(mattering, 0.0)
    inputs = (inputs / query.model.input_spread).reshape(num_targets, starts, -1)
    inputs = inputs.gather(1, order[:, :, None].expand_as(inputs))
    counts = reached.gather(1, order)
    counts[:, 0] = True
    for later in range(1, starts):
        apart = (inputs[:, :later] - inputs[:, later : later + 1]).abs().amax(2) >= MIN_APART
        counts[:, later] &= (apart | ~counts[:, :later]).all(1)
    return order.gather(1, (~counts).byte().argsort(dim=1, stable=True)), counts.sum(1)


def _sort(worth: Tensor, last: Tensor) -> Tensor:
    """Return the order of a worth (N, R) in each row, the least first, with ``last`` at the end."""
    order = worth.argsort(dim=1, stable=True)
    return order.gather(1, last.gather(1, order).byte().argsort(dim=1, stable=True))


def _blanked(part: Tensor, exists: Tensor) -> Tensor:
    """Return NaN, False or 0 where no solution exists."""
    missing = ~exists.reshape(*exists.shape, *[1] * (part.ndim - 2))
    return part.masked_fill(missing, torch.nan if part.is_floating_point() else 0)


def _padded(part: Tensor, num_ranks: int) -> Tensor:
    blank = torch.nan if part.is_floating_point() else 0
    more = part.new_full((len(part), num_ranks - part.shape[1], *part.shape[2:]), blank)
    return torch.cat([part, more], 1)
