"""Find inputs for wanted outputs: many targets at once, within bounds, at the least cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor
from tqdm.auto import tqdm

from lightning_invert.arrays import TensorLike
from lightning_invert.conditions import matters
from lightning_invert.devices import making_tensors_on_cpu
from lightning_invert.jacobians.independence import ROWS_TOLD_APART, check_independence
from lightning_invert.jacobians.jacobian import batched_jacobian
from lightning_invert.solver.branches import AT_ONCE, branch
from lightning_invert.solver.cases import Cases, read_query
from lightning_invert.solver.constraint import ConstraintsLike, functions_of
from lightning_invert.solver.cost import CostLike
from lightning_invert.solver.descent import descend
from lightning_invert.solver.least_squares import approach, begin_feasible
from lightning_invert.solver.model import evaluating
from lightning_invert.solver.query import Query
from lightning_invert.solver.ranking import Ranking
from lightning_invert.solver.search import Search
from lightning_invert.solver.solution import Ends, Result, Solution
from lightning_invert.solver.starts import Pool
from lightning_invert.solver.targets import TargetsLike

__all__ = ["points_at_once", "rank_solutions", "solve"]

SEED = 42

MAX_NUMBERS_AT_ONCE = 2**23
"""Bound on the numbers of a chunk of points, with their Jacobians: 64 MiB in float64."""

SAME_DISTANCE = 1e-6
"""A second approach counts if it ends nearer by more than this share: else the first one's verdict stands."""

VECTORS = 30
"""Numbers that a point has beside its Jacobian, for each input and each output."""

Judge: TypeAlias = Callable[[Query, Ranking], Ranking]
"""Adds to what is known of solutions."""

BAR_AFTER = 2.0
"""Seconds after which a progress bar is shown."""


