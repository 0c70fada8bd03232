r"""Come as near to the targets as the bounds allow: Levenberg-Marquardt at many points at once.

Each step is the best by the linear model within the bounds, with a damping for each point (see
:mod:`~lightning_invert.solver.bounded_step`). It is taken if the distance falls by at least a small
share of the decrease that the model predicts. The damping follows how well the model predicted, and
inputs are measured by the longest column that their Jacobians had, as in J. J. More, *The
Levenberg-Marquardt algorithm: implementation and theory*, Lecture Notes in Mathematics 630 (1978).
Points that are done leave the batch.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from lightning_invert.solver.bounded_step import bounded_step
from lightning_invert.solver.query import Query
from lightning_invert.solver.rows import finite_rows, multiply, select
from lightning_invert.solver.solution import Ends, Result
from lightning_invert.solver.targets import Targets, distance_of

__all__ = ["approach", "begin_feasible"]

CAREFUL_STEPS, CAREFUL_SHARE = 5, 0.5
"""The first steps of a careful approach lead at most this share of the way to the bounds. A step that
throws several inputs onto them may end in a corner from which no way leads on. On seven kinds of random
networks care reaches 0.5 to 7 % more targets from one start; on a blast furnace's surrogate, whose
targets lie at the bounds, 5 % fewer. Where one fails the other often succeeds."""

FIRST_DAMPING = 1e-2
MIN_DAMPING, MAX_DAMPING = 1e-10, 1e8
MIN_BESIDE_CONSTRAINTS = 1e-6
"""Constraints have to come before the outcomes, and their damping is hardly less than the least."""

LOWER, RAISE = 0.2, 3.0
GOOD, POOR, MIN_GAIN = 0.75, 0.25, 1e-4
"""Shares of the predicted decrease: the damping falls above GOOD and rises below POOR; a step below
MIN_GAIN is not taken."""

MIN_LENGTH = 1e-150
TRUSTED_RANGE = 10.0
"""Given units of inputs are kept while the columns' lengths are within this factor of their geometric mean. Where
none are given, the columns' lengths are the units. A careful approach takes the other of the two."""

NEARER = 0.1
"""Share of the tolerance to which starts are brought to the constraints."""

MIN_DECREASE = 1e-8
"""A point is stationary if a step, and each input by itself, is predicted to lower its squared distance by
a smaller share: the squared cosine between what is missing and the columns along which inputs may move,
which depends on no unit. Refused steps raise the damping where columns vanish, as at a fold: there the
step alone is asked."""


def approach(query: Query, inputs: Tensor, *, careful: bool = False) -> Ends:
    """Lower the distance of F from P targets until it is at most the tolerance, or the least.

    The search begins at inputs (P, n) within the bounds and never ends farther away. With ``careful``
    the first steps keep off the bounds, and inputs have other units, so that the search takes another way.
    """
    model, tolerance = query.model, query.tolerance
    ends = _begin(query, inputs)
    min_decrease = max(MIN_DECREASE, 10 * max(model.eps, torch.finfo(inputs.dtype).eps))
    rows = (ends.result == Result.OUT_OF_STEPS).nonzero()[:, 0]
    jacobian = query.rows(rows).jacobian(inputs[rows])
    least = MIN_DAMPING if query.constraints is None else MIN_BESIDE_CONSTRAINTS
    damping = ends.residual.new_full((len(rows),), FIRST_DAMPING)
    scaled = query.constraints is None and bool(_determined(query).any())
    longest = torch.zeros_like(jacobian[:, 0, : None if scaled else 0])
    for count in range(query.max_steps):
        finite = finite_rows(jacobian)
        ends.result[rows[~finite]] = Result.NOT_FINITE
        rows, jacobian, damping, longest = select(finite, rows, jacobian, damping, longest)
        if len(rows) == 0:
            break
        part, begin = query.rows(rows), ends.rows(rows)
        x, before = begin.inputs, begin.residual
        unit = None
        if scaled:
            longest = torch.maximum(longest, _lengths(jacobian))
            unit = torch.where(_determined(part), _units(longest, model.units_given, careful), 1.0)
        short = careful and count < CAREFUL_STEPS
        share = CAREFUL_SHARE if short else 1.0
        change = part.change(x, begin.outputs)
        limits = part.bounds.steps(x, model.input_spread, share=share)
        step, decrease = _step(query, jacobian, change, limits, damping, unit)
        moved, kept = part.moved(x, step.nan_to_num(nan=0.0))
        y = model.outputs(moved)
        after = part.targets.distance(y, model.output_spread)
        gain = (before.square() - after.square()) / decrease
        taken = (gain > MIN_GAIN) & (decrease > 0) & kept

        at = rows[taken]
        ends.steps[rows] += 1
        ends.inputs[at], ends.outputs[at], ends.residual[at] = moved[taken], y[taken], after[taken]
        flat = min_decrease * before.square()
        still = (decrease * damping.clamp(min=1.0) <= flat) & (not short)
        if query.constraints is None:
            undamped = (still & (damping <= FIRST_DAMPING)).nonzero()[:, 0]
            alone = _decrease_alone(*select(undamped, jacobian, *change, *limits))
            still[undamped] = alone <= flat[undamped]
        reached = taken & (after <= tolerance)
        stuck = (moved == x).all(1) | (damping > MAX_DAMPING)
        ends.result[rows[stuck]] = Result.STUCK
        ends.result[rows[still]] = Result.OUT_OF_REACH
        ends.result[rows[reached]] = Result.REACHED
        damping = torch.where(
            taken & (gain > GOOD),
            LOWER * damping,
            torch.where(gain > POOR, damping, RAISE * damping),
        ).clamp(min=least)

        goes_on = ~(reached | still | stuck)
        rows, jacobian, damping, longest, taken = select(
            goes_on, rows, jacobian, damping, longest, taken
        )
        renewed = rows[taken]
        jacobian[taken] = query.rows(renewed).jacobian(ends.inputs[renewed])
    stationary = (ends.result == Result.REACHED) | (ends.result == Result.OUT_OF_REACH)
    return ends._replace(optimal=stationary)


