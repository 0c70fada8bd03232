r"""Lower the cost of points that reach their targets, and keep them there.

Each step is that of sequential quadratic programming with a curvature h for each point: along the
slope of the cost in the null space of the Jacobian, as far as the bounds allow, and back to the target
(see :mod:`~lightning_invert.solver.bounded_step`). Up to three further steps with the same Jacobian
restore the outcome, which keeps the steps long where the target's surface is curved. A step is taken
where cost plus :math:`\pi` times distance falls, with :math:`\pi` above the multipliers: the exact
penalty function (J. Nocedal and S. J. Wright, *Numerical Optimization*, 2006, sections 18.3 and 18.4).
The curvature follows the slopes of the Lagrangian, after J. Barzilai and J. M. Borwein, IMA Journal of
Numerical Analysis 8 (1988).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lightning_invert.solver.bounded_step import bounded_step
from lightning_invert.solver.cost import Cost
from lightning_invert.solver.model import Model
from lightning_invert.solver.rows import finite_rows, multiply, select
from lightning_invert.solver.targets import Targets
from lightning_invert.variables import Bounds

__all__ = ["Descent", "descend"]

FIRST_CURVATURE = 4.0
"""With a slope of 1 the first step is at most a quarter of the inputs' spread."""

MIN_CURVATURE, MAX_CURVATURE = 1e-6, 1e8
MAX_CHANGE, REJECTED = 10.0, 4.0
MIN_GAIN = 0.1
DAMPING = 1e-10
RESTORING_STEPS = 3
RESTORED = 0.1
"""The outcome is brought back to this share of the tolerance, if possible."""

MAX_SLOPE = 1e-3
"""Bound on the projected slope at an optimum, where the slope at the start has the length 1."""


class Descent(NamedTuple):
    """Where points came to.

    Attributes:
        inputs: Shape (P, n).
        outputs: Shape (P, m).
        distance: From the target, (P,), float64: at most the tolerance.
        cost: Shape (P,), float64.
        steps: Number of steps tried, shape (P,).
        optimal: Whether the projected slope of the cost is at most 1e-3 of the slope, there or
            where the descent began, shape (P,).
    """

    inputs: Tensor
    outputs: Tensor
    distance: Tensor
    cost: Tensor
    steps: Tensor
    optimal: Tensor


class _State(NamedTuple):
    """What is remembered of the points that go on, from step to step.

    ``slope`` is in units of ``unit``, its length at the start.
    """

    rows: Tensor
    jacobian: Tensor
    slope: Tensor
    unit: Tensor
    curvature: Tensor
    penalty: Tensor


def descend(
    model: Model,
    cost: Cost,
    inputs: Tensor,
    outputs: Tensor,
    targets: Targets,
    bounds: Bounds,
    *,
    tolerance: float,
    max_steps: int,
) -> Descent:
    """Lower the cost of P points, inputs (P, n) with outputs (P, m), at most a tolerance off target.

    No point ends farther from its target than the tolerance. None ends costlier than it began,
    except for what it takes to come nearer to the target.
    """
    value, slope = _slope_of(cost, inputs, model, bounds)
    distance = targets.distance(outputs, model.output_spread)
    steps = torch.zeros(len(inputs), dtype=torch.int64, device=inputs.device)
    result = Descent(
        inputs.clone(), outputs.clone(), distance, value, steps, torch.zeros_like(steps).bool()
    )
    unit = slope.norm(dim=1).clamp(min=torch.finfo(torch.float64).tiny)
    state = _State(
        torch.arange(len(inputs), device=inputs.device),
        model.jacobian(inputs, targets.wanted),
        slope / unit[:, None],
        unit,
        torch.full_like(value, FIRST_CURVATURE),
        torch.zeros_like(value),
    )
    goes_on = finite_rows(state.jacobian, state.slope, value)
    for _ in range(max_steps):
        state = _State(*select(goes_on, *state))
        if len(state.rows) == 0:
            break
        part = targets.rows(state.rows), bounds.rows(state.rows), cost.rows(state.rows)
        state, goes_on = _advance(model, result, state, *part, tolerance)
    return result


