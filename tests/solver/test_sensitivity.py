import numpy as np
import pytest
import torch

from lightning_invert.solver.model import Model
from lightning_invert.solver.sensitivity import sensitivity
from tests.solver.maps import network, uniform


def rows_of(matrices):
    """A map whose Jacobian at (k, 0, ...) is the k-th of the matrices, (N, m, n)."""

    def function(x):
        which = x[:, :1].detach().round().long()[:, 0]
        return (matrices[which] @ (x - x.detach())[:, :, None])[:, :, 0]

    points = torch.zeros(len(matrices), matrices.shape[2], dtype=torch.float64)
    points[:, 0] = torch.arange(len(matrices))
    return function, points


def of(matrices, wanted=None, free=None, units=None):
    function, points = rows_of(matrices)
    count, m, n = matrices.shape
    of_x, of_y = units or (torch.ones(n).double(), torch.ones(m).double())
    wanted = torch.ones(count, m, dtype=torch.bool) if wanted is None else wanted.expand(count, m)
    free = torch.ones(count, n, dtype=torch.bool) if free is None else free.expand(count, n)
    return sensitivity(Model(function, m, of_x, of_y), points, wanted, free).numpy()


def pinv_rows(matrices):
    return np.linalg.norm(np.linalg.pinv(np.asarray(matrices)), axis=2)


@pytest.mark.parametrize(("m", "n"), [(1, 4), (3, 3), (4, 7), (2, 5)])
def test_it_is_the_length_of_the_rows_of_the_pseudoinverse(m, n):
    jacobians = uniform(50, m, n, seed=m)
    np.testing.assert_allclose(of(jacobians), pinv_rows(jacobians), rtol=1e-9)


def test_it_is_that_of_a_network_by_autograd():
    net, x = network(5, 3, dtype=torch.float64), uniform(20, 5, seed=1)
    jacobians = torch.stack([torch.autograd.functional.jacobian(net, row) for row in x])
    ones = torch.ones(5).double(), torch.ones(3).double()
    found = sensitivity(Model(net, 3, *ones), x, torch.ones(20, 3).bool(), torch.ones(20, 5).bool())
    np.testing.assert_allclose(found, pinv_rows(jacobians), rtol=1e-9)


def test_no_change_of_the_target_of_length_one_moves_an_input_farther():
    jacobian = uniform(1, 3, 5, seed=0)
    limit = of(jacobian)[0]
    changes = uniform(20_000, 3, seed=1).numpy()
    changes /= np.linalg.norm(changes, axis=1, keepdims=True)
    moves = np.abs(changes @ np.linalg.pinv(jacobian[0].numpy()).T)
    assert (moves <= limit * (1 + 1e-9)).all()
    np.testing.assert_allclose(moves.max(0), limit, rtol=0.01)


def test_it_is_in_the_inputs_units_for_a_change_of_one_unit_of_the_outputs():
    jacobian = uniform(10, 2, 3, seed=2)
    units = torch.tensor([10.0, 1.0, 1e-3]).double(), torch.tensor([1e4, 2.0]).double()
    scaled = units[1].numpy()[:, None] ** -1 * jacobian.numpy() * units[0].numpy()
    np.testing.assert_allclose(
        of(jacobian, units=units), pinv_rows(scaled) * units[0].numpy(), rtol=1e-9
    )


def test_a_fixed_input_does_not_move_and_the_others_move_for_it():
    jacobian = uniform(10, 2, 4, seed=3)
    found = of(jacobian, free=torch.tensor([True, False, True, True]))
    assert (found[:, 1] == 0).all()
    np.testing.assert_allclose(found[:, [0, 2, 3]], pinv_rows(jacobian[:, :, [0, 2, 3]]), rtol=1e-9)


def test_outputs_of_which_nothing_is_wanted_need_not_keep_still():
    jacobian = uniform(10, 3, 4, seed=4)
    found = of(jacobian, wanted=torch.tensor([True, False, True]))
    np.testing.assert_allclose(found, pinv_rows(jacobian[:, [0, 2]]), rtol=1e-9)


@pytest.mark.parametrize("flat", [[[1.0, 2.0, 0.0], [2.0, 4.0, 0.0]], [[0.0] * 3] * 2])
def test_it_is_infinite_for_what_may_move_where_the_jacobian_is_singular(flat):
    free = torch.tensor([True, False, True])
    np.testing.assert_array_equal(
        of(torch.tensor([flat]).double(), free=free), [[np.inf, 0, np.inf]]
    )


def test_with_fewer_inputs_that_may_move_than_outputs_they_follow_as_far_as_they_go():
    jacobian = uniform(10, 3, 4, seed=5)
    np.testing.assert_allclose(of(jacobian[:, :, :2]), pinv_rows(jacobian[:, :, :2]), rtol=1e-9)
    found = of(jacobian, free=torch.tensor([True, True, False, False]))
    np.testing.assert_allclose(found[:, :2], pinv_rows(jacobian[:, :, :2]), rtol=1e-9)
    assert (found[:, 2:] == 0).all()


def test_it_is_nan_where_the_jacobian_is_not_finite():
    jacobians = uniform(3, 2, 3, seed=6)
    jacobians[1, 0, 0] = torch.nan
    found = of(jacobians)
    assert np.isnan(found[1]).all()
    np.testing.assert_allclose(found[[0, 2]], pinv_rows(jacobians[[0, 2]]), rtol=1e-9)
