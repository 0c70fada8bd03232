r"""Lower the cost of points that reach their targets, and keep them there.

Each step is that of sequential quadratic programming with a curvature h for each point: along the
slope of the cost in the null space of the Jacobian, as far as the bounds allow, and back to the target
(see :mod:`~lightning_invert.solver.bounded_step`). Up to two further steps with the same Jacobian
restore the outcome, which keeps the steps long where the target's surface is curved. A step is taken
where cost plus :math:`\pi` times distance falls, with :math:`\pi` above the multipliers: the exact
penalty function (J. Nocedal and S. J. Wright, *Numerical Optimization*, 2006, sections 18.3 and 18.4).
So a long step may leave the target for the next ones to return to. Where none leads on from there, the
search goes back to where it left, and takes a shorter one: a watchdog (section 15.6). The curvature
follows the slopes of the Lagrangian, after J. Barzilai and J. M. Borwein, IMA Journal of Numerical
Analysis 8 (1988).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lightning_invert.solver.bounded_step import bounded_step
from lightning_invert.solver.query import Query
from lightning_invert.solver.rows import finite_rows, multiply, select
from lightning_invert.solver.solution import Ends

__all__ = ["descend"]

FIRST_CURVATURE = 4.0
"""With a slope of 1 the first step is at most a quarter of the inputs' spread."""

MANY_STEPS, SECOND_CURVATURE = 8, 0.1
"""Where constraints cut a bent surface there are several optima, and a long first step comes to other ones.
Without constraints it would find as many, but take as long again."""

MIN_CURVATURE, MAX_CURVATURE = 1e-6, 1e8
MAX_CHANGE, REJECTED = 10.0, 4.0
MIN_GAIN = 0.1
DAMPING = 1e-10
RESTORING_STEPS = 2
RESTORED = 0.1
"""The outcome is brought back to this share of the tolerance, if possible."""

PATIENCE = 16.0
"""Away from the target the curvature may rise to so many times that of the step which left it."""

MAX_SLOPE = 1e-3
"""Bound on the projected slope at an optimum, where the slope at the start has the length 1."""


class _State(NamedTuple):
    """Where the points are that go on, and what is remembered of them.

    ``slope`` is in units of ``unit``, its length at the start; ``departure`` is the curvature of the
    last step from the target; ``multipliers`` are those of the last step.
    """

    rows: Tensor
    inputs: Tensor
    outputs: Tensor
    residual: Tensor
    cost: Tensor
    jacobian: Tensor
    slope: Tensor
    unit: Tensor
    curvature: Tensor
    departure: Tensor
    penalty: Tensor
    multipliers: Tensor


def descend(query: Query, ends: Ends) -> Ends:
    """Lower the cost from where P searches reached their targets; change ``ends`` in place.

    No point ends farther from its target than the tolerance, and none costlier than it began. Beside
    constraints, where the way was long, a second one begins with a longer step; the cheaper end counts.
    """
    begin = ends.rows(torch.arange(len(ends.inputs), device=ends.inputs.device))
    ends = _descend(query, ends, FIRST_CURVATURE)
    rows = (ends.steps - begin.steps > MANY_STEPS).nonzero()[:, 0]
    if query.constraints is None or len(rows) == 0:
        return ends
    again = begin.rows(rows)
    again.steps.copy_(ends.steps[rows])
    again = _descend(query.rows(rows), again, SECOND_CURVATURE)
    assert ends.cost is not None
    assert again.cost is not None
    ends.steps[rows] = again.steps
    cheaper = again.cost < ends.cost[rows]
    ends.put(rows[cheaper], again.rows(cheaper))
    return ends


def _descend(query: Query, ends: Ends, curvature: float) -> Ends:
    """Descend once, with such a curvature first; change ``ends`` in place."""
    value, slope = _slope_of(query, ends.inputs)
    ends = ends._replace(cost=value)
    begin = ends.rows(torch.arange(len(value), device=value.device))
    unit = slope.norm(dim=1).clamp(min=torch.finfo(torch.float64).tiny)
    state = _State(
        torch.arange(len(value), device=value.device),
        inputs=ends.inputs.clone(),
        outputs=ends.outputs.clone(),
        residual=ends.residual.clone(),
        cost=value.clone(),
        jacobian=query.jacobian(ends.inputs),
        slope=slope / unit[:, None],
        unit=unit,
        curvature=torch.full_like(value, curvature),
        departure=torch.full_like(value, curvature),
        penalty=torch.zeros_like(value),
        multipliers=value.new_zeros(len(value), query.model.num_outputs + query.num_constraints),
    )
    ends.optimal[:] = False
    goes_on = finite_rows(state.jacobian, state.slope, value)
    for _ in range(query.max_steps):
        state = _State(*select(goes_on, *state))
        if len(state.rows) == 0:
            break
        state, goes_on = _advance(query.rows(state.rows), ends, state)
    # To come nearer to the target costs, and within the tolerance nobody asked for it.
    assert begin.cost is not None
    dearer = value > begin.cost
    ends.put(dearer, begin._replace(optimal=ends.optimal, steps=ends.steps).rows(dearer))
    return ends