def _advance(
    model: Model,
    result: Descent,
    state: _State,
    targets: Targets,
    bounds: Bounds,
    cost: Cost,
    tolerance: float,
) -> tuple[_State, Tensor]:
    """Try a step at each point; write it to ``result``. Return the next state and who goes on."""
    rows, jacobian, slope, unit, curvature, penalty = state
    x, before = result.inputs[rows], result.distance[rows]
    step, multipliers = bounded_step(
        jacobian,
        targets.change(result.outputs[rows], model.output_spread),
        bounds.steps(x, model.input_spread),
        torch.full_like(before, DAMPING),
        slope=slope,
        curvature=curvature,
    )
    step = step.nan_to_num(nan=0.0)
    moved, y, after = _restore(
        model, jacobian, model.moved(x, step, bounds), targets, bounds, tolerance
    )
    value, next_slope = _slope_of(cost, moved, model, bounds)
    next_slope = next_slope / unit[:, None]
    penalty = torch.maximum(penalty, 2 * multipliers.norm(dim=1).nan_to_num())
    predicted = -(slope * step).sum(1) + penalty * before
    decrease = (result.cost[rows] - value) / unit + penalty * (before - after)
    changed = (moved != x).any(1)
    taken = (decrease > MIN_GAIN * predicted) & (after <= tolerance) & (predicted > 0) & changed

    result.steps[rows] += 1
    at = rows[taken]
    result.inputs[at], result.outputs[at] = moved[taken], y[taken]
    result.distance[at], result.cost[at] = after[taken], value[taken]
    # A step of curvature below 1 is longer than that of 1, and no longer than the bounds are wide:
    # times its curvature it may look flat where it is not.
    projected = curvature.clamp(min=1.0) * step.norm(dim=1)
    flat = projected <= MAX_SLOPE * slope.norm(dim=1).clamp(min=1.0)
    result.optimal[rows] = flat
    goes_on = ~flat & (taken | (changed & (curvature < MAX_CURVATURE)))

    next_jacobian = jacobian.clone()
    renewed = (taken & goes_on).nonzero()[:, 0]
    next_jacobian[renewed] = model.jacobian(moved[renewed], targets.rows(renewed).wanted)
    bend = (next_slope - slope) - multiply((next_jacobian - jacobian).mT, multipliers)
    difference = (moved.double() - x.double()) / model.input_spread
    observed = (difference * bend).sum(1) / difference.square().sum(1)
    observed = observed.nan_to_num(nan=0.0).clamp(curvature / MAX_CHANGE, curvature * MAX_CHANGE)
    curvature = torch.where(taken, observed, REJECTED * curvature).clamp(min=MIN_CURVATURE)
    slope = torch.where(taken[:, None], next_slope, slope)
    goes_on &= finite_rows(next_jacobian, slope, result.cost[rows])
    return _State(rows, next_jacobian, slope, unit, curvature, penalty), goes_on


def _restore(
    model: Model,
    jacobian: Tensor,
    x: Tensor,
    targets: Targets,
    bounds: Bounds,
    tolerance: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Bring the outcome back to the target; return inputs, outputs and distance."""
    y = model.outputs(x)
    distance = targets.distance(y, model.output_spread)
    for _ in range(RESTORING_STEPS):
        rows = (distance > RESTORED * tolerance).nonzero()[:, 0]
        if len(rows) == 0:
            break
        own, walls = targets.rows(rows), bounds.rows(rows)
        change = own.change(y[rows], model.output_spread)
        limits = walls.steps(x[rows], model.input_spread)
        damping = torch.full_like(distance[rows], DAMPING)
        step, _ = bounded_step(jacobian[rows], change, limits, damping)
        moved = model.moved(x[rows], step.nan_to_num(nan=0.0), walls)
        outputs = model.outputs(moved)
        after = own.distance(outputs, model.output_spread)
        nearer = after < distance[rows]
        rows = rows[nearer]
        x[rows], y[rows], distance[rows] = moved[nearer], outputs[nearer], after[nearer]
    return x, y, distance


def _slope_of(cost: Cost, inputs: Tensor, model: Model, bounds: Bounds) -> tuple[Tensor, Tensor]:
    """Return the cost, and its slope along the inputs that may move, in their spreads."""
    value, slope = cost(inputs)
    return value, torch.where(bounds.movable, slope * model.input_spread, 0.0)
