import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.optimize import minimize_scalar
from scipy.special import lambertw

from lightning_invert.problems import Ballistics

PROBLEM = Ballistics()
GRAVITY, DRAG, MASS = 9.81, 0.25, 0.2


def exact(x):
    """The root in closed form, by the Lambert function."""
    start, height, angle, speed = np.asarray(x).T
    rate, v = DRAG / MASS, 15 * speed
    terminal = GRAVITY / rate
    reach = (terminal + v * np.sin(angle)) / rate
    latest = (height + reach) / terminal
    t = latest + lambertw(-reach * rate / terminal * np.exp(-rate * latest)).real / rate
    return start - v * np.cos(angle) / rate * np.expm1(-rate * t)


def integrated(point):
    """The impact by integrating the equation of motion."""
    start, height, angle, speed = point
    v = 15 * speed * np.array([np.cos(angle), np.sin(angle)])

    def motion(_, state):
        velocity = state[2:]
        return [*velocity, *(-DRAG / MASS * velocity - [0.0, GRAVITY])]

    def ground(_, state):
        return state[1]

    ground.terminal, ground.direction = True, -1
    start_state = [start, height, *v]
    path = solve_ivp(motion, (0, 60), start_state, events=ground, rtol=1e-11, atol=1e-12)
    return path.y_events[0][0][0]


def impact(*point):
    return PROBLEM.forward(torch.tensor([point], dtype=torch.float64)).item()


def test_the_impact_is_the_closed_form():
    x = PROBLEM.sample(50_000, seed=0)
    np.testing.assert_allclose(PROBLEM.forward(x)[:, 0], exact(x), rtol=1e-12, atol=1e-12)


def test_the_impact_is_that_of_the_integrated_motion():
    x = PROBLEM.sample(20, seed=1)
    expected = [integrated(point) for point in x.tolist()]
    np.testing.assert_allclose(PROBLEM.forward(x)[:, 0], expected, rtol=1e-8)


@pytest.mark.parametrize(
    "point",
    [
        (0.0, 2.0, -1.2, 1.4),  # down, and faster than it would ever fall
        (0.0, 2.0, -0.5, 0.3),
        (0.5, 0.0, 0.8, 1.0),  # from the ground: the later of two roots
        (0.0, 1.5, 1.5707, 1.0),
        (0.0, 3.0, 0.4, 0.0),  # let fall
        (0.0, 40.0, 0.4, 3.0),
        (0.0, -1.0, 1.0, 1.0),  # from a pit, over its edge
        (0.0, 1e-9, 0.1, 1e-3),
    ],
)
def test_the_impact_is_right_beyond_the_box(point):
    assert impact(*point) == pytest.approx(exact([point]).item(), rel=1e-9, abs=1e-9)
    assert PROBLEM.jacobian(torch.tensor([point])).isfinite().all()


def test_what_never_reaches_the_ground_has_no_outcome_and_no_gradient():
    pit = torch.tensor([[0.0, -5.0, 0.8, 0.2], [0.0, -0.1, -0.5, 1.0], [0.0, 1.5, 0.8, 1.0]])
    assert PROBLEM.forward(pit).isnan()[:, 0].tolist() == [True, True, False]
    missing = PROBLEM.jacobian(pit).isnan().all(2)[:, 0]
    assert missing.tolist() == [True, True, False]


@pytest.mark.parametrize("speed", [0.0, 1.0])
def test_what_lies_on_the_ground_stays_there(speed):
    lies = torch.tensor([[0.3, 0.0, 0.0, speed]], dtype=torch.float64)
    assert PROBLEM.forward(lies).item() == pytest.approx(0.3, abs=1e-6)
    if speed == 0.0:
        assert PROBLEM.forward(lies).item() == 0.3


def test_the_start_moves_the_impact_one_to_one_so_that_the_rank_never_drops():
    jacobian = PROBLEM.jacobian(PROBLEM.sample(5000, seed=2))
    torch.testing.assert_close(jacobian[:, 0, 0], torch.ones(5000).double())
    assert torch.linalg.vector_norm(jacobian, dim=(1, 2)).min() >= 1


def test_the_angle_of_the_farthest_throw_has_a_flat_and_a_steep_twin_on_either_side():
    found = minimize_scalar(
        lambda angle: -exact([[0.0, 1.5, angle, 1.0]]).item(), bounds=(0.2, 1.4), method="bounded",
        options={"xatol": 1e-10},
    )  # fmt: skip
    best = torch.tensor([[0.0, 1.5, found.x, 1.0]], dtype=torch.float64)
    assert PROBLEM.jacobian(best)[0, 0, 2].abs() < 1e-6
    flat = impact(0.0, 1.5, found.x - 0.2, 1.0)
    steep = [impact(0.0, 1.5, found.x + more, 1.0) for more in (0.1, 0.3)]
    assert steep[0] > flat > steep[1]


def test_points_are_spread_as_the_reference_s():
    start, height, angle, speed = PROBLEM.sample(50_000, seed=3).unbind(1)
    assert start.mean().abs() < 0.01
    assert start.std().item() == pytest.approx(0.5, rel=0.02)
    assert height.mean().item() == pytest.approx(1.5, rel=0.01)
    assert height.min() == 0.0
    assert np.radians(9) <= angle.min()
    assert angle.max() <= np.radians(81)
    assert angle.mean().item() == pytest.approx(np.radians(45), rel=0.01)
    metres = 15 * speed
    torch.testing.assert_close(metres, metres.round())
    assert metres.mean().item() == pytest.approx(15, rel=0.01)
    assert metres.var().item() == pytest.approx(15, rel=0.03)