@making_tensors_on_cpu()
def solve(
    function: Callable[[Tensor], Tensor],
    targets: TargetsLike,
    *,
    bounds: tuple[Any, Any] | Mapping[Any, Any] | None = None,
    starts: TensorLike | None = None,
    fixed: Mapping[Any, Any] | None = None,
    cost: CostLike | None = None,
    constraints: ConstraintsLike | None = None,
    weights: TensorLike | Mapping[Any, float] | None = None,
    max_changes: int | tuple[int, Any] | None = None,
    tolerance: float = 1e-3,
    scale: Any = None,
    **search: Any,
) -> Solution:
    r"""Find inputs whose outputs are the targets, within bounds, at the least cost.

    .. math:: \min_x c(x) \quad \text{with} \quad F(x) \in [y_l, y_h], \; x_l \le x \le x_h, \;
              g(x) \in [g_l, g_h]

    Two kinds of Newton steps use the Jacobian of F. Levenberg-Marquardt steps within the bounds lead to
    the target. Then steps of sequential quadratic programming, along the null space, lower the cost.
    All targets are solved at once. If a target cannot be reached, the inputs come as near to it as was
    found, and ``result`` says why. A solution is a local optimum, the best that any start led to.

    A module is evaluated in evaluation mode, on its own device and in its own dtype, to which the
    arguments are converted. Afterwards it is as it was. Linear systems are solved in float64.

    Args:
        function: F, maps (N, n) to (N, m), each row by itself, differentiable: a module, a function or a
            pair. A pair brings the names, ranges and statistics of its inputs. A point where F raises
            counts as outside its domain.
        targets: Wanted outputs. Numbers of shape (N, m), NaN where an output is free. Or by name, the
            others free: ``{"conversion": 80, "purity": Interval(low=0.9)}``, with a list for several
            targets. Or an :class:`~lightning_invert.Interval`, or a data frame. A name is a pair's,
            with or without its unit, an index, or y0, y1, ...
        bounds: A pair (low, high), each a number or of shape (n,) or (N, n); an end is open where it is
            infinite, NaN or None. Or by name, ``{"pressure": (1, None)}``: these replace the ends of a
            pair's ranges, and None keeps an end. Default: the ranges of a pair, else none.
        starts: Points to start from, shape (N, n), or (N, S, n) for several starts of each target. A
            start outside the bounds moves to the nearest point inside.
        fixed: Values of fixed inputs, by name or index: a number, or one for each target, shape (N,).
        cost: Prices by name, ``{"pressure": 3}``, the others free, or of shape (n,) or (N, n). Or a
            differentiable function (N, n) -> (N,), each row by itself. Or
            :class:`~lightning_invert.Near`, :class:`~lightning_invert.Plausible` or
            :class:`~lightning_invert.Robust`.
        constraints: Constraints g between inputs, which come before the targets: a
            :class:`~lightning_invert.Linear`, such as ``Linear({"coal": 1, "gas": 1}, high=200)``, a
            :class:`~lightning_invert.Constraint` or a :class:`~lightning_invert.LikeData`, a list of them,
            or name -> constraint. Default: those of a pair; ``()`` for none.
        weights: Weights of the outputs in the distance to a target out of reach, by name,
            ``{"purity": 2}``, the others 1, or of shape (m,). Whether a target is reached, and
            ``residual``, do not depend on them.
        max_changes: How many inputs may differ from those in force: 2, beside ``cost=Near(reference)``,
            or ``(2, reference)`` beside other costs. The best choice of inputs is found.
        tolerance: A target is reached at this distance, in the units of ``scale``.
        scale: Units of steps, residuals and condition numbers. ``"standardized"``: the statistics of a
            pair. ``"physical"``: those of F. Or a pair, for inputs and outputs: numbers, or of shapes
            (n,) and (m,). Default: standardised for a pair; for any other function an input's unit is
            the width of its bounds, where they are closed.
        search: ``num_starts`` (8): starts of each target; by default those with the nearest outcomes among
            512 points drawn within the bounds. ``max_steps`` (50): most steps to a target; as many
            again, which keep off the bounds at first, if no start reached it; as many to lower the
            cost, twice as many beside constraints. ``progress`` (True): show a progress bar in a
            terminal if it takes long.

    Returns:
        The best solution of each target, and its alternatives.

    Raises:
        TypeError: If an argument has the wrong type, or tensors are not floating.
        ValueError: If an argument is out of range, or shapes do not fit.

    Example:
        >>> f = lambda x: torch.stack((x[:, 0] * x[:, 1], x[:, 1] + x[:, 2]), dim=1)
        >>> solution = solve(
        ...     f, [[2.0, 3.0], [9.0, 0.0]], bounds=(0.0, [2.0, 4.0, 4.0]), cost=[1.0, 1.0, 1.0]
        ... )
        >>> solution.reasons
        ['reached', 'stopped at the bounds']
        >>> solution.inputs[0].round(decimals=2), solution.cost[0].round(decimals=2)
        (tensor([0.6700, 3.0000, 0.0000]), tensor(3.6700, dtype=torch.float64))
    """
    how = Search.of(search, solve)
    drawn = partial(Pool.drawn, seed=SEED, count=how.num_starts)
    with evaluating(function, cost, *functions_of(constraints)):
        query = read_query(
            function,
            targets,
            bounds=bounds,
            starts=drawn if starts is None else starts,
            search=how,
            fixed=fixed,
            cost=cost,
            constraints=constraints,
            weights=weights,
            max_changes=max_changes,
            scale=scale,
            tolerance=tolerance,
        )
        ranking = rank_solutions(query, progress=how.progress)
    best = ranking.best()
    return Solution(
        **best,
        shortfall=query.targets.shortfall(best["outputs"]),
        matters=matters(best["inputs"], query.conditions),
        alternatives=ranking.alternatives(),
        constraint_names=query.constraint_names,
    )


