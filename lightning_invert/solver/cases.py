"""Solve each target in many cases, which fix settings at levels or at the reference; keep the best.

A case is a combination of levels, a choice of settings that change, or a setting that is switched off, so
that another one no longer matters. All cases of all targets are rows of one query. They differ in their
bounds alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import torch
from torch import Tensor

from lightning_invert.arguments import check_integer, expected_but_got
from lightning_invert.arrays import Placement, read_tensor
from lightning_invert.solver.cost import Near
from lightning_invert.solver.query import Query
from lightning_invert.solver.ranking import Ranking
from lightning_invert.solver.rows import first_index
from lightning_invert.solver.solution import Result
from lightning_invert.variables import Bounds, by_column

__all__ = ["SAME_COST", "Cases", "held", "levels_within", "read_query", "switched_off_points"]

MAX_CASES = 4096
"""Of more cases, the best is sought by :mod:`~lightning_invert.solver.branches`."""

SAME_COST = 1e-6
"""Costs that differ by a smaller share are the same, and fewer changes decide."""

FREE, STAYS = torch.nan, torch.inf
"""What an input may do in a case; any other number is the level at which it is."""


@dataclass(frozen=True)
class Cases:
    """K cases of n inputs."""

    states: Tensor  # (K, n), float64: FREE, STAYS or a level
    changes: Tensor  # (K,): how many inputs may differ from the reference

    @classmethod
    def of(cls, query: Query) -> Cases | None:
        """List the cases of a query; ``None`` if its inputs have no levels and all may change."""
        states, limit = _states_of(query), _limit_of(query)
        if states is None:
            return None
        cases: list[tuple[tuple[float, ...], int]] = [((), 0)]
        for own in states:
            cases = [
                ((*case, state), count + more)
                for case, count in cases
                for state, more in own
                if count + more <= limit
            ]
        device = query.bounds.low.device
        return cls(
            torch.tensor([case for case, _ in cases], dtype=torch.float64, device=device),
            torch.tensor([count for _, count in cases], device=device),
        )

    @staticmethod
    def are_too_many(query: Query) -> bool:
        """Whether there are more cases than are tried one by one."""
        counts = [1] + [0] * _limit_of(query)  # by how many inputs change
        for own in _states_of(query) or ():
            before, counts = counts, [0] * len(counts)
            for _, more in own:
                for changed in range(more, len(counts)):
                    counts[changed] += before[changed - more]
        return sum(counts) > MAX_CASES

    def __len__(self) -> int:
        return len(self.states)

    def query(self, query: Query) -> Query:
        """Return a query with K rows for each of N targets, (N K) in all."""
        targets = torch.arange(len(query), device=self.states.device)
        every = replace(query, starts=query.points()).rows(targets.repeat_interleave(len(self)))
        states = self.states.repeat(len(query), 1).to(every.bounds.low)
        at = states if every.reference is None else states.where(states != STAYS, every.reference)
        ends = (end.where(states.isnan(), at) for end in every.bounds)
        return replace(every, bounds=Bounds(*ends), reference=None)  # it is among the starts

    def best(self, query: Query, ranking: Ranking, bounds: Bounds) -> Tensor:
        """Return the rows, (N,), of the best case of each target, from the solutions of all.

        What reaches its target comes first, then the least cost, or else the most trusted, then the
        fewest changes. ``bounds`` (N, n) are those of the targets.
        """
        best, shape = ranking.best(), (-1, len(self))
        reached = (best["result"] == Result.REACHED).reshape(shape)
        worth = best.get("cost", best.get("expected_error", best["residual"])).reshape(shape)
        some = reached.any(1, keepdim=True)
        distance = query.distance(best["outputs"], best["residual"]).reshape(shape)
        worth = torch.where(some, worth, distance).nan_to_num(torch.inf)
        low, high = (end.reshape(*shape, end.shape[1]) for end in query.bounds)
        outside = ((low < bounds.low[:, None]) | (high > bounds.high[:, None])).any(2)
        out = outside | (some & ~reached)
        worth = worth.masked_fill(out, torch.inf)
        least = worth.amin(1, keepdim=True)
        same = (worth <= least + SAME_COST * least.abs()) & ~outside
        changes = self.changes.expand_as(worth).masked_fill(~same, len(self.states.T) + 1)
        last = changes > changes.amin(1, keepdim=True)
        place = worth.masked_fill(last, torch.inf)
        # Where all are infinite, the first that is inside.
        first = torch.where(place.isinf().all(1), last.byte().argmin(1), place.argmin(1))
        return torch.arange(len(worth), device=worth.device) * len(self) + first


def held(query: Query, inputs: Tensor) -> Bounds:
    """Return bounds (N, n) that fix those of the inputs that have not changed, where few may."""
    low, high = (end.to(inputs) for end in query.bounds)
    if query.max_changes is None or query.reference is None:
        return Bounds(low, high)
    stays = (inputs == query.reference) & inputs.isfinite()
    return Bounds(torch.where(stays, inputs, low), torch.where(stays, inputs, high))


def read_query(
    function: Callable[[Tensor], Tensor],
    targets: Any,
    *,
    max_changes: Any = None,
    cost: Any = None,
    **options: Any,
) -> Query:
    """Read a query, in which at most ``max_changes`` inputs differ; ``options`` are of :meth:`.Query.of`."""
    reference = _reference_of(max_changes, cost)
    if cost is None and reference is not None:
        cost = Near(reference)
    query = Query.of(function, targets, cost=cost, **options)
    return query if max_changes is None else _limited(query, max_changes, reference)


def _reference_of(max_changes: Any, cost: Any) -> Any:
    """Return the settings in force: of ``max_changes=(2, reference)`` or of a :class:`Near`."""
    if isinstance(max_changes, tuple | list) and len(max_changes) == 2:
        return max_changes[1]
    return cost.reference if isinstance(cost, Near) else None


def _limited(query: Query, max_changes: Any, reference: Any) -> Query:
    """Return a query in which at most so many inputs differ from a reference."""
    inputs, pair = query.inputs, isinstance(max_changes, tuple | list) and len(max_changes) == 2
    number = check_integer("max_changes", max_changes[0] if pair else max_changes, low=1)
    if reference is None:
        raise ValueError(
            "Expected argument `max_changes` beside the settings in force, but there are none: write "
            f"`cost=Near(reference)`, or `max_changes=({number}, reference)` beside other costs."
        )
    if isinstance(reference, Mapping):
        by_index = by_column("reference", reference, inputs)
        if missing := [v.name for j, v in enumerate(inputs) if j not in by_index]:
            raise ValueError(
                "Expected the reference of argument `max_changes` to name every input, but it lacks "
                f"{', '.join(map(repr, missing))}."
            )
        reference = [by_index[j] for j in range(len(inputs))]
    low, high = query.bounds
    point = read_tensor("reference", reference, Placement(low.dtype, low.device))
    shapes = ((low.shape[1],), (1, low.shape[1]), (*low.shape,))
    if point.shape not in shapes or not point.isfinite().all():
        what = f"finite, of shape {shapes[0]} or {shapes[2]}"
        raise ValueError(expected_but_got("reference", what, reference))
    point = point.expand_as(low)
    outside = (point < low) | (point > high)
    if outside.any():
        row = first_index(outside.any(1))
        place = first_index(outside[row])
        raise ValueError(
            "Expected the reference of argument `max_changes` to be within the bounds, but it has "
            f"{point[row, place]:g} for input {inputs[place].name!r}, which may be "
            f"{low[row, place]:g} to {high[row, place]:g}."
        )
    for place, variable in enumerate(inputs):
        levels = torch.tensor(variable.levels, dtype=torch.float64).to(point)
        between = ~torch.isin(point[:, place], levels)
        if variable.levels and between.any():
            raise ValueError(
                f"Expected the reference of argument `max_changes` to be at a level of input "
                f"{variable.name!r}, one of {variable.levels}, but it has "
                f"{point[first_index(between), place]:g}."
            )
    return replace(query, max_changes=number, reference=point)


def _limit_of(query: Query) -> int:
    """Return how many inputs may change."""
    return query.bounds.low.shape[1] if query.max_changes is None else query.max_changes


def _states_of(query: Query) -> list[list[tuple[float, int]]] | None:
    """Return what each input may do, and whether that is a change; ``None`` if each has no choice."""
    levels = {**levels_within(query), **_switched_off(query)}
    movable = query.bounds.movable.any(0).tolist()
    if query.max_changes is None:
        if not any(movable[place] for place in levels):
            return None
        return [[(level, 0) for level in levels.get(j, [FREE])] for j in range(len(movable))]
    return [
        [(STAYS, 0), *((level, 1) for level in levels.get(j, [FREE]))] if moves else [(FREE, 0)]
        for j, moves in enumerate(movable)
    ]


def switched_off_points(query: Query) -> Tensor:
    """Return all combinations of what inputs switch off, (O, n), NaN where an input is free."""
    off, low = _switched_off(query), query.bounds.low
    points = product(*(off.get(place, [FREE]) for place in range(low.shape[1])))
    return torch.tensor([*points], dtype=low.dtype, device=low.device)


def levels_within(query: Query) -> dict[int, list[float]]:
    """Return the levels of inputs by index, those that are within the bounds of a target."""
    within = {}
    for place, variable in enumerate(query.inputs):
        if not variable.levels:
            continue
        low, high = (end[:, place, None] for end in query.bounds)
        own = torch.tensor(variable.levels, dtype=torch.float64).to(low)
        inside = (own >= low) & (own <= high)
        if not inside.any(1).all():
            row = first_index(~inside.any(1))
            raise ValueError(
                f"Expected the bounds of input {variable.name!r} to hold one of its levels, "
                f"{variable.levels}, but they are {low[row, 0]:g} to {high[row, 0]:g}."
            )
        within[place] = own[inside.any(0)].double().tolist()
    return within


def _switched_off(query: Query) -> dict[int, list[float]]:
    """Return by index at which values an input switches off another one that costs something."""
    states: dict[int, list[float]] = {}
    counted = None if query.cost is None else query.cost.counted
    if counted is None:
        return states
    counted = counted.clone()
    for _ in query.conditions:  # it counts, too, on what others depend that count
        for place, (other, *_) in query.conditions.items():
            counted[other] |= counted[place]
    for place, (other, sign, number) in query.conditions.items():
        if not counted[place] or query.inputs[other].levels or sign not in (">", "<", "!="):
            continue  # free of charge; its levels are cases already; or it matters at the number itself
        low, high = (end[:, other] for end in query.bounds)
        if ((low <= number) & (number <= high) & (low < high)).any():
            states[other] = [*states.get(other, [FREE]), number]
    return states
