r"""Lower the cost of points that reach their targets, and keep them there.

Each step is that of sequential quadratic programming with a curvature h that every point has for
itself: the slope of the cost along the null space of the Jacobian, as far as the box allows, and
what is missing to the target (see :mod:`~lightning_invert.solver.bounded_step`). Up to three further
steps with the same Jacobian bring the outcome back, which keeps the steps long where the
target's surface is curved. A step is taken where cost plus :math:`\pi` times distance falls, with
:math:`\pi` above the multipliers: their exact penalty function (J. Nocedal and S. J. Wright,
*Numerical Optimization*, 2006, sections 18.3 and 18.4). The curvature follows the slopes of the
Lagrangian, after J. Barzilai and J. M. Borwein, IMA Journal of Numerical Analysis 8 (1988).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lightning_invert.solver.bounded_step import bounded_step
from lightning_invert.solver.cost import Cost
from lightning_invert.solver.model import Box, Model
from lightning_invert.solver.rows import finite_rows, only, times
from lightning_invert.solver.targets import Targets

__all__ = ["Descent", "descend"]

FIRST_CURVATURE = 4.0
"""With a slope of 1: the first step is at most a quarter of the inputs' spread."""

MIN_CURVATURE, MAX_CURVATURE = 1e-6, 1e8
MAX_CHANGE, REJECTED = 10.0, 4.0
MIN_GAIN = 0.1
DAMPING = 1e-10
RESTORING_STEPS = 3
RESTORED = 0.1
"""The outcome is brought back to this share of the tolerance, if it can be."""

MAX_SLOPE = 1e-3
"""Of a point at its optimum: how far a step along the slope, of the length 1 where the descent begins,
leads inside the box and along the target's surface."""


class Descent(NamedTuple):
    """Where points came to.

    Attributes:
        inputs: Shape (P, n).
        outputs: Shape (P, m).
        distance: From the target, (P,), float64: at most the tolerance.
        cost: Shape (P,), float64.
        steps: How many were tried, shape (P,).
        optimal: Whether the projected slope of the cost is at most 1e-3 of the slope, there or
            where the descent began, shape (P,).
    """

    inputs: Tensor
    outputs: Tensor
    distance: Tensor
    cost: Tensor
    steps: Tensor
    optimal: Tensor


