import math

import numpy as np
import torch

from lightning_invert import condition_number, numerical_rank, singular_values
from lightning_invert.problems import Sine

PROBLEM = Sine()
EXTREMA = torch.cartesian_prod(
    torch.tensor([-5, -3, -1, 1, 3, 5]).double() / 6, torch.arange(-3, 4).double() / 3
)


def test_outcomes_are_those_of_the_reference():
    x = PROBLEM.sample(500, seed=0)
    x1, x2 = x.numpy().T
    expected = np.sin(3 * np.pi * x1) + np.cos(3 * np.pi * x2)
    np.testing.assert_allclose(PROBLEM.forward(x)[:, 0], expected, rtol=1e-14, atol=1e-14)


def test_the_gradient_is_the_closed_form():
    x = PROBLEM.sample(500, seed=0)
    phase = 3 * math.pi * x
    expected = 3 * math.pi * torch.stack([phase[:, 0].cos(), -phase[:, 1].sin()], dim=1)
    torch.testing.assert_close(PROBLEM.jacobian(x)[:, 0], expected)


def test_the_rank_drops_at_the_forty_two_extrema_of_both_waves():
    assert len(EXTREMA) == 42
    sigma = singular_values(PROBLEM.jacobian(EXTREMA))
    assert (numerical_rank(sigma) == 0).all()
    assert condition_number(sigma).isinf().all()


def test_the_rank_drops_nowhere_else():
    axis = torch.linspace(-1, 1, 601, dtype=torch.float64)
    points = torch.cartesian_prod(axis, axis)
    distance = torch.cdist(points, EXTREMA).min(1).values
    sigma = singular_values(PROBLEM.jacobian(points[distance > 0.01]))
    assert sigma.min() > 0.8  # near one, 9 pi² times the distance
    assert (condition_number(sigma) == 1).all()


def test_points_fill_the_square():
    x = PROBLEM.sample(20_000, seed=1)
    assert x.abs().max() <= 1
    torch.testing.assert_close(x.var(0), torch.full((2,), 1 / 3).double(), rtol=0.03, atol=0)
