"""Choose levels, and which inputs change, by branch and bound, where there are too many cases to try all.

A node relaxes levels to the interval between them, and lets all inputs change. If its solution is between
two levels, it is split there: one child stays below, one above. If too many inputs change, one of them stays
or is counted. Each node's solution is rounded, too, and solved again: the best of these is the incumbent. A
node that does not promise better is not split. At last the neighbours of the incumbent are tried. The solver
is local, so what a node promises is no proof.

All targets' nodes are rows of one query. See A. H. Land and A. G. Doig, Econometrica 28 (1960).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_invert.conditions import matters
from lightning_invert.solver.cases import SAME_COST, levels_within, switched_off_points
from lightning_invert.solver.query import Query
from lightning_invert.solver.ranking import Ranking
from lightning_invert.solver.solution import Result
from lightning_invert.variables import Bounds

__all__ = ["AT_ONCE", "branch"]

MAX_NODES = 2048
"""Nodes that are solved for a target at most; then the best so far is taken, and called unfinished."""

AT_ONCE = 16
"""Nodes of a target that are solved at once, at least: the children of the most promising ones."""

ALL_AT_ONCE = 256
"""Nodes of all targets that are solved at once, if these are few."""

BETWEEN = 1e-6
"""An input is between two levels that is farther from both, as a share of their distance."""


class Nodes(NamedTuple):
    """M nodes, each of a target, with the solution of its relaxation."""

    target: Tensor  # (M,)
    low: Tensor  # (M, n)
    high: Tensor
    counted: Tensor  # (M, n): whose change is counted; once the limit is reached, the others stay
    inputs: Tensor  # (M, n)
    shortfall: Tensor  # (M,): 0 where the target is reached, else the distance
    cost: Tensor  # (M,)

    def rows(self, rows: Tensor) -> Nodes:
        """Return these nodes."""
        return Nodes(*(part[rows] for part in self))

    def ordered(self) -> Nodes:
        """Sort by target, the most promising first."""
        order = self.cost.argsort(stable=True)
        for part in (self.shortfall, self.target):
            order = order[part[order].argsort(stable=True)]
        return self.rows(order)

    def ranks(self) -> Tensor:
        """Return the places of ordered nodes among those of their target, from 0, (M,)."""
        _, counts = self.target.unique_consecutive(return_counts=True)
        first = (counts.cumsum(0) - counts).repeat_interleave(counts)
        places: Tensor = torch.arange(len(self.target), device=first.device) - first
        return places

    def better(self, other: Nodes) -> Tensor:
        """Return which promise better than the other node of their target, (M,)."""
        than: Nodes = other.rows(self.target)
        margin = SAME_COST * than.cost.abs().nan_to_num(posinf=0.0)
        cheaper = (self.shortfall == than.shortfall) & (self.cost < than.cost - margin)
        nearer: Tensor = self.shortfall < than.shortfall * (1 - SAME_COST)
        return nearer | (cheaper & self.shortfall.isfinite())


def branch(
    query: Query, solve: Callable[[Query], Ranking], done: Callable[[int], None], rows_at_once: int
) -> tuple[Query, Ranking]:
    """Solve a query; return it with the best choice of each target held, and its solutions.

    ``solve`` solves queries without levels, ``rows_at_once`` of them unless there are more targets;
    ``done`` hears of how many targets the search has ended. Some may be ``unfinished``.
    """
    tree = _Tree(query, solve)
    nodes = tree.solved(tree.roots())
    allowed = torch.full_like(tree.best.target, MAX_NODES)
    left = len(query)
    unfinished = torch.zeros_like(allowed, dtype=torch.bool)
    while True:
        nodes = nodes.rows(nodes.better(tree.best) & tree.open(nodes)).ordered()
        unfinished[nodes.target[allowed[nodes.target] <= 0]] = True
        nodes = nodes.rows(~unfinished[nodes.target])
        still = len(nodes.target.unique())
        done(left - still)
        left = still
        if not left:
            tree.improve(tree.neighbours())
            held, ranking = tree.answer()
            return held, ranking.adding(unfinished=unfinished[:, None].expand_as(ranking.exists))
        most = max(AT_ONCE, min(rows_at_once, ALL_AT_ONCE) // left)
        first = 2 * nodes.ranks() < allowed[nodes.target].clamp(max=most)
        children = tree.solved(tree.children(nodes.rows(first)))
        allowed.index_add_(0, children.target, -torch.ones_like(children.target))
        nodes = Nodes(*map(torch.cat, zip(nodes.rows(~first), children, strict=True)))


class _Tree:
    """What all nodes of a query share, and the incumbents."""

    def __init__(self, query: Query, solve: Callable[[Query], Ranking]) -> None:
        self.query, self._solve = query, solve
        self.plain = replace(query, starts=query.points(), reference=None)
        low = query.bounds.low
        self.levels = {
            place: torch.tensor(sorted(levels), dtype=low.dtype, device=low.device)
            for place, levels in levels_within(query).items()
        }
        limit = query.max_changes
        self.limit = low.shape[1] if limit is None else limit
        self.best = self.rounded(
            self._unsolved(torch.arange(len(query), device=low.device), *query.bounds)
        )

    def roots(self) -> Nodes:
        """Return a node for each target, and others where an input switches others off."""
        points = switched_off_points(self.query)  # (O, n), NaN where an input is free
        target = torch.arange(len(self.query), device=points.device).repeat_interleave(len(points))
        at = points.repeat(len(self.query), 1)
        low, high = (end[target].clone() for end in self.query.bounds)
        possible = (at.isnan() | ((low <= at) & (at <= high))).all(1)
        low, high = (torch.where(at.isnan(), end, at) for end in (low, high))
        for place in self.levels:
            ends = [self._nearest(place, low, high, end) for end in (low, high)]
            low[:, place], high[:, place] = ends
        return self.settled(self._unsolved(target, low, high).rows(possible))

    def _unsolved(self, target: Tensor, low: Tensor, high: Tensor) -> Nodes:
        counted, starts = torch.zeros_like(low, dtype=torch.bool), self.plain.points()[target, 0]
        shortfall, cost = low.new_full((2, len(low)), torch.inf, dtype=torch.float64)
        return Nodes(target, low, high, counted, starts, shortfall, cost)

    def solved(self, nodes: Nodes) -> Nodes:
        """Solve nodes; where a rounded solution is the best of its target, it is the incumbent."""
        nodes = self._relaxed(nodes)
        rounded = self.rounded(nodes)
        known = self.best.rows(rounded.target)
        same = ((rounded.low == known.low) & (rounded.high == known.high)).all(1)
        self.improve(rounded.rows(~same | known.shortfall.isinf()))
        return nodes

    def improve(self, nodes: Nodes) -> None:
        """Solve nodes that hold all levels: those better than the incumbents replace them."""
        nodes = self._relaxed(nodes).ordered()
        nodes = nodes.rows(nodes.ranks() == 0)
        nodes = nodes.rows(nodes.better(self.best))
        for part, new in zip(self.best, nodes, strict=True):
            part[nodes.target] = new

    def neighbours(self) -> Nodes:
        """Return the incumbents with one input at the next level below or above."""
        parts = [self.best.rows(self.best.target[:0])]
        for place, levels in self.levels.items():
            low, high = (end[:, place] for end in self.query.bounds)
            for shift in (-1, 1):
                at = torch.searchsorted(levels, self.best.low[:, place].contiguous()) + shift
                level = levels[at.clamp(0, len(levels) - 1)]
                ends = self.best.low.clone(), self.best.high.clone()
                for end in ends:
                    end[:, place] = level
                moved = self.best._replace(low=ends[0], high=ends[1])
                inside = (level != self.best.low[:, place]) & (level >= low) & (level <= high)
                parts.append(moved.rows(inside))
        nodes = Nodes(*map(torch.cat, zip(*parts, strict=True)))
        if self.query.reference is None:
            return nodes
        reference = self.query.reference[nodes.target]
        changes = ((nodes.low != reference) | (nodes.high != reference)).sum(1)
        return nodes.rows(changes <= self.limit)

    def _relaxed(self, nodes: Nodes) -> Nodes:
        if not len(nodes.target):
            return nodes
        part = self.plain.rows(nodes.target)
        assert isinstance(part.starts, Tensor)
        starts = torch.cat([nodes.inputs[:, None], part.starts], 1)
        part = replace(part, bounds=Bounds(nodes.low, nodes.high), starts=starts)
        found = self._solve(part).best()
        distance = part.distance(found["outputs"], found["residual"]).nan_to_num(torch.inf)
        reached = found["result"] == Result.REACHED
        cost = found.get("cost", torch.zeros_like(distance)).nan_to_num(torch.inf)
        return nodes._replace(
            inputs=found["inputs"],
            shortfall=distance.masked_fill(reached, 0.0),
            cost=cost.where(reached, 0.0),
        )

    def _between(self, inputs: Tensor) -> Tensor:
        """Return how far inputs (M, n) are from their levels, as shares of the gaps, (M, n)."""
        far = torch.zeros_like(inputs)
        for place, levels in self.levels.items():
            x = inputs[:, place]
            below, above = self._levels_around(levels, x)
            gap = torch.where(above > below, above - below, 1.0)
            far[:, place] = torch.minimum(x - below, above - x) / gap
        return far

    def _nearest(self, place: int, low: Tensor, high: Tensor, inputs: Tensor) -> Tensor:
        """Return of an input's levels from low to high, (M, n) each, the nearest, (M,)."""
        levels = self.levels[place]
        low, high, x = (part[:, place, None] for part in (low, high, inputs))
        off = (levels - x.clamp(levels[0], levels[-1])).abs()
        return levels[off.masked_fill((levels < low) | (levels > high), torch.inf).argmin(1)]

    @staticmethod
    def _levels_around(levels: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        above = torch.searchsorted(levels, x.contiguous()).clamp(max=len(levels) - 1)
        below = torch.where(levels[above] > x, above - 1, above).clamp(min=0)
        return levels[below], levels[above]

    def _away(self, inputs: Tensor, target: Tensor) -> Tensor:
        """Return how far inputs (M, n) are from the reference, in their units."""
        if self.query.reference is None:
            return torch.zeros_like(inputs, dtype=torch.float64)
        away = (inputs - self.query.reference[target]).double().abs()
        return away / self.plain.model.input_spread

    def open(self, nodes: Nodes) -> Tensor:
        """Return which nodes have to be split, (M,)."""
        changed = (self._away(nodes.inputs, nodes.target) > 0).sum(1)
        return (self._between(nodes.inputs) > BETWEEN).any(1) | (changed > self.limit)

    def children(self, nodes: Nodes) -> Nodes:
        """Split each node in two."""
        far = self._between(nodes.inputs)
        place = far.argmax(1, keepdim=True)
        between = far.gather(1, place)[:, 0] > BETWEEN
        away = self._away(nodes.inputs, nodes.target).masked_fill(nodes.counted, 0.0)
        place = torch.where(between[:, None], place, away.argmax(1, keepdim=True))
        value = nodes.inputs.gather(1, place)[:, 0]
        first = nodes.low, nodes.high.clone(), nodes.counted
        second = nodes.low.clone(), nodes.high, nodes.counted.clone()
        for input_, levels in self.levels.items():
            mine = (between & (place[:, 0] == input_)).nonzero()[:, 0]
            below, above = self._levels_around(levels, value[mine])
            first[1][mine, input_], second[0][mine, input_] = below, above
        rest = (~between).nonzero()[:, 0]
        at, first = place[rest, 0], (first[0].clone(), *first[1:])
        if self.query.reference is not None:
            stays = self.query.reference[nodes.target[rest], at]
            first[0][rest, at] = first[1][rest, at] = stays
            second[2][rest, at] = True
        pair = [nodes._replace(low=a, high=b, counted=c) for a, b, c in (first, second)]
        return self.settled(Nodes(*map(torch.cat, zip(*pair, strict=True))))

    def settled(self, nodes: Nodes) -> Nodes:
        """Count inputs that cannot stay; let others stay once the limit is reached; drop what exceeds it."""
        if self.query.reference is None:
            return nodes
        reference = self.query.reference[nodes.target]
        counted = nodes.counted | (reference < nodes.low) | (reference > nodes.high)
        number = counted.sum(1, keepdim=True)
        stays = ~counted & (number == self.limit)
        low, high = (torch.where(stays, reference, end) for end in (nodes.low, nodes.high))
        nodes = nodes._replace(low=low, high=high, counted=counted)
        return nodes.rows(number[:, 0] <= self.limit)

    def rounded(self, nodes: Nodes) -> Nodes:
        """Hold inputs at the nearest levels, and those that change least at the reference."""
        low, high = nodes.low.clone(), nodes.high.clone()
        for place in self.levels:
            low[:, place] = high[:, place] = self._nearest(place, low, high, nodes.inputs)
        if self.query.reference is not None:
            at = nodes.inputs.clamp(low, high)
            away, mattering = self._away(at, nodes.target), matters(at, self.query.conditions)
            if mattering is not None:
                away *= mattering
            away = away.masked_fill(nodes.counted, torch.inf)
            order = away.argsort(dim=1, descending=True).argsort(1)
            stays = ~nodes.counted & (order >= self.limit)
            reference = self.query.reference[nodes.target]
            low, high = (torch.where(stays, reference, end) for end in (low, high))
        return nodes._replace(low=low, high=high)

    def answer(self) -> tuple[Query, Ranking]:
        """Return the query with each target's best choice held, and all solutions of that."""
        assert isinstance(self.plain.starts, Tensor)
        starts = torch.cat([self.plain.starts, self.best.inputs[:, None]], 1)
        held = replace(self.plain, bounds=Bounds(self.best.low, self.best.high), starts=starts)
        return held, self._solve(held)
