r"""Come as near to the targets as the bounds allow: Levenberg-Marquardt at many points at once.

Each step is the best by the linear model within the bounds, with a damping for each point (see
:mod:`~lightning_invert.solver.bounded_step`). It is taken if the distance falls by at least a small
share of the decrease that the model predicts. The damping follows how well the model predicted, as in
J. J. More, *The Levenberg-Marquardt algorithm: implementation and theory*, Lecture Notes in
Mathematics 630 (1978). Points that are done leave the batch.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lightning_invert.solver.bounded_step import bounded_step
from lightning_invert.solver.model import Model
from lightning_invert.solver.rows import finite_rows, multiply, select
from lightning_invert.solver.solution import Result
from lightning_invert.solver.targets import Targets, distance_of
from lightning_invert.variables import Bounds

__all__ = ["Approach", "approach"]

CAREFUL_STEPS, CAREFUL_SHARE = 5, 0.5
"""The first steps of a careful approach lead at most this share of the way to the bounds. A step that
throws several inputs onto them may end in a corner from which no way leads on. On seven kinds of random
networks care reaches 0.5 to 7 % more targets from one start; on a blast furnace's surrogate, whose
targets lie at the bounds, 5 % fewer. Where one fails the other often succeeds."""

FIRST_DAMPING = 1e-2
MIN_DAMPING, MAX_DAMPING = 1e-10, 1e8
LOWER, RAISE = 0.2, 5.0
GOOD, POOR, MIN_GAIN = 0.75, 0.25, 1e-4
"""Shares of the predicted decrease: the damping falls above GOOD and rises below POOR; a step below
MIN_GAIN is not taken."""

MIN_DECREASE = 1e-6
"""A point is stationary if its squared distance is predicted to fall by a smaller share of itself."""


class Approach(NamedTuple):
    """Where points came to.

    Attributes:
        inputs: Shape (P, n).
        outputs: Shape (P, m).
        distance: From the target, in spreads of the outputs, shape (P,), float64; infinite where
            the function is not finite at the start.
        steps: Number of steps tried, shape (P,).
        result: Why each point ended, as :class:`.Result`, shape (P,).
    """

    inputs: Tensor
    outputs: Tensor
    distance: Tensor
    steps: Tensor
    result: Tensor


def approach(
    model: Model,
    inputs: Tensor,
    targets: Targets,
    bounds: Bounds,
    *,
    tolerance: float,
    max_steps: int,
    careful: bool = False,
) -> Approach:
    """Lower the distance of F from P targets until it is at most the tolerance, or the least.

    The search begins at inputs (P, n) within the bounds (P, n) and never ends farther away. With
    ``careful`` the first steps keep off the bounds.
    """
    inputs = inputs.clone()
    outputs = model.outputs(inputs)
    distance = targets.distance(outputs, model.output_spread).nan_to_num(nan=torch.inf)
    steps = torch.zeros(len(inputs), dtype=torch.int64, device=inputs.device)
    result = torch.full_like(steps, Result.OUT_OF_STEPS)
    result[~distance.isfinite()] = Result.NOT_FINITE
    result[distance <= tolerance] = Result.REACHED
    min_decrease = max(MIN_DECREASE, 10 * torch.finfo(inputs.dtype).eps)

    rows = (result == Result.OUT_OF_STEPS).nonzero()[:, 0]
    jacobian = model.jacobian(inputs[rows], targets.rows(rows).wanted)
    damping = distance.new_full((len(rows),), FIRST_DAMPING)
    for count in range(max_steps):
        finite = finite_rows(jacobian)
        result[rows[~finite]] = Result.NOT_FINITE
        rows, jacobian, damping = select(finite, rows, jacobian, damping)
        if len(rows) == 0:
            break
        x, wanted, walls, before = (
            inputs[rows],
            targets.rows(rows),
            bounds.rows(rows),
            distance[rows],
        )
        low, high = wanted.change(outputs[rows], model.output_spread)
        short = careful and count < CAREFUL_STEPS
        limits = walls.steps(x, model.input_spread, share=CAREFUL_SHARE if short else 1.0)
        step, _ = bounded_step(jacobian, (low, high), limits, damping)
        predicted = multiply(jacobian, step)
        decrease = before.square() - distance_of(low - predicted, high - predicted).square()
        moved = model.moved(x, step.nan_to_num(nan=0.0), walls)
        y = model.outputs(moved)
        after = wanted.distance(y, model.output_spread)
        gain = (before.square() - after.square()) / decrease
        taken = (gain > MIN_GAIN) & (decrease > 0)

        steps[rows] += 1
        inputs[rows[taken]], outputs[rows[taken]] = moved[taken], y[taken]
        distance[rows[taken]] = after[taken]
        still = decrease * damping.clamp(min=1.0) <= min_decrease * before.square()
        still &= not short
        reached = taken & (after <= tolerance)
        stuck = (moved == x).all(1) | (damping > MAX_DAMPING)
        result[rows[stuck]] = Result.STUCK
        result[rows[still]] = Result.OUT_OF_REACH
        result[rows[reached]] = Result.REACHED
        damping = torch.where(
            taken & (gain > GOOD),
            LOWER * damping,
            torch.where(gain > POOR, damping, RAISE * damping),
        ).clamp(min=MIN_DAMPING)

        goes_on = ~(reached | still | stuck)
        rows, jacobian, damping, taken = select(goes_on, rows, jacobian, damping, taken)
        renewed = taken.nonzero()[:, 0]
        jacobian[renewed] = model.jacobian(
            inputs[rows[renewed]], targets.rows(rows[renewed]).wanted
        )
    return Approach(inputs, outputs, distance, steps, result)
