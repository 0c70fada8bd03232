"""Of what several starts led to: the best first, and what is really another solution."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lightning_invert.jacobians.singular_values import singular_values
from lightning_invert.jacobians.thresholds import condition_number
from lightning_invert.solver.model import Box, Model
from lightning_invert.solver.rows import finite_rows
from lightning_invert.solver.solution import Solution
from lightning_invert.solver.targets import Targets

__all__ = ["Found", "gather"]

MIN_APART = 0.01
"""Solutions that differ by less in every input, in its spread, are the same."""


class Found(NamedTuple):
    """What the starts of some targets led to: S in succession for each of N targets.

    Attributes:
        inputs: Shape (N S, n).
        outputs: Shape (N S, m).
        residual: Shape (N S,).
        optimal: Shape (N S,).
        steps: Shape (N S,).
        cost: Shape (N S,), or None if there is no cost.
    """

    inputs: Tensor
    outputs: Tensor
    residual: Tensor
    optimal: Tensor
    steps: Tensor
    cost: Tensor | None


def rank(found: Found, num_targets: int, tolerance: float, spread: Tensor) -> tuple[Tensor, Tensor]:
    """Return the order of each target's solutions, and how many of them count, (N, S) and (N,).

    The best is first, whether it reaches the target or not; then come those that do, and differ.
    """
    residual = found.residual.reshape(num_targets, -1)
    starts = residual.shape[1]
    reached = residual <= tolerance
    worth = residual
    if found.cost is not None:
        cost = found.cost.reshape(num_targets, -1).nan_to_num(nan=torch.inf)
        worth = torch.where(reached, cost, residual)
    order = worth.argsort(dim=1, stable=True)
    order = order.gather(1, (~reached).gather(1, order).byte().argsort(dim=1, stable=True))
    if starts == 1:
        return order, torch.ones_like(order[:, 0])

    inputs = (found.inputs.double() / spread).reshape(num_targets, starts, -1)
    inputs = inputs.gather(1, order[:, :, None].expand_as(inputs))
    kept = reached.gather(1, order)
    kept[:, 0] = True
    for later in range(1, starts):
        apart = (inputs[:, :later] - inputs[:, later : later + 1]).abs().amax(2) >= MIN_APART
        kept[:, later] &= (apart | ~kept[:, :later]).all(1)
    return order.gather(1, (~kept).byte().argsort(dim=1, stable=True)), kept.sum(1)


def gather(
    model: Model, found: Found, targets: Targets, box: Box, *, tolerance: float
) -> list[Solution]:
    """Return the best solution of each of N targets, the second best, and so on.

    Args:
        model: F.
        found: What S starts of each target led to.
        targets: N of them.
        box: Of the N targets.
        tolerance: Up to which residual a target is reached.
    """
    order, counts = rank(found, len(targets.low), tolerance, model.input_spread)
    starts = order.shape[1]
    first = torch.arange(len(order), device=order.device) * starts
    ranked = []
    for k in range(int(counts.max())):
        rows = first + order[:, k]
        one = Found(*(None if part is None else part[rows] for part in found))  # type: ignore[arg-type]
        ranked.append(_solution(model, one, targets, box, counts > k, tolerance))
    return ranked


def _solution(
    model: Model, found: Found, targets: Targets, box: Box, there: Tensor, tolerance: float
) -> Solution:
    nan = torch.where(there, 0.0, torch.nan)
    movable = box.low < box.high
    at_bound = ((found.inputs == box.low) | (found.inputs == box.high)) & movable
    return Solution(
        inputs=found.inputs + nan[:, None].to(found.inputs),
        outputs=found.outputs + nan[:, None].to(found.outputs),
        residual=found.residual + nan,
        converged=(found.residual <= tolerance) & there,
        optimal=found.optimal & there,
        at_bound=at_bound & there[:, None],
        cost=None if found.cost is None else found.cost + nan,
        condition=_condition(model, found.inputs, targets.wanted, movable, there),
        steps=found.steps,
    )


def _condition(
    model: Model, inputs: Tensor, wanted: Tensor, movable: Tensor, there: Tensor
) -> Tensor:
    """Return the condition number of the part of each Jacobian that counts, NaN where not there."""
    condition = torch.full((len(inputs),), torch.nan, dtype=torch.float64, device=inputs.device)
    rows = (there & finite_rows(inputs)).nonzero()[:, 0]
    jacobian = model.jacobian(inputs[rows], wanted[rows])
    finite = finite_rows(jacobian)
    rows, jacobian = rows[finite], jacobian[finite]
    if len(rows) == 0:
        return condition
    # What does not count adds singular values of 0, which come last.
    sigma = singular_values(jacobian * movable[rows][:, None])
    count = torch.minimum(wanted[rows].sum(1), movable[rows].sum(1)).clamp(min=1)
    last = sigma.to(count.device).gather(1, count[:, None] - 1)
    condition[rows] = condition_number(torch.cat((sigma[:, :1].to(last), last), 1))
    return condition
