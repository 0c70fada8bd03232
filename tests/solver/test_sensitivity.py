import numpy as np
import pytest
import torch
from scipy.linalg import null_space

from lightning_invert import Constraint, Linear, Proposer, Variable
from lightning_invert.proposals.evidence import Evidence
from lightning_invert.solver.model import Model
from lightning_invert.solver.query import Query
from lightning_invert.solver.sensitivity import sensitivity
from lightning_invert.solver.targets import Targets
from lightning_invert.variables import Bounds
from tests.jacobians.reference import jacobians_by_autograd
from tests.solver.maps import network, query_of, uniform


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
    ends = torch.where(torch.ones(m).bool() if wanted is None else wanted, 0.0, torch.inf)
    targets = Targets(-ends.double().expand(count, m), ends.double().expand(count, m))
    width = torch.ones(n).double() if free is None else free.double()
    bounds = Bounds(points - width, points + width)
    return sensitivity(Query(Model(function, m, of_x, of_y), targets, bounds), points).numpy()


def pinv_rows(matrices):
    return np.linalg.norm(np.linalg.pinv(np.asarray(matrices)), axis=2)


@pytest.mark.parametrize(
    ("m", "n", "moving", "wanted"),
    [
        *((m, n, range(n), range(m)) for m, n in ((1, 4), (3, 3), (4, 7), (2, 5), (3, 2))),
        (2, 4, [0, 2, 3], [0, 1]),  # a fixed input does not move, the others move for it
        (3, 4, [0, 1], [0, 1, 2]),  # fewer inputs than outputs follow as far as they go
        (3, 4, [0, 1, 2, 3], [0, 2]),  # an output of which nothing is wanted may move
    ],
)
def test_it_is_the_length_of_the_rows_of_the_pseudoinverse(m, n, moving, wanted):
    jacobians, expected = uniform(50, m, n, seed=m), np.zeros((50, n))
    expected[:, moving] = pinv_rows(jacobians[:, wanted][:, :, moving])
    free, counted = (torch.zeros(size, dtype=torch.bool) for size in (n, m))
    free[moving], counted[wanted] = True, True
    found = of(jacobians, counted, free)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_it_is_that_of_a_network_by_autograd():
    net, x = network(5, 3), uniform(20, 5, seed=1)
    model = Model(net, 3, torch.ones(5).double(), torch.ones(3).double())
    found = sensitivity(query_of(model, x, net(x).detach()), x)
    np.testing.assert_allclose(found, pinv_rows(jacobians_by_autograd(net, x)), rtol=1e-9)


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


@pytest.mark.parametrize("flat", [[[1.0, 2.0, 0.0], [2.0, 4.0, 0.0]], [[0.0] * 3] * 2])
def test_it_is_infinite_for_what_may_move_where_the_jacobian_is_singular(flat):
    free = torch.tensor([True, False, True])
    np.testing.assert_array_equal(
        of(torch.tensor([flat]).double(), free=free), [[np.inf, 0, np.inf]]
    )


def test_it_is_nan_where_the_jacobian_is_not_finite():
    jacobians = uniform(3, 2, 3, seed=6)
    jacobians[1, 0, 0] = torch.nan
    found = of(jacobians)
    assert np.isnan(found[1]).all()
    np.testing.assert_allclose(found[[0, 2]], pinv_rows(jacobians[[0, 2]]), rtol=1e-9)


EQUATIONS = {
    "linear": ({"constraints": Linear({0: 1, 1: 2, 3: -1}, 0.1, 0.1)}, lambda x: [[1, 2, 0, -1, 0]]),
    "sphere": (
        {"constraints": Constraint(lambda x: x.square().sum(1), 1, 1)}, lambda x: [2 * x],
    ),
    "both, one of them twice, beside a fixed input": (
        {
            "constraints": [
                Linear({0: 1, 1: 2}, 0.1, 0.1), Linear({0: 2, 1: 4}, 0.2, 0.2),
                Constraint(lambda x: x.square().sum(1), 1, 1),
            ],
            "fixed": {4: 0.25},
        },
        lambda x: [[1, 2, 0, 0, 0], 2 * x, [0, 0, 0, 0, 1]],
    ),
    "a fixed input": ({"constraints": Linear({2: 3}, 0.6, 0.6)}, lambda x: [[0, 0, 1, 0, 0]]),
    "at an end, from which it may move back": ({"constraints": Linear({0: 1}, high=-0.9)}, lambda x: []),
}  # fmt: skip


@pytest.mark.parametrize("kind", EQUATIONS)
def test_what_an_equation_holds_does_not_move_and_does_not_count(kind):
    """Against the singular values and pseudoinverses on the null space of the normals, by NumPy."""
    given, normals_at = EQUATIONS[kind]
    net, x, given = network(5, 2, gain=1.5), uniform(300, 5, seed=1), dict(given)
    with torch.no_grad():
        known = x, net(x)
    proposer = Proposer(
        net,
        evidence=Evidence.of(train=known, val=known),
        inputs=[Variable(f"x{i}", "", -1, 1) for i in range(5)],
        scale=(torch.ones(5), torch.ones(2)),
    )
    found = proposer.propose(known[1][:20], num_starts=2, **given)
    jacobians = jacobians_by_autograd(net, found.inputs)
    for row, (x, jacobian) in enumerate(zip(found.inputs.numpy(), jacobians, strict=True)):
        normals = np.array(normals_at(x), dtype=float).reshape(-1, 5)
        basis = null_space(normals) if len(normals) else np.eye(5)
        held = np.asarray(jacobian) @ basis
        np.testing.assert_allclose(found.condition[row], np.linalg.cond(held), rtol=1e-6)
        expected = np.linalg.norm(basis @ np.linalg.pinv(held), axis=1)
        np.testing.assert_allclose(found.sensitivity[row], expected, rtol=1e-6, atol=1e-9)
