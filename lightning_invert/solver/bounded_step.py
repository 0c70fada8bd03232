r"""Compute the best step of a linear model within bounds, at many points at once.

J is the Jacobian at a point, c the slope of a cost, h > 0 its curvature, and z the change of the
outcome that the target asks for, anywhere between :math:`z_l` and :math:`z_h`:

.. math:: \min_{d,\, z} \; c^\top d + \tfrac{h}{2} \lVert d \rVert^2
          + \tfrac{1}{2 \lambda} \lVert J d - z \rVert^2
          \quad \text{with} \quad d_l \le d \le d_h, \; z_l \le z \le z_h.

Without a cost this is the step of Levenberg and Marquardt with damping :math:`\lambda`; with one,
and :math:`\lambda \to 0`, a step along the null space of J that restores the outcome as well. For
multipliers :math:`\nu = (z - J d) / \lambda` the optimum is
:math:`d = \mathrm{clamp}((J^\top \nu - c) / h)`, and what is left is one monotone, piecewise linear
equation in m unknowns,

.. math:: \lambda \nu + J\, \mathrm{clamp}\big((J^\top \nu - c) / h\big) = z,

which a Newton method solves in a few passes: each solves a linear system of the free inputs and so
finds which inputs stay at a bound. The equation is the gradient of a convex function, so that a line
search makes the method converge from anywhere (L. Qi and J. Sun, *A nonsmooth version of Newton's
method*, Mathematical Programming 58, 1993). A weight :math:`1/\varepsilon`, large beside the
Jacobian, keeps the change of an interval near the smallest one; it is clamped likewise.

Constraints are further rows, about as long as 1, whose damping is so small that they come first.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lightning_invert.solver.rows import finite_rows, multiply

__all__ = ["Step", "bounded_step"]

MAX_PASSES = 20
"""Two or three are usual: at most points the same inputs stay at their bounds."""

MIN_SLOPE = 0.5
"""A whole Newton step is taken unless the slope at its end exceeds this share of the slope before."""

SLACK = 1e4
"""Weight of an interval's change, in units of the mean square of the Jacobian's rows."""

MIN_SQUARE = 1e-30

HARD = 1e-12
"""Damping of constraints."""


class Step(NamedTuple):
    """Steps d (P, n), and the multipliers ν of the outcomes (P, m)."""

    step: Tensor
    multipliers: Tensor


class _Model(NamedTuple):
    """The coefficients of the equation, with a row for each point."""

    jacobian: Tensor
    curvature: Tensor
    step_low: Tensor
    step_high: Tensor
    change_low: Tensor
    change_high: Tensor
    nearest: Tensor
    damping: Tensor
    slack: Tensor

    def rows(self, rows: Tensor) -> _Model:
        return _Model(*(part[rows] for part in self))

    def step(self, pulled: Tensor) -> Tensor:
        return pulled.clamp(self.step_low, self.step_high)

    def change(self, multipliers: Tensor) -> Tensor:
        free = self.nearest - self.slack * multipliers
        return free.clamp(self.change_low, self.change_high)

    def step_sides(self, pulled: Tensor) -> Tensor:
        return _sides(pulled, self.step_low, self.step_high)

    def change_sides(self, multipliers: Tensor) -> Tensor:
        free = self.nearest - self.slack * multipliers
        return _sides(free, self.change_low, self.change_high)


def bounded_step(
    jacobian: Tensor,
    change: tuple[Tensor, Tensor],
    limits: tuple[Tensor, Tensor],
    damping: Tensor,
    *,
    slope: Tensor | None = None,
    curvature: Tensor | None = None,
    num_constraints: int = 0,
    begin: Tensor | None = None,
) -> Step:
    r"""Return the best step within the limits at each of P points, float64.

    All arguments are float64: the Jacobians (P, m, n), finite, with rows of 0 for outputs without a
    target; the lowest and highest change of the outcome (P, m), equal for a value and infinite for an
    output without a target; the lowest and highest step of each input (P, n), at most and at least 0;
    :math:`\lambda` as a share of the mean square of the Jacobian's rows (P,); the slope c (P, n), 0 by
    default, and the curvature h (P,), 1 by default. The last ``num_constraints`` rows are hard. Multipliers
    of a similar step, (P, m), are a good place to ``begin``. Where a linear system is singular, the step
    may be NaN.
    """
    slope = torch.zeros_like(limits[0]) if slope is None else slope
    h = torch.ones_like(damping)[:, None] if curvature is None else curvature[:, None]
    num_soft = jacobian.shape[1] - num_constraints
    constrained = (change[0] > -torch.inf) | (change[1] < torch.inf)
    mean_square = jacobian[:, :num_soft].square().sum((1, 2)) / constrained[:, :num_soft].sum(1)
    square = mean_square.clamp(min=MIN_SQUARE)[:, None] / h
    if num_constraints:
        square = square.repeat(1, num_soft + num_constraints)
        square[:, num_soft:] = 1 / h
        damping = damping[:, None].repeat(1, square.shape[1])
        damping[:, num_soft:] = HARD
    else:
        damping = damping[:, None]
    nearest = torch.zeros_like(change[0]).clamp(*change)
    model = _Model(jacobian, h, *limits, *change, nearest, damping * square, SLACK * square)
    # Not zero: its sign tells which inputs at a bound are about to leave it.
    multipliers = 1e-9 * nearest / square if begin is None else begin.clone()
    pulled = (multiply(jacobian.mT, multipliers) - slope) / h
    left = torch.arange(len(jacobian), device=jacobian.device)
    part = model
    for _ in range(MAX_PASSES):
        multipliers[left], pulled[left], settled = _pass(
            part, multipliers[left], pulled[left], num_constraints
        )
        unsettled = (~settled).nonzero()[:, 0]
        if len(unsettled) == 0:
            break
        left, part = left[unsettled], part.rows(unsettled)
    return Step(model.step(pulled), multipliers)


def _pass(
    model: _Model, multipliers: Tensor, pulled: Tensor, num_constraints: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Take a Newton step in the multipliers and what they pull; tell where it was the last."""
    sides, change_sides = model.step_sides(pulled), model.change_sides(multipliers)
    error = model.damping * multipliers - model.change(multipliers)
    error += multiply(model.jacobian, model.step(pulled))
    diagonal = model.damping + (change_sides == 0) * model.slack
    weights = (sides == 0) / model.curvature
    newton = -_solve_normal(model.jacobian, weights, diagonal, error, num_constraints)
    along = multiply(model.jacobian.mT, newton) / model.curvature
    share = _line_search(model, multipliers, pulled, newton, along, (error * newton).sum(1))
    multipliers = multipliers + share[:, None] * newton
    pulled = pulled + share[:, None] * along
    settled = share == 1
    settled &= (model.step_sides(pulled) == sides).all(1)
    settled &= (model.change_sides(multipliers) == change_sides).all(1)
    # A point that is lost to a singular system stays lost.
    return multipliers, pulled, settled | ~finite_rows(multipliers)