def descend(
    model: Model,
    cost: Cost,
    inputs: Tensor,
    outputs: Tensor,
    targets: Targets,
    box: Box,
    *,
    tolerance: float,
    max_steps: int,
) -> Descent:
    """Lower the cost at points whose distance from the target is at most the tolerance.

    Args:
        model: F.
        cost: Of the P points.
        inputs: Shape (P, n), inside the box.
        outputs: F there, shape (P, m).
        targets: Of the P points.
        box: Of the P points.
        tolerance: In spreads of the outputs.
        max_steps: How many are tried.

    Returns:
        The cheapest points found. None is farther from its target than the tolerance, and none costs
        more than at the start but for what it takes to come nearer to the target.
    """
    inputs, outputs = inputs.clone(), outputs.clone()
    distance = targets.distance(outputs, model.output_spread)
    value, slope = _scaled(cost, inputs, model, box)
    steps = torch.zeros(len(inputs), dtype=torch.int64, device=inputs.device)
    optimal = torch.zeros_like(steps, dtype=torch.bool)
    rows = torch.arange(len(inputs), device=inputs.device)
    jacobian = model.jacobian(inputs, targets.wanted)
    unit = slope.norm(dim=1).clamp(min=torch.finfo(torch.float64).tiny)
    slope = slope / unit[:, None]
    curvature, penalty = torch.full_like(value, FIRST_CURVATURE), torch.zeros_like(value)
    state = only(
        finite_rows(jacobian, slope, value), rows, jacobian, slope, unit, curvature, penalty
    )
    for _ in range(max_steps):
        rows, jacobian, slope, unit, curvature, penalty = state
        if len(rows) == 0:
            break
        x, wanted, walls, before = inputs[rows], targets.rows(rows), box.rows(rows), distance[rows]
        change = wanted.change(outputs[rows], model.output_spread)
        ends = walls.steps(x, model.input_spread)
        damping = torch.full_like(before, DAMPING)
        step, multipliers = bounded_step(
            jacobian, change, ends, damping, slope=slope, curvature=curvature
        )
        step = step.nan_to_num(nan=0.0)
        there, y, after = _restored(
            model, jacobian, model.moved(x, step, walls), wanted, walls, tolerance
        )
        next_value, next_slope = _scaled(cost.rows(rows), there, model, walls)
        next_slope = next_slope / unit[:, None]
        penalty = torch.maximum(penalty, 2 * multipliers.norm(dim=1).nan_to_num())
        foretold = -(slope * step).sum(1) + penalty * before
        fallen = (value[rows] - next_value) / unit + penalty * (before - after)
        moved = (there.double() - x.double()) / model.input_spread
        taken = (fallen > MIN_GAIN * foretold) & (after <= tolerance) & (foretold > 0)
        taken &= (there != x).any(1)

        steps[rows] += 1
        at = rows[taken]
        inputs[at], outputs[at], distance[at] = there[taken], y[taken], after[taken]
        value[at] = next_value[taken]
        # A step of curvature below 1 is longer than that of 1, and no more than the box is wide:
        # times its curvature it may look flat where it is not.
        projected = curvature.clamp(min=1.0) * step.norm(dim=1)
        flat = projected <= MAX_SLOPE * slope.norm(dim=1).clamp(min=1.0)
        optimal[rows] = flat
        goes_on = ~flat & (taken | (curvature < MAX_CURVATURE))
        goes_on &= taken | (there != x).any(1)

        next_jacobian = jacobian.clone()
        moving = (taken & goes_on).nonzero()[:, 0]
        next_jacobian[moving] = model.jacobian(there[moving], wanted.rows(moving).wanted)
        bend = (next_slope - slope) - times((next_jacobian - jacobian).mT, multipliers)
        observed = (moved * bend).sum(1) / moved.square().sum(1)
        observed = observed.nan_to_num(nan=0.0).clamp(
            curvature / MAX_CHANGE, curvature * MAX_CHANGE
        )
        curvature = torch.where(taken, observed, REJECTED * curvature).clamp(min=MIN_CURVATURE)
        slope = torch.where(taken[:, None], next_slope, slope)
        goes_on &= finite_rows(next_jacobian, slope, value[rows])
        state = only(goes_on, rows, next_jacobian, slope, unit, curvature, penalty)
    return Descent(inputs, outputs, distance, value, steps, optimal)


def _restored(
    model: Model, jacobian: Tensor, x: Tensor, wanted: Targets, walls: Box, tolerance: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Bring the outcome back to the target; return inputs, outputs and distance."""
    y = model.outputs(x)
    distance = wanted.distance(y, model.output_spread)
    for _ in range(RESTORING_STEPS):
        rows = (distance > RESTORED * tolerance).nonzero()[:, 0]
        if len(rows) == 0:
            break
        own, ends = wanted.rows(rows), walls.rows(rows)
        change = own.change(y[rows], model.output_spread)
        damping = torch.full_like(distance[rows], DAMPING)
        step, _ = bounded_step(
            jacobian[rows], change, ends.steps(x[rows], model.input_spread), damping
        )
        there = model.moved(x[rows], step.nan_to_num(nan=0.0), ends)
        outputs = model.outputs(there)
        after = own.distance(outputs, model.output_spread)
        nearer = after < distance[rows]
        rows = rows[nearer]
        x[rows], y[rows], distance[rows] = there[nearer], outputs[nearer], after[nearer]
    return x, y, distance


def _scaled(cost: Cost, inputs: Tensor, model: Model, box: Box) -> tuple[Tensor, Tensor]:
    """Return the cost, and its slope by the inputs that may move, in their spreads."""
    value, slope = cost(inputs)
    return value, torch.where(box.low < box.high, slope * model.input_spread, 0.0)
