"""A throw with air drag: from start, angle and speed to the point of impact."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lightning_invert.problems.problem import Problem
from lightning_invert.variables import Variable

__all__ = ["Ballistics"]

GRAVITY, DRAG, MASS = 9.81, 0.25, 0.2  # m/s², kg/s, kg
RATE = DRAG / MASS  # 1/s: at which drag consumes speed
TERMINAL = GRAVITY / RATE  # m/s: of a long fall
UNIT_SPEED = 15.0  # m/s: in which the speed is given

MAX_NEWTON_STEPS = 60
"""Seven are enough for a throw. Each halves the error of one that hardly leaves the ground."""


class Ballistics(Problem):
    r"""Throw with air drag and find the point of impact, 4 -> 1.

    With drag proportional to speed, :math:`v_x = v \cos \theta`, :math:`v_y = v \sin \theta` and
    :math:`e(t) = \exp(-k t / m) - 1`,

    .. math:: x(t) = x_0 - v_x \frac{m}{k} e(t), \quad
        y(t) = y_0 - \frac{m}{k^2} \bigl( (g m + v_y k)\, e(t) + g k t \bigr),

    and the outcome is x(t*) at the last root of y, with g = 9.81, k = 0.25, m = 0.2. From
    J. Kruse, L. Ardizzone, C. Rother and U. Köthe, *Benchmarking invertible architectures on
    inverse problems*, 2019, with the numbers of S. Ren, W. Padilla and J. Malof, NeurIPS 2020.
    They look for t* on a grid; here Newton's method finds it to rounding, with derivatives up to the third
    order. Prior: :math:`x_0 \sim N(0, 1/2)`, :math:`y_0 \sim \max(N(3/2, 1/2), 0)`,
    :math:`\theta \sim U(9°, 81°)`, and v from a Poisson distribution of mean 15 m/s, given as v / 15.
    Bounds: those in which Ren et al. search, except that the angle has its whole range; theirs cuts off
    an eighth of the prior.

    A map with one output has :math:`\kappa = 1`, and :math:`x_0` moves the outcome one to one: the rank
    never drops. The difficulty lies elsewhere. At the angle of the farthest throw the outcome does not
    depend on the angle, and a flat and a steep throw on either side of it go equally far.

    A throw from below the ground that never reaches it has no outcome: it is NaN, and so is its
    gradient. A throw that starts on the ground without leaving it (:math:`y_0 = 0` and
    :math:`v_y = 0`) stays there. Its derivative with respect to :math:`y_0` does not exist, although a
    finite number is returned.

    Example:
        >>> throw = torch.tensor([[0.0, 1.5, 0.7854, 1.0]])  # 15 m/s at 45°
        >>> round(Ballistics().forward(throw).item(), 2)
        7.69
    """

    name = "ballistics"
    inputs = (
        Variable("start", "m", -1.0, 1.0),
        Variable("start_height", "m", 0.5, 2.5),
        Variable("angle", "rad", math.radians(9.0), math.radians(81.0)),
        Variable("speed", "15 m/s", 0.46, 1.46),
    )
    outputs = (Variable("impact", "m"),)

    def draw(self, num_points: int, generator: torch.Generator) -> Tensor:
        """Draw normal starts, uniform angles and whole metres per second."""
        normal = torch.randn(num_points, 2, generator=generator, dtype=torch.float64)
        start, start_height = 0.5 * normal[:, 0], (1.5 + 0.5 * normal[:, 1]).clamp(min=0.0)
        unit = torch.rand(num_points, generator=generator, dtype=torch.float64)
        angle = torch.deg2rad(9.0 + 72.0 * unit)
        mean = torch.full((num_points,), UNIT_SPEED, dtype=torch.float64)
        speed = torch.poisson(mean, generator=generator) / UNIT_SPEED
        return torch.stack([start, start_height, angle, speed], dim=1)

    def outcomes(self, x: Tensor) -> Tensor:
        """Find the point of impact."""
        start, start_height, angle, speed = x.unbind(1)
        v = UNIT_SPEED * speed
        climb = v * angle.sin()
        t = _impact(start_height.detach(), climb.detach())
        # Newton steps at the root move nothing but carry its derivatives: one step the first, and
        # two steps those up to the third, as the error squares with each step.
        for _ in range(2):
            t = t - _newton(t, start_height, climb)
        impact = start - v * angle.cos() * torch.expm1(-RATE * t) / RATE
        peak = _height(torch.log1p(climb.clamp(min=0.0) / TERMINAL) / RATE, start_height, climb)
        missed = (start_height < 0.0) & (peak < 0.0)
        return (impact * torch.where(missed, math.nan, 1.0))[:, None]


def _height(t: Tensor, start_height: Tensor, climb: Tensor) -> Tensor:
    return start_height - (TERMINAL + climb) * torch.expm1(-RATE * t) / RATE - TERMINAL * t


def _newton(t: Tensor, start_height: Tensor, climb: Tensor) -> Tensor:
    rising = (TERMINAL + climb) * torch.exp(-RATE * t) - TERMINAL
    # A throw that does not fall is at its peak: there is no step to take.
    return _height(t, start_height, climb) / torch.where(rising < 0.0, rising, -math.inf)


def _impact(start_height: Tensor, climb: Tensor) -> Tensor:
    """Return the last root of the height, in s, approached from one side without overshooting."""
    # A throw that slows down falls along a concave curve and is met from after its end; one that
    # starts faster than it would ever fall, along a convex one, from its beginning.
    reach = (TERMINAL + climb) / RATE
    t = torch.where(reach > 0.0, (start_height + reach) / TERMINAL, 0.0)
    for _ in range(MAX_NEWTON_STEPS):
        t = t - _newton(t, start_height, climb)
    return t
