r"""Come as near to the targets as the box allows: Levenberg-Marquardt at many points at once.

Each step is the best by the linear model, inside the box, with a damping that each point has for
itself (see :mod:`~lightning_invert.solver.bounded_step`). It is taken if the distance falls by at
least a small share of what the model foretold; the damping follows how well it foretold, as in
J. J. More, *The Levenberg-Marquardt algorithm: implementation and theory*, Lecture Notes in
Mathematics 630 (1978). Points that are done leave the batch.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lightning_invert.solver.bounded_step import bounded_step
from lightning_invert.solver.model import Box, Model
from lightning_invert.solver.rows import finite_rows, only, times
from lightning_invert.solver.targets import Targets, distance_of

__all__ = ["Approach", "approach"]

CAREFUL_STEPS, CAREFUL_SHARE = 5, 0.5
"""The first steps of a careful approach lead at most so much of the way to the box's walls. A step
that throws several inputs onto them may end in a corner which the way on is barred from. Of seven
kinds of random networks, care reaches 0.5 to 7 % more targets from one start; of a blast furnace's
surrogate, whose targets lie at the walls, 5 % fewer; where one fails the other often does not."""

FIRST_DAMPING = 1e-2
MIN_DAMPING, MAX_DAMPING = 1e-10, 1e8
LOWER, RAISE = 0.2, 5.0
GOOD, POOR, MIN_GAIN = 0.75, 0.25, 1e-4
"""Shares of the foretold decrease: the damping falls above the first, rises below the second, and
below the third the step is not taken."""

MIN_DECREASE = 1e-6
"""A point whose squared distance is foretold to fall by a smaller share of itself is at its least."""


class Approach(NamedTuple):
    """Where points came to.

    Attributes:
        inputs: Shape (P, n).
        outputs: Shape (P, m).
        distance: From the target, in spreads of the outputs, shape (P,), float64; infinite where
            the function is not finite at the start.
        steps: How many were tried, shape (P,).
        stationary: Whether no direction inside the box leads nearer, or the target is reached.
    """

    inputs: Tensor
    outputs: Tensor
    distance: Tensor
    steps: Tensor
    stationary: Tensor


def approach(
    model: Model,
    inputs: Tensor,
    targets: Targets,
    box: Box,
    *,
    tolerance: float,
    max_steps: int,
    careful: bool = False,
) -> Approach:
    """Lower the distance of F from the targets until it is at most the tolerance, or the least.

    Args:
        model: F.
        inputs: Where to begin, shape (P, n), inside the box.
        targets: Of the P points.
        box: Of the P points.
        tolerance: In spreads of the outputs.
        max_steps: How many are tried.
        careful: Whether the first steps keep off the walls of the box.

    Returns:
        The nearest points that were found: never farther than the start.
    """
    inputs = inputs.clone()
    outputs = model.outputs(inputs)
    distance = targets.distance(outputs, model.output_spread).nan_to_num(nan=torch.inf)
    steps = torch.zeros(len(inputs), dtype=torch.int64, device=inputs.device)
    stationary = distance <= tolerance
    min_decrease = max(MIN_DECREASE, 10 * torch.finfo(inputs.dtype).eps)

    rows = (distance.isfinite() & ~stationary).nonzero()[:, 0]
    jacobian = model.jacobian(inputs[rows], targets.rows(rows).wanted)
    damping = distance.new_full((len(rows),), FIRST_DAMPING)
    rows, jacobian, damping = only(finite_rows(jacobian), rows, jacobian, damping)
    for count in range(max_steps):
        if len(rows) == 0:
            break
        x, wanted, walls, before = inputs[rows], targets.rows(rows), box.rows(rows), distance[rows]
        low, high = wanted.change(outputs[rows], model.output_spread)
        short = careful and count < CAREFUL_STEPS
        share = CAREFUL_SHARE if short else 1.0
        ends = walls.steps(x, model.input_spread, share=share)
        step, _ = bounded_step(jacobian, (low, high), ends, damping)
        foretold = times(jacobian, step)
        decrease = before.square() - distance_of(low - foretold, high - foretold).square()
        there = model.moved(x, step.nan_to_num(nan=0.0), walls)
        y = model.outputs(there)
        after = wanted.distance(y, model.output_spread)
        gain = (before.square() - after.square()) / decrease
        taken = (gain > MIN_GAIN) & (decrease > 0)

        steps[rows] += 1
        inputs[rows[taken]], outputs[rows[taken]] = there[taken], y[taken]
        distance[rows[taken]] = after[taken]
        still = decrease * damping.clamp(min=1.0) <= min_decrease * before.square()
        still &= not short
        reached = taken & (after <= tolerance)
        stationary[rows] = reached | still
        stuck = (there == x).all(1) | (damping > MAX_DAMPING)
        damping = torch.where(
            taken & (gain > GOOD),
            LOWER * damping,
            torch.where(gain > POOR, damping, RAISE * damping),
        ).clamp(min=MIN_DAMPING)

        goes_on = ~(reached | still | stuck)
        rows, jacobian, damping, taken = only(goes_on, rows, jacobian, damping, taken)
        moved = taken.nonzero()[:, 0]
        jacobian[moved] = model.jacobian(inputs[rows[moved]], targets.rows(rows[moved]).wanted)
        # Where the Jacobian is not finite, the point stays at what it has.
        rows, jacobian, damping = only(finite_rows(jacobian), rows, jacobian, damping)
    return Approach(inputs, outputs, distance, steps, stationary)
