import math
from itertools import product

import numpy as np
import pytest
import torch

from lightning_invert import condition_number, numerical_rank, singular_values
from lightning_invert.problems import RobotArm

PROBLEM = RobotArm()


def test_the_hand_is_where_complex_numbers_put_it():
    x = PROBLEM.sample(500, seed=0)
    height, t1, t2, t3 = x.numpy().T
    hand = 1j * height
    for length, angle in ((0.5, t1), (0.5, t2 - t1), (1.0, t3 - t2 - t1)):
        hand = hand + length * np.exp(1j * angle)
    np.testing.assert_allclose(
        PROBLEM.forward(x), np.stack([hand.real, hand.imag], 1), rtol=1e-13, atol=1e-13
    )


def test_points_are_spread_as_the_reference_s():
    x = PROBLEM.sample(50_000, seed=1)
    torch.testing.assert_close(x.mean(0), torch.zeros(4).double(), rtol=0, atol=0.01)
    expected = torch.tensor([0.25, 0.5, 0.5, 0.5]).double()
    torch.testing.assert_close(x.std(0), expected, rtol=0.02, atol=0)
    low, high = PROBLEM.bounds
    outside = ((x < low) | (x > high)).any(1).double().mean()
    assert outside == pytest.approx(0.064, abs=0.005)  # 1 - (1 - 2 Phi(-2.4))^4


@pytest.mark.parametrize("segments", list(product([0.0, math.pi], repeat=3)))
@pytest.mark.parametrize("height", [0.0, 0.4])
def test_the_rank_drops_where_all_segments_are_level(segments, height):
    a1, a2, a3 = segments
    t1, t2 = a1, a2 + a1
    level = torch.tensor([[height, t1, t2, a3 + t2 + t1]]).double()
    assert numerical_rank(singular_values(PROBLEM.jacobian(level))) == 1


def test_the_rank_is_full_elsewhere_stretched_aslant_too():
    slant = 0.3  # all segments in line, and not level
    aslant = torch.tensor([[0.0, slant, 2 * slant, 4 * slant]]).double()
    points = torch.cat([PROBLEM.sample(5000, seed=2), aslant])
    sigma = singular_values(PROBLEM.jacobian(points))
    assert (numerical_rank(sigma) == 2).all()
    assert condition_number(sigma[-1:]) < 10


def test_the_condition_number_grows_as_one_over_the_distance_from_the_stretched_arm():
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(20, 4, generator=generator, dtype=torch.float64)
    near, nearer = (
        condition_number(singular_values(PROBLEM.jacobian(distance * direction)))
        for distance in (1e-3, 1e-5)
    )
    torch.testing.assert_close(nearer / near, torch.full((20,), 100.0).double(), rtol=0.01, atol=0)
