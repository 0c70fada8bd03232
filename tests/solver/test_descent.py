from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, lsq_linear, minimize

from lightning_invert import Near, Plausible, batched_jacobian
from lightning_invert.arrays import Placement
from lightning_invert.solver.cost import read_cost
from lightning_invert.solver.descent import descend
from lightning_invert.solver.least_squares import approach
from lightning_invert.solver.targets import Targets
from lightning_invert.variables import as_variables
from tests.solver.maps import linear_model, model_of, network, posed, query_of, uniform

PLACEMENT = Placement(torch.float64, torch.device("cpu"))
TOLERANCE = 1e-3
VARIABLES = as_variables(None, "x", 99)
COSTS = {
    "prices": lambda n: uniform(n, seed=5),
    "near": lambda n: Near(torch.full((n,), 0.3).double()),
    "function": lambda n: lambda x: (uniform(n, seed=5) * x).exp().sum(1) + x[:, 0] * x[:, 1],
}


def reached(model, start, y, given, width=0.0):
    """Go to the targets, and from there to the least cost: the cost, and what was found."""
    query = query_of(model, start, y, width=width)
    variables = VARIABLES[: start.shape[1]]
    cost = read_cost(given, variables, model, Targets(y, y), PLACEMENT, query.bounds.around())
    near = approach(query, start)
    rows = (near.residual <= TOLERANCE).nonzero()[:, 0]
    part = replace(query, cost=cost).rows(rows)
    return cost, near.inputs[rows], rows, descend(part, near.rows(rows))


def slsqp(model, net, cost, begin, low, width):
    """The optimum that SciPy finds from the same point, or None."""
    spread, equal = model.output_spread, width == 0

    def missing(x):
        with torch.no_grad():
            y = net(torch.tensor(x)[None])[0]
        above = (y - low) / spread
        return (above if equal else torch.cat((above, width - above))).numpy()

    def slope(x):
        jacobian = batched_jacobian(net, torch.tensor(x)[None])[0] / spread[:, None]
        return (jacobian if equal else torch.cat((jacobian, -jacobian))).numpy()

    def price(x):
        value, gradient = cost(torch.tensor(x)[None])
        return value.item(), gradient[0].numpy()

    found = minimize(
        price,
        begin.numpy(),
        jac=True,
        bounds=[(-1, 1)] * len(begin),
        constraints={"type": "eq" if equal else "ineq", "fun": missing, "jac": slope},
        method="SLSQP",
        options={"maxiter": 200, "ftol": 1e-9},
    )
    worst = np.abs(missing(found.x)).max() if equal else -missing(found.x).min()
    return found.fun if found.success and worst < 1e-4 else None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "width"), [("prices", 0.0), ("near", 0.0), ("function", 0.0), ("prices", 0.3)]
)
def test_is_within_a_hundredth_of_slsqp_s_optimum_from_the_same_starts(kind, width):
    excess = []
    for n, m, gain in ((7, 4, 1.5), (5, 2, 2.0), (12, 4, 1.5)):
        net, model, start, y = posed(n, m, 12, gain=gain)
        cost, begin, rows, found = reached(model, start, y, COSTS[kind](n), width)
        assert (found.inputs.abs() <= 1).all()
        assert (found.residual <= TOLERANCE).all()
        for k, row in enumerate(rows.tolist()):
            best = slsqp(model, net, cost.rows(torch.tensor([row])), begin[k], y[row], width)
            if best is not None:
                excess.append((found.cost[k].item() - best) / (0.01 * abs(best) + 1e-3))
    assert len(excess) > 24
    dearer, cheaper = np.array(excess) > 1, np.array(excess) < -1
    # Where there are several optima, either may find the better.
    assert dearer.mean() <= cheaper.mean() + 0.05


def test_of_a_linear_map_is_the_optimum_of_the_linear_program():
    a, prices = uniform(3, 7, seed=0), uniform(7, seed=3)
    start, y = uniform(20, 7, seed=1), uniform(20, 7, seed=2) @ a.T
    _, _, rows, found = reached(linear_model(a), start, y, prices)
    assert len(rows) == 20
    assert found.optimal.all()
    for target, value in zip(y, found.cost, strict=True):
        best = linprog(prices.numpy(), A_eq=a.numpy(), b_eq=target.numpy(), bounds=(-1, 1))
        assert value.item() == pytest.approx(best.fun, abs=3e-3)


