import numpy as np
import pytest
import torch
from scipy.optimize import lsq_linear, minimize

from lightning_invert.solver.bounded_step import bounded_step
from tests.solver.maps import uniform

P = 25


def random_problem(m, n, seed=0, far=3.0):
    jacobian, change = uniform(P, m, n, seed=seed) * 2, far * uniform(P, m, seed=seed + 1)
    x = (uniform(P, n, seed=seed + 2) + 1) / 2
    x[:, 0] = 0  # at a bound
    return jacobian, change, (-x, 1 - x)


def stepped(jacobian, low, box, damping, high=None, **options):
    high = low if high is None else high
    return bounded_step(jacobian, (low, high), box, torch.full((P,), damping).double(), **options)


def objective(step, jacobian, change, damping, slope=None, curvature=1.0):
    low, high = change
    outcome = jacobian @ step
    missing = outcome - np.clip(outcome, low, high)
    linear = 0.0 if slope is None else slope @ step
    square = np.square(jacobian).sum() / len(jacobian) / curvature
    return linear + curvature / 2 * step @ step + missing @ missing / (2 * damping * square)


@pytest.mark.parametrize("damping", [1e-2, 1e-6])
@pytest.mark.parametrize(("m", "n"), [(4, 7), (4, 4), (7, 3), (1, 5), (5, 1)])
def test_equals_scipy_s_bounded_linear_least_squares(m, n, damping):
    jacobian, change, box = random_problem(m, n)
    step = stepped(jacobian, change, box, damping).step
    for j, z, low, high, d in zip(jacobian, change, *box, step, strict=True):
        root = (damping * j.square().sum() / m).sqrt() * torch.eye(n)
        a, b = torch.cat((j, root)).numpy(), torch.cat((z, torch.zeros(n))).numpy()
        reference = lsq_linear(a, b, (low.numpy(), high.numpy()), method="bvls", tol=1e-14).x
        np.testing.assert_allclose(d.numpy(), reference, atol=1e-6)


@pytest.mark.parametrize(("m", "n"), [(4, 7), (3, 3), (5, 2)])
def test_reaches_intervals_as_nearly_as_an_interior_point_method(m, n):
    jacobian, low, box = random_problem(m, n)
    high = low + 1.0
    damping = 1e-3
    found = stepped(jacobian, low, box, damping, high).step
    for i in range(P):
        j, change = jacobian[i].numpy(), (low[i].numpy(), high[i].numpy())
        reference = minimize(
            objective,
            np.zeros(n),
            (j, change, damping),
            bounds=list(zip(box[0][i].numpy(), box[1][i].numpy(), strict=True)),
            method="L-BFGS-B",
            options={"ftol": 1e-14, "gtol": 1e-10, "maxiter": 2000},
        ).fun
        # The weight that keeps the change of an interval small costs up to a thousandth.
        assert objective(found[i].numpy(), j, change, damping) <= reference * 1.002 + 1e-6


def test_with_a_slope_is_the_optimum_of_the_quadratic_program():
    m, n = 3, 6
    jacobian, change, box = random_problem(m, n, far=0.2)
    slope, curvature = uniform(P, n, seed=7), 2.0
    curvatures = torch.full((P,), curvature).double()
    found = stepped(jacobian, change, box, 1e-10, slope=slope, curvature=curvatures).step
    for i in range(P):
        j, z, c = jacobian[i].numpy(), change[i].numpy(), slope[i].numpy()
        hit = {"type": "eq", "fun": lambda d, j=j, z=z: j @ d - z, "jac": lambda d, j=j: j}
        reference = minimize(
            lambda d, c=c: (c @ d + curvature / 2 * d @ d, c + curvature * d),
            np.zeros(n),
            jac=True,
            bounds=list(zip(box[0][i].numpy(), box[1][i].numpy(), strict=True)),
            constraints=hit,
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 500},
        )
        if reference.success:
            np.testing.assert_allclose(found[i].numpy(), reference.x, atol=1e-5)


def test_is_the_minimum_norm_step_where_no_bound_is_near():
    jacobian, change, _ = random_problem(3, 8)
    wide = torch.full((P, 8), 1e6).double()
    step = stepped(jacobian, change, (-wide, wide), 1e-12).step
    expected = (torch.linalg.pinv(jacobian) @ change[:, :, None])[:, :, 0]
    torch.testing.assert_close(step, expected, rtol=1e-7, atol=1e-9)


def test_an_output_without_a_target_changes_nothing():
    jacobian, change, box = random_problem(3, 5)
    alone = stepped(jacobian, change, box, 1e-9).step
    more = torch.cat((jacobian, torch.zeros(P, 1, 5).double()), 1)
    inf = torch.full((P, 1), torch.inf).double()
    low, high = torch.cat((change, -inf), 1), torch.cat((change, inf), 1)
    torch.testing.assert_close(stepped(more, low, box, 1e-9, high).step, alone)


def test_a_fixed_input_stays_and_a_singular_jacobian_moves_nothing():
    jacobian, change, (low, high) = random_problem(3, 5)
    low[:, 2] = high[:, 2] = 0
    assert (stepped(jacobian, change, (low, high), 1e-2).step[:, 2] == 0).all()
    assert (stepped(0 * jacobian, change, (low, high), 1e-2).step == 0).all()


def test_a_point_that_is_not_finite_harms_no_other():
    jacobian, change, box = random_problem(3, 5)
    good = stepped(jacobian, change, box, 1e-2).step
    jacobian[4] = torch.nan
    found = stepped(jacobian, change, box, 1e-2).step
    others = torch.arange(P) != 4
    torch.testing.assert_close(found[others], good[others])
