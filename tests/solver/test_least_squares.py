import numpy as np
import pytest
import torch
from scipy.optimize import least_squares, lsq_linear

from lightning_invert import batched_jacobian, solve
from lightning_invert.solver.least_squares import approach
from lightning_invert.solver.solution import Result
from lightning_invert.variables import Bounds
from tests.solver.maps import linear_model, model_of, network, posed, query_of, uniform

TOLERANCE = 1e-3


def approached(model, start, y, **options):
    return approach(query_of(model, start, y, **options), start)


def scipy_distances(net, start, y, spread):
    """What SciPy's trust region comes to from the same starts, with the exact Jacobian."""
    found = []
    for begin, target in zip(start, y, strict=True):

        def missing(x, target=target):
            with torch.no_grad():
                return ((net(torch.tensor(x)[None])[0] - target) / spread).numpy()

        def slope(x):
            jacobian = batched_jacobian(net, torch.tensor(x)[None])[0]
            return (jacobian / spread[:, None]).numpy()

        cost = least_squares(missing, begin.numpy(), slope, bounds=(-1, 1)).cost
        found.append((2 * cost) ** 0.5)
    return np.array(found)


PLACEMENTS = [(7, 4, 2.0), (4, 4, 2.0), (3, 5, 2.0), (2, 2, 3.0), (9, 9, 1.5)]


@pytest.mark.slow
def test_solves_no_smaller_share_than_scipy_from_the_same_starts():
    ours, theirs = [], []
    for n, m, gain in PLACEMENTS:
        net, model, start, y = posed(n, m, 20, gain=gain)
        spread = model.output_spread
        found = solve(net, y, bounds=(-1.0, [1.0] * n), starts=start, scale=(1.0, spread))
        assert (found.inputs.abs() <= 1).all()
        ours += found.converged.tolist()
        theirs += (scipy_distances(net, start, y, spread) <= TOLERANCE).tolist()
    assert sum(ours) >= sum(theirs)


def test_where_the_target_is_out_of_reach_the_distance_is_the_least_there_is():
    a = uniform(4, 6, seed=0)
    start, y = uniform(30, 6, seed=1), 5 * uniform(30, 4, seed=2)
    model = linear_model(a)
    found = approached(model, start, y, tolerance=1e-9, max_steps=100)
    for target, distance in zip(y, found.residual, strict=True):
        best = lsq_linear(a.numpy(), target.numpy(), (-1, 1), method="bvls")
        expected = (2 * best.cost) ** 0.5 / model.output_spread[0].item()
        assert distance.item() == pytest.approx(expected, rel=1e-4, abs=1e-9)
    assert (found.result == Result.OUT_OF_REACH).all()


def test_from_where_no_direction_is_said_to_lead_nearer_scipy_finds_none():
    net, model, start, y = posed(7, 4, 40, gain=2.0, reach=1.5)
    found = approached(model, start, y, max_steps=100)
    stuck = found.residual > TOLERANCE
    stationary = found.result == Result.OUT_OF_REACH
    assert stationary[stuck].float().mean() > 0.9
    rows = (stuck & stationary).nonzero()[:, 0]
    on = scipy_distances(net, found.inputs[rows], y[rows], model.output_spread)
    assert (on >= 0.99 * found.residual[rows].numpy()).mean() > 0.95


@pytest.mark.parametrize(("n", "m"), [(8, 3), (3, 3), (2, 5)])
def test_of_a_linear_map_is_the_solution_nearest_to_the_start(n, m):
    a = uniform(m, n, seed=0)
    start, y = uniform(20, n, seed=1), uniform(20, n, seed=2) @ a.T
    wide = Bounds(torch.full_like(start, -torch.inf), torch.full_like(start, torch.inf))
    found = approached(linear_model(a), start, y, bounds=wide, tolerance=1e-11)
    nearest = start + (y - start @ a.T) @ torch.linalg.pinv(a).T
    torch.testing.assert_close(found.inputs, nearest, rtol=1e-6, atol=1e-8)
    assert (found.residual <= 1e-11).all()


def test_a_second_try_with_care_reaches_targets_that_the_first_missed():
    net, model, start, y = posed(4, 4, 60, gain=2.0)
    once = approached(model, start, y)
    scale = (1.0, model.output_spread)
    found = solve(net, y, bounds=(-1.0, [1.0] * 4), starts=start, scale=scale, tolerance=TOLERANCE)
    assert (found.residual <= once.residual + 1e-12).all()
    assert found.converged.sum() > (once.residual <= TOLERANCE).sum()


def test_never_ends_farther_away_than_it_began_and_says_its_own_distance():
    net = network(5, 3, gain=4.0)
    start, y = uniform(50, 5, seed=1), 3 * uniform(50, 3, seed=2)
    model = model_of(net, 5, y)
    found = approached(model, start, y, max_steps=7)
    with torch.no_grad():
        before = ((net(start) - y) / model.output_spread).norm(dim=1)
        after = ((net(found.inputs) - y) / model.output_spread).norm(dim=1)
    assert (found.residual <= before).all()
    torch.testing.assert_close(found.residual, after)
    assert found.steps.max() <= 7


def test_where_the_function_breaks_down_other_points_are_solved_all_the_same():
    def broken(x):
        return torch.where(x[:, :1] > 0.9, torch.nan, x * 2)

    start = torch.tensor([[0.0, 0.0], [0.95, 0.0], [torch.nan, 0.0], [0.5, 0.5]]).double()
    y = torch.tensor([[1.0, 1.0]]).double().expand(4, 2)
    model = model_of(broken, 2, torch.tensor([[-1.0, -1.0], [1.0, 1.0]]).double())
    found = approached(model, start, y, tolerance=1e-6)
    assert (found.residual <= 1e-6).tolist() == [True, False, False, True]
    assert found.residual[1:3].isinf().all()
    assert (found.result[1:3] == Result.NOT_FINITE).all()