def _step(
    query: Query,
    jacobian: Tensor,
    change: tuple[Tensor, Tensor],
    limits: tuple[Tensor, Tensor],
    damping: Tensor,
    unit: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Return the best steps, with inputs in units (P, n), and by how much they lower the square."""
    slopes = jacobian
    if unit is not None:
        limits, slopes = (limits[0] * unit, limits[1] * unit), jacobian / unit[:, None]
    step, _ = bounded_step(slopes, change, limits, damping, num_constraints=query.num_constraints)
    count = query.model.num_outputs
    predicted = multiply(slopes, step)[:, :count]
    low, high = (end[:, :count] for end in change)
    decrease = (
        distance_of(low, high).square() - distance_of(low - predicted, high - predicted).square()
    )
    return step if unit is None else step / unit, decrease


def _decrease_alone(
    jacobian: Tensor, low: Tensor, high: Tensor, least: Tensor, most: Tensor
) -> Tensor:
    """Return by how much the inputs, each by itself, lower the square in all: the same in any units, (P,).

    ``low`` and ``high`` are the ends of the missing change, ``least`` and ``most`` those of the step.
    """
    slope = multiply(jacobian.mT, torch.zeros_like(low).clamp(low, high))
    steepness = _lengths(jacobian).square()
    step = (slope / steepness).clamp(least, most)
    return ((2 * slope - steepness * step) * step).sum(1)


def _lengths(jacobian: Tensor) -> Tensor:
    """Return the lengths of the columns (P, n), nowhere 0."""
    lengths = jacobian.norm(dim=1)
    longest = lengths.amax(1, keepdim=True).clamp(min=MIN_LENGTH)
    return torch.where(lengths > MIN_LENGTH, lengths, longest)


def _units(longest: Tensor, given: bool, careful: bool) -> Tensor:
    """Return units of inputs (P, n) in which all columns are as long, up to the trusted range."""
    trusted = TRUSTED_RANGE if given else 1.0
    if careful:
        trusted = 1.0 if given else math.inf
    middle = longest.log().mean(1, keepdim=True).exp()
    return longest / longest.clamp(middle / trusted, middle * trusted)


def _determined(query: Query) -> Tensor:
    """Return where no input is left to choose: else the nearest inputs, in their units, are sought."""
    return (query.targets.constrained.sum(1) >= query.bounds.movable.sum(1))[:, None]


def begin_feasible(query: Query, inputs: Tensor) -> Tensor:
    """Bring inputs (P, n) of P targets to where the constraints hold, if a search leads there."""
    constraints = query.constraints
    if constraints is None:
        return inputs
    moved = constraints.restored(inputs, query.bounds)
    rows = (~constraints.hold(moved)).nonzero()[:, 0]
    if len(rows) == 0 or constraints.curved is None:
        return moved
    linear, count = constraints.linear, constraints.curved.num_outputs
    unit = constraints.curved.output_spread
    ends = (
        (end[:count] * unit).expand(len(rows), -1) for end in (constraints.low, constraints.high)
    )
    search = replace(
        query.rows(rows),
        model=constraints.curved,
        targets=Targets(*ends),
        constraints=linear if len(linear) else None,
        tolerance=NEARER * query.tolerance,
    )
    begin = (
        inputs[rows] if search.constraints is None else linear.restored(inputs[rows], search.bounds)
    )
    moved[rows] = approach(search, begin).inputs
    return moved


def _begin(query: Query, inputs: Tensor) -> Ends:
    """Return where the searches begin: reached, not finite, or with all steps ahead."""
    outputs = query.model.outputs(inputs)
    distance = query.targets.distance(outputs, query.model.output_spread).nan_to_num(nan=torch.inf)
    steps = torch.zeros(len(inputs), dtype=torch.int64, device=inputs.device)
    result = torch.full_like(steps, Result.OUT_OF_STEPS)
    result[~distance.isfinite()] = Result.NOT_FINITE
    result[distance <= query.tolerance] = Result.REACHED
    if query.constraints is not None:
        lost = ~query.constraints.hold(inputs)
        result[lost], distance[lost] = Result.INFEASIBLE, torch.inf
    return Ends(inputs.clone(), outputs, distance, result, result == Result.REACHED, steps)