def rank_solutions(
    query: Query,
    judge: Judge | None = None,
    *,
    progress: bool = True,
) -> Ranking:
    """Solve a query in chunks of bounded memory; ``judge`` adds to the ranking of each chunk."""
    # Refuses a function that mixes rows, and one that cannot be differentiated.
    first = query.rows(slice(0, ROWS_TOLD_APART)).points().flatten(0, 1)[:ROWS_TOLD_APART]
    inside = query.model.outputs(first).isfinite().all(1)
    if inside.any():
        batched_jacobian(query.model.function, first[inside])
    _check_constraints(query, first)
    n, m = query.bounds.low.shape[1], query.model.num_outputs
    branches = Cases.are_too_many(query)
    cases = None if branches else Cases.of(query)
    rows = points_at_once(n, m + query.num_constraints) // query.num_starts
    chunk = max(1, rows // (AT_ONCE if branches else 1 if cases is None else len(cases)))
    parts = []
    with tqdm(
        desc="solve",
        total=len(query),
        unit=" targets",
        unit_scale=True,
        delay=BAR_AFTER,
        disable=None if progress else True,
    ) as bar:
        for begin in range(0, len(query), chunk):
            part, judged = query.rows(slice(begin, begin + chunk)), judge or _unjudged
            if branches:
                parts.append(judged(*branch(part, _solve_rows, bar.update, rows)))
                continue
            parts.append(_solve_chunk(part, cases, judged))
            bar.update(len(part))
    return Ranking.joined(parts)


def _check_constraints(query: Query, points: Tensor) -> None:
    """Raise a ValueError if no start of the first targets leads to where the constraints hold."""
    constraints = query.constraints
    if constraints is None or constraints.curved is None:
        return
    check_independence(constraints.curved.function, points, "constraints")
    part = query.rows(slice(0, ROWS_TOLD_APART))
    starts = part.points()
    each = part.rows(_row_of(starts))
    if not constraints.hold(begin_feasible(each, starts.flatten(0, 1))).any():
        names = " and ".join(map(repr, constraints.names))
        raise ValueError(
            "Expected argument `constraints` to hold somewhere within the bounds, but no search found a "
            f"point that keeps {names}."
        )


def points_at_once(n: int, m: int) -> int:
    """Return the number of points at which the solver's memory stays bounded."""
    return max(1, MAX_NUMBERS_AT_ONCE // (m * n + VECTORS * (m + n)))


def _unjudged(_: Query, ranking: Ranking) -> Ranking:
    return ranking


def _solve_chunk(query: Query, cases: Cases | None, judge: Judge) -> Ranking:
    if cases is None:
        return judge(query, _solve_rows(query))
    every = cases.query(query)
    ranking = _solve_rows(every)
    if query.cost is not None:  # then trust does not decide
        rows = cases.best(every, ranking, query.bounds)
        return judge(every.rows(rows), ranking.rows(rows))
    ranking = judge(every, ranking)
    return ranking.rows(cases.best(every, ranking, query.bounds))


def _solve_rows(query: Query) -> Ranking:
    starts = query.points()
    each = replace(query, starts=None).rows(_row_of(starts))  # a row for each start
    ends = _reach_targets(each, begin_feasible(each, starts.flatten(0, 1)).reshape(starts.shape))
    if each.cost is not None:
        ends = ends._replace(cost=each.cost(ends.inputs)[0])
        rows = (ends.residual <= query.tolerance).nonzero()[:, 0]
        ends.put(rows, descend(each.rows(rows), ends.rows(rows)))
    return Ranking.of(query, ends)


def _row_of(starts: Tensor) -> Tensor:
    """Return the target of each of the starts (N, S, n), shape (N S,)."""
    rows = torch.arange(len(starts), device=starts.device)
    return rows.repeat_interleave(starts.shape[1])


def _reach_targets(query: Query, starts: Tensor) -> Ends:
    """Approach the targets from starts (N, S, n), a row of the query for each start.

    Targets that no start reached are approached once more, with care; then, if there are weights, by these.
    """
    begin = starts.flatten(0, 1)
    ends = approach(query, begin)
    missed = (ends.residual > query.tolerance).reshape(starts.shape[:2]).all(1)
    rows = missed.repeat_interleave(starts.shape[1]).nonzero()[:, 0]
    if len(rows) > 0:
        again = approach(query.rows(rows), begin[rows], careful=True)
        again.steps.add_(ends.steps[rows])
        nearer = again.residual < (1 - SAME_DISTANCE) * ends.residual[rows]
        ends.steps[rows] = again.steps
        ends.put(rows[nearer], again.rows(nearer))
    if query.weights is None:
        return ends
    missed = (ends.residual > query.tolerance).reshape(starts.shape[:2]).all(1)
    rows = missed.repeat_interleave(starts.shape[1]).nonzero()[:, 0]
    part = query.rows(rows)
    again, other = (approach(part.weighed(), x[rows]) for x in (ends.inputs, begin))
    nearer = other.residual < again.residual
    again.put(nearer.nonzero()[:, 0], other.rows(nearer))
    residual = part.targets.distance(again.outputs, query.model.output_spread)
    again = again._replace(residual=residual.where(again.residual.isfinite(), torch.inf))
    again.result[again.residual <= query.tolerance] = Result.REACHED
    again.steps.add_(ends.steps[rows])
    ends.put(rows, again)
    return ends