def test_near_a_reference_is_its_projection_onto_the_solutions():
    a, reference = 0.1 * uniform(2, 6, seed=0), 0.1 * uniform(25, 6, seed=4)
    start, y = 0.1 * uniform(25, 6, seed=1), 0.1 * uniform(25, 6, seed=2) @ a.T
    _, _, _, found = reached(linear_model(a, 0.02), start, y, Near(reference))
    projection = reference + (y - reference @ a.T) @ torch.linalg.pinv(a).T
    torch.testing.assert_close(found.inputs, projection, atol=2e-4, rtol=0)


def test_the_most_plausible_settings_of_a_linear_map_are_those_of_the_closed_form():
    a, points = 0.1 * uniform(2, 4, seed=0), 0.2 * uniform(300, 4, seed=5) @ uniform(4, 4, seed=6)
    start, y = 0.1 * uniform(25, 4, seed=1), 0.1 * uniform(25, 4, seed=2) @ a.T
    _, _, _, found = reached(linear_model(a, 0.02), start, y, Plausible(points))
    mean, covariance = points.mean(0), torch.cov(points.T)
    gain = covariance @ a.T @ torch.linalg.inv(a @ covariance @ a.T)
    torch.testing.assert_close(found.inputs, mean + (y - a @ mean) @ gain.T, atol=5e-4, rtol=0)
    away = found.inputs - mean
    squares = (away @ torch.linalg.inv(covariance) * away).sum(1)
    torch.testing.assert_close(found.cost, squares)


@pytest.mark.slow
def test_never_costs_more_than_at_the_start():
    _, model, start, y = posed(6, 3, 60, gain=3.0)
    cost, begin, _, found = reached(model, start, y, uniform(6, seed=5))
    assert (found.cost <= cost(begin)[0]).all()
    torch.testing.assert_close(found.cost, cost(found.inputs)[0])


def test_a_cost_that_breaks_down_leaves_the_target_reached():
    def cost(x):
        return x[:, 1] + (x[:, 0] + 0.5).log()  # no number for x0 below -1/2

    model = model_of(lambda x: x[:, 1:], 3, torch.tensor([[-1.0] * 2, [1.0] * 2]).double())
    _, _, rows, found = reached(model, uniform(20, 3, seed=1), uniform(20, 2, seed=2), cost)
    assert len(rows) == 20
    assert (found.residual <= TOLERANCE).all()


def test_near_a_reference_that_reaches_the_target_is_there():
    net = network(5, 2, gain=1.5)
    reference = 0.5 * uniform(20, 5, seed=1)
    with torch.no_grad():
        y = net(reference)
    model = model_of(net, 5, y)
    _, _, rows, found = reached(model, uniform(20, 5, seed=2), y, Near(reference))
    there = found.cost < 1e-6
    assert there.float().mean() > 0.9
    assert found.optimal[there].all()
    assert len(rows) == 20


def kkt_residual(jacobian, slope, x):
    """The least slope of a Lagrangian whose multipliers have the right signs, by SciPy."""
    n, m = len(slope), len(jacobian)
    low, high = x < -1 + 1e-3, x > 1 - 1e-3
    normals = np.concatenate((-np.eye(n)[:, low], np.eye(n)[:, high]), axis=1)
    a = np.concatenate((jacobian.T, normals), axis=1)
    least = np.concatenate((np.full(m, -np.inf), np.zeros(normals.shape[1])))
    return (2 * lsq_linear(a, -slope, (least, np.inf)).cost) ** 0.5 / np.linalg.norm(slope)


@pytest.mark.slow
@pytest.mark.parametrize("gain", [1.5, 3.0])
def test_what_is_said_to_be_optimal_meets_the_conditions_of_karush_kuhn_and_tucker(gain):
    _, model, start, y = posed(7, 3, 150, gain=gain, seed=1)
    cost, _, _, found = reached(model, start, y, uniform(7, seed=5))
    assert found.optimal.float().mean() > 0.94  # few run out of steps, however the targets bend
    jacobian = model.jacobian(found.inputs, torch.ones_like(found.outputs))
    slope = cost(found.inputs)[1]
    residuals = [
        kkt_residual(j.numpy(), c.numpy(), x.numpy())
        for j, c, x in zip(jacobian, slope, found.inputs, strict=True)
    ]
    assert max(np.array(residuals)[found.optimal.numpy()]) < 5e-3