def _sides(values: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return -1 at or below the lower end, 1 at or above the upper one, 2 if the ends are equal."""
    sides = (values >= high).to(torch.int8) - (values <= low).to(torch.int8)
    return torch.where(low < high, sides, 2)


def _solve_normal(
    jacobian: Tensor, weights: Tensor, diagonal: Tensor, right: Tensor, num_constraints: int
) -> Tensor:
    """Solve (J W Jᵀ + D) x = b for x (P, m) by the smaller of the two normal equations."""
    m, n = jacobian.shape[1] - num_constraints, jacobian.shape[2]
    if m <= n:
        gram = (jacobian * weights[:, None]) @ jacobian.mT
        gram.diagonal(dim1=1, dim2=2).add_(diagonal)
        return _Cholesky.of(gram).solve(right)
    # With u = W Jᵀ x: x = (b - J u) / D, and (1 + W Jᵀ D⁻¹ J) u = W Jᵀ D⁻¹ b, made symmetric.
    root = weights.sqrt()
    outcomes, spread = jacobian[:, :m], diagonal[:, :m].sqrt()
    scaled = outcomes * root[:, None] / spread[:, :, None]
    gram = scaled.mT @ scaled
    gram.diagonal(dim1=1, dim2=2).add_(1.0)
    factor = _Cholesky.of(gram)
    right, hard = right[:, :m], right[:, m:]
    if num_constraints:  # By their Schur complement: their D is too small to divide by.
        rows = jacobian[:, m:] * root[:, None]
        pulled = factor.solve(multiply(scaled.mT, right / spread))
        schur = rows @ torch.cholesky_solve(rows.mT, factor.factors)
        schur.diagonal(dim1=1, dim2=2).add_(diagonal[:, m:])
        hard = _Cholesky.of(schur).solve(hard - multiply(rows, pulled))
        right = right - multiply(outcomes, root * multiply(rows.mT, hard))
    u = root * factor.solve(multiply(scaled.mT, right / spread))
    solved = (right - multiply(outcomes, u)) / diagonal[:, :m]
    return torch.cat([solved, hard], 1) if num_constraints else solved


class _Cholesky(NamedTuple):
    factors: Tensor  # (P, k, k)
    info: Tensor  # (P,), 0 where a matrix is positive definite

    @classmethod
    def of(cls, matrices: Tensor) -> _Cholesky:
        # `cholesky_ex` neither waits for the device nor raises if one matrix is singular.
        return cls(*torch.linalg.cholesky_ex(matrices))

    def solve(self, right: Tensor) -> Tensor:
        """Solve for x (P, k); NaN where a matrix is singular."""
        solved = torch.cholesky_solve(right[:, :, None], self.factors)[:, :, 0]
        return torch.where((self.info == 0)[:, None], solved, torch.nan)


def _line_search(
    model: _Model,
    multipliers: Tensor,
    pulled: Tensor,
    newton: Tensor,
    along: Tensor,
    before: Tensor,
) -> Tensor:
    """Return the best share of the Newton step, shape (P,): 1 almost always.

    Along the step the slope of the convex function is piecewise linear. It rises while an input, or
    the change of an interval, is between its bounds: from where it enters to where it leaves.
    """
    ends = [
        _between(pulled, along, model.step_low, model.step_high),
        _between(
            model.nearest - model.slack * multipliers,
            -model.slack * newton,
            model.change_low,
            model.change_high,
        ),
    ]
    enter, leave = (torch.cat(pair, 1) for pair in zip(*ends, strict=True))
    rise = torch.cat((along.square() * model.curvature, newton.square() * model.slack), 1)
    damped = (model.damping * newton.square()).sum(1)
    after = before + damped + (rise * (leave - enter)).sum(1)
    shares = torch.ones_like(before)
    steep = (after > MIN_SLOPE * before.abs()).nonzero()[:, 0]
    if len(steep) > 0:
        shares[steep] = _root(before[steep], damped[steep], enter[steep], leave[steep], rise[steep])
    return shares


def _between(begin: Tensor, along: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Return the shares of the way, in [0, 1], where values enter and leave the interval."""
    moving = along != 0
    safe = torch.where(moving, along, 1.0)
    at_low, at_high = (low - begin) / safe, (high - begin) / safe
    enter = torch.minimum(at_low, at_high).clamp(0, 1)
    leave = torch.maximum(at_low, at_high).clamp(0, 1)
    return torch.where(moving, enter, 0.0), torch.where(moving, leave, 0.0)


def _root(before: Tensor, damped: Tensor, enter: Tensor, leave: Tensor, rise: Tensor) -> Tensor:
    """Return where the slope, which is negative at 0 and positive at 1, is 0; shape (P,)."""
    shares, order = torch.cat((enter, leave), 1).sort(dim=1)
    rises = torch.cat((rise, -rise), 1).gather(1, order).cumsum(1) + damped[:, None]
    ends = torch.cat((shares[:, 1:], torch.ones_like(shares[:, :1])), 1)
    first = before + damped * shares[:, 0]
    slopes = first[:, None] + (rises * (ends - shares)).cumsum(1)
    # The piece that ends at the first slope that is not negative.
    piece = (slopes >= 0).float().argmax(1, keepdim=True)
    end, slope, steepness = (part.gather(1, piece)[:, 0] for part in (ends, slopes, rises))
    root = torch.where(first >= 0, -before / damped, end - slope / steepness)
    return root.clamp(0, 1)