def _advance(query: Query, ends: Ends, state: _State) -> tuple[_State, Tensor]:
    """Try a step at each row of the state; write what is at its target to ``ends``; return who goes on."""
    assert ends.cost is not None
    x, before, slope, curvature = state.inputs, state.residual, state.slope, state.curvature
    step, multipliers = bounded_step(
        state.jacobian,
        query.change(x, state.outputs),
        query.bounds.steps(x, query.model.input_spread),
        torch.full_like(before, DAMPING),
        slope=slope,
        curvature=curvature,
        num_constraints=query.num_constraints,
        begin=state.multipliers,
    )
    step = step.nan_to_num(nan=0.0)
    moved, y, after, kept = _restore(query, state.jacobian, x, step)
    value, next_slope = _slope_of(query, moved)
    pull = multipliers[:, : query.model.num_outputs].norm(dim=1).nan_to_num()
    penalty = torch.maximum(state.penalty, 2 * pull)
    predicted = -(slope * step).sum(1) + penalty * before
    decrease = (state.cost - value) / state.unit + penalty * (before - after)
    changed = (moved != x).any(1)
    taken = (decrease > MIN_GAIN * predicted) & (predicted > 0) & changed & kept

    ends.steps[state.rows] += 1
    near = taken & (after <= query.tolerance)
    at = state.rows[near]
    ends.inputs[at], ends.outputs[at] = moved[near], y[near]
    ends.residual[at], ends.cost[at] = after[near], value[near]
    # A step of curvature below 1 is longer than that of 1, and no longer than the bounds are wide:
    # times its curvature it may look flat where it is not.
    away = before > query.tolerance
    projected = curvature.clamp(min=1.0) * step.norm(dim=1)
    flat = projected <= MAX_SLOPE * slope.norm(dim=1).clamp(min=1.0)
    flat &= torch.where(taken, near, ~away)
    ends.optimal[state.rows] = flat
    lost = away & ~taken & ~(changed & (curvature <= PATIENCE * state.departure))
    goes_on = lost | (~flat & (taken | (changed & (curvature < MAX_CURVATURE))))
    tried = state._replace(
        inputs=moved, outputs=y, residual=after, cost=value, slope=next_slope / state.unit[:, None]
    )
    state = state._replace(
        departure=torch.where(taken & ~away, curvature, state.departure),
        penalty=penalty,
        multipliers=multipliers.nan_to_num(0.0, 0.0, 0.0),
    )
    state = _moved(query, state, tried, taken & goes_on, multipliers)
    if lost.any():
        _return(query, ends, state, lost)
    return state, goes_on & finite_rows(state.jacobian, state.slope, state.cost)


def _moved(
    query: Query, state: _State, tried: _State, taken: Tensor, multipliers: Tensor
) -> _State:
    """Return the state after the steps that are taken, and the next curvature of each row."""
    jacobian = state.jacobian.clone()
    rows = taken.nonzero()[:, 0]
    jacobian[rows] = query.rows(rows).jacobian(tried.inputs[rows])
    bend = (tried.slope - state.slope) - multiply((jacobian - state.jacobian).mT, multipliers)
    difference = (tried.inputs.double() - state.inputs.double()) / query.model.input_spread
    observed = (difference * bend).sum(1) / difference.square().sum(1)
    low, high = state.curvature / MAX_CHANGE, state.curvature * MAX_CHANGE
    observed = observed.nan_to_num(nan=0.0).clamp(low, high)
    curvature = torch.where(taken, observed, REJECTED * state.curvature)
    for name in ("inputs", "outputs", "residual", "cost", "slope"):
        getattr(state, name)[rows] = getattr(tried, name)[rows]
    return state._replace(jacobian=jacobian, curvature=curvature.clamp(min=MIN_CURVATURE))


def _return(query: Query, ends: Ends, state: _State, lost: Tensor) -> None:
    """Bring rows of the state back to where they left their targets, with a shorter step."""
    assert ends.cost is not None
    rows = lost.nonzero()[:, 0]
    at, part = state.rows[rows], query.rows(rows)
    x = ends.inputs[at]
    state.inputs[rows], state.outputs[rows] = x, ends.outputs[at]
    state.residual[rows], state.cost[rows] = ends.residual[at], ends.cost[at]
    state.jacobian[rows] = part.jacobian(x)
    state.slope[rows] = _slope_of(part, x)[1] / state.unit[rows, None]
    state.departure[rows] *= REJECTED
    state.curvature[rows] = state.departure[rows]
    state.penalty[rows] = 0


def _restore(
    query: Query, jacobian: Tensor, x: Tensor, step: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Take a step, and bring the outcome back to the target.

    Return inputs, outputs, distance, and where the constraints hold.
    """
    model = query.model
    x, kept = query.moved(x, step)
    y = model.outputs(x)
    distance = query.targets.distance(y, model.output_spread)
    for _ in range(RESTORING_STEPS):
        rows = (distance > RESTORED * query.tolerance).nonzero()[:, 0]
        if len(rows) == 0:
            break
        part = query.rows(rows)
        step, _ = bounded_step(
            jacobian[rows],
            part.change(x[rows], y[rows]),
            part.bounds.steps(x[rows], model.input_spread),
            torch.full_like(distance[rows], DAMPING),
            num_constraints=query.num_constraints,
        )
        moved, keeps = part.moved(x[rows], step.nan_to_num(nan=0.0))
        outputs = model.outputs(moved)
        after = part.targets.distance(outputs, model.output_spread)
        nearer = (after < distance[rows]) & keeps
        rows = rows[nearer]
        x[rows], y[rows], distance[rows] = moved[nearer], outputs[nearer], after[nearer]
        kept[rows] = True
    return x, y, distance, kept


def _slope_of(query: Query, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cost, and its slope along the inputs that may move, in their spreads."""
    assert query.cost is not None
    value, slope = query.cost(inputs)
    return value, torch.where(query.bounds.movable, slope * query.model.input_spread, 0.0)
