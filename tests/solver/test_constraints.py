"""Constraints between inputs, against SciPy in float64."""

import numpy as np
import pytest
import torch
from scipy.optimize import NonlinearConstraint, linprog, minimize

from lightning_invert import (
    Constraint,
    Linear,
    Proposer,
    Solution,
    Variable,
    batched_jacobian,
    solve,
)
from lightning_invert.proposals.evidence import Evidence
from lightning_invert.solver.constraints import read_constraints
from lightning_invert.solver.solution import Result
from lightning_invert.variables import Bounds, as_variables
from tests.solver.maps import network, uniform

BOX = (-torch.ones(6).double(), torch.ones(6).double())
SETS = {
    "total": [Linear({0: 1, 1: 1, 2: 1}, high=0.4)],
    "shares in order": [Linear({0: 1, 1: -1}, low=0.0), Linear(dict.fromkeys(range(4), 1), 0.3, 0.3)],
    "ball": [Constraint(lambda x: x[:, :3].square().sum(1), high=0.8)],
    "sphere": [Constraint(lambda x: x.square().sum(1), low=1.5, high=1.5)],
    "mixed": [
        Constraint(lambda x: torch.stack((x[:, 0] * x[:, 1], x[:, 2].exp() - x[:, 3]), 1), -0.3, 0.5),
        Linear({4: 1, 0: 2}, high=0.5),
    ],
}  # fmt: skip


def rows_of(constraints, n):
    """Each constraint as a function (N, n) -> (N, k), with its ends."""
    for part in constraints:
        if isinstance(part, Linear):
            weights = torch.zeros(n).double()
            for index, weight in part.weights.items():
                weights[index] = weight
            yield (lambda x, a=weights: (x @ a)[:, None]), part.low, part.high
        else:
            yield (lambda x, f=part.function: f(x).reshape(len(x), -1)), part.low, part.high


def violation(constraints, x):
    """How far points are beyond an end, (N,)."""
    most = torch.zeros(len(x)).double()
    for function, low, high in rows_of(constraints, x.shape[1]):
        for sign, end in ((-1, low), (1, high)):
            if end is not None:
                most = torch.maximum(most, (sign * (function(x) - end)).amax(1))
    return most


def at(function, z):
    with torch.no_grad():
        return function(torch.as_tensor(z)[None])[0].numpy()


def slope(function, z):
    return batched_jacobian(function, torch.as_tensor(z)[None], check=False)[0].numpy()


def slsqp(net, y, spread, start, constraints, prices=None):
    """The least price of the target, or the least distance from it, with exact Jacobians."""

    def missing(z):
        return (at(net, z) - y) / spread

    def steepness(z):
        return slope(net, z) / spread[:, None]

    parts = []
    for function, low, high in rows_of(constraints, len(start)):
        for sign, end in ((1, low), (-1, high)):
            kind = "eq" if low == high else "ineq"
            if end is not None:
                parts.append(
                    {
                        "type": kind,
                        "fun": lambda z, f=function, s=sign, e=end: s * (at(f, z) - e),
                        "jac": lambda z, f=function, s=sign: s * slope(f, z),
                    }
                )
            if kind == "eq":
                break
    if prices is None:
        objective = lambda z: (missing(z) @ missing(z) / 2, steepness(z).T @ missing(z))
    else:
        objective = lambda z: (prices @ z, prices)
        parts.append({"type": "eq", "fun": missing, "jac": steepness})
    found = minimize(
        objective, start, jac=True, bounds=[(-1, 1)] * len(start), constraints=parts,
        method="SLSQP", options={"maxiter": 300, "ftol": 1e-10},
    )  # fmt: skip
    x = torch.as_tensor(found.x)[None]
    return found.fun, np.linalg.norm(missing(found.x)), violation(constraints, x).item()


@pytest.fixture(scope="module", params=SETS)
def posed(request):
    """A network with constraints, and outcomes of which most have feasible inputs."""
    constraints, net = SETS[request.param], network(6, 3, gain=2.0, seed=4)
    x = uniform(12, 6, seed=3)
    inside = solve(
        lambda z: z, x, starts=x, bounds=BOX, constraints=constraints, scale=(1.0, 1.0)
    ).inputs
    x[:9] = inside[:9]
    with torch.no_grad():
        y, spread = net(x), net(uniform(500, 6, seed=9)).std(0)
    given = {"bounds": BOX, "constraints": constraints, "scale": (1.0, spread)}
    given["starts"] = uniform(12, 6, seed=5)
    return net, y, spread.numpy(), given


@pytest.mark.slow
def test_ends_as_near_to_the_targets_as_slsqp_from_the_same_starts(posed):
    net, y, spread, given = posed
    ours = solve(net, y, **given)
    assert violation(given["constraints"], ours.inputs).max() < 1e-5
    theirs = np.array(
        [slsqp(net, b, spread, a, given["constraints"]) for a, b in zip(given["starts"].numpy(), y.numpy(), strict=True)]
    )  # fmt: skip
    kept = theirs[:, 2] < 1e-6
    assert ours.converged.sum() >= (kept & (theirs[:, 1] < 1e-3)).sum()
    nearer = ours.residual.numpy() <= 1.01 * theirs[:, 1] + 1e-3
    assert nearer[kept].mean() > 0.9


@pytest.mark.slow
def test_costs_as_little_as_slsqp_finds_from_where_the_targets_are_reached(posed):
    net, y, spread, given = posed
    begin = solve(net, y, **given)
    rows = begin.converged
    prices = torch.linspace(-1, 1, 6).double()
    starts = begin.inputs[rows]
    ours = solve(net, y[rows], **given | {"starts": starts}, cost=prices)
    assert ours.converged.all()
    assert ours.optimal.double().mean() > 0.9
    assert violation(given["constraints"], ours.inputs).max() < 1e-5
    theirs = np.array(
        [slsqp(net, b, spread, a, given["constraints"], prices.numpy())
         for a, b in zip(starts.numpy(), y[rows].numpy(), strict=True)]
    )  # fmt: skip
    solved = (theirs[:, 2] < 1e-3) & (theirs[:, 1] < 1e-3)
    excess = (ours.cost.numpy() - theirs[:, 0])[solved] / np.abs(theirs[solved, 0])
    # Where there are several optima, either may find the better.
    assert (excess > 0.01).sum() <= (excess < -0.01).sum() + 1


def test_a_target_that_is_not_feasible_gets_the_nearest_feasible_point():
    """Projections in closed form, and one by trust-constr."""
    y, n = 3 * uniform(40, 4, seed=1), 4
    box = (-9.0, torch.full((n,), 9.0).double())
    given = {"bounds": box, "scale": (1.0, 1.0), "starts": 0 * y}
    total = dict.fromkeys(range(n), 1)
    plane = solve(lambda x: x, y, constraints=Linear(total, 1, 1), **given).inputs
    torch.testing.assert_close(plane, y + (1 - y.sum(1, keepdim=True)) / n, atol=1e-6, rtol=0)
    half = solve(lambda x: x, y, constraints=Linear(total, high=1), **given)
    excess = (y.sum(1, keepdim=True) - 1).clamp(min=0)
    torch.testing.assert_close(half.inputs, y - excess / n, atol=2e-3, rtol=0)
    assert torch.equal(half.result == Result.AT_CONSTRAINTS, excess[:, 0] > 2e-3 * 2)
    ball = Constraint(lambda x: x.square().sum(1), high=4)
    inside = solve(lambda x: x, y, constraints=ball, **given)
    expected = y * (2 / y.norm(dim=1, keepdim=True)).clamp(max=1)
    torch.testing.assert_close(inside.inputs, expected, atol=3e-3, rtol=0)
    bowl = Constraint(lambda x: x[:, 0].square() - x[:, 1], high=0.0)  # above a parabola
    ours = solve(lambda x: x, y[:6], constraints=bowl, **given | {"starts": 0 * y[:6]}).inputs
    for target, point in zip(y[:6].numpy(), ours.numpy(), strict=True):
        their = minimize(
            lambda z, t=target: ((z - t) @ (z - t), 2 * (z - t)), np.zeros(n), jac=True, tol=1e-9,
            method="trust-constr", hess=lambda z: 2 * np.eye(n), constraints=NonlinearConstraint(
                lambda z: z[0] ** 2 - z[1], -np.inf, 0, jac=lambda z: [[2 * z[0], -1, 0, 0]],
                hess=lambda z, v: np.diag([2 * v[0], 0, 0, 0]),
            ),
        )  # fmt: skip
        assert np.linalg.norm(point - target) <= np.sqrt(their.fun) * 1.01 + 1e-3


@pytest.mark.parametrize("seed", range(40))
def test_linear_constraints_are_contradictory_where_linprog_says_so(seed):
    random = np.random.default_rng(seed)
    n, k = random.integers(1, 9), random.integers(1, 8)
    weights = random.normal(size=(k, n)) * (random.random((k, n)) < 0.7)
    weights[(weights == 0).all(1), 0] = 1
    value = weights @ random.uniform(-1, 1, n) * random.choice([0.5, 1, 2])
    width = random.choice([0, 0.1, 1], size=k) * random.random(k)
    parts = [
        Linear(dict(enumerate(row)), low, high)
        for row, low, high in zip(weights, value - width, value + width, strict=True)
    ]
    read = read_constraints(
        parts, as_variables(None, "x", n), torch.full((n,), 2.0).double(), torch.zeros(1, n).double(), 1e-3
    )  # fmt: skip
    ends = np.concatenate([value + width, width - value])
    result = linprog(
        np.zeros(n), A_ub=np.vstack([weights, -weights]), b_ub=ends, bounds=(-1, 1)
    ).status
    bounds = Bounds(*(end * torch.ones(3, n).double() for end in (-1, 1)))
    if result == 0:
        read.check(bounds)
        moved = read.restored(uniform(3, n, seed=seed), bounds)
        assert violation(parts, moved).max() < 1e-9
    else:
        with pytest.raises(ValueError, match="none keeps"):
            read.check(bounds)


@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_linear_constraints_hold_as_exactly_as_the_dtype_allows(dtype, offset):
    net, width = network(4, 2, dtype=dtype), 10.0
    low = torch.full((4,), offset, dtype=dtype)
    parts = {
        "most": Linear({0: 1, 1: 1}, high=2 * offset + 7),
        "shares": Linear({2: 1, 3: 2}, 3 * offset + 9, 3 * offset + 9),
    }

    def function(x):
        return net((x - offset) / width)

    y = function(low + width * uniform(50, 4, seed=1).abs().to(dtype)).detach()
    found = solve(
        function, y, bounds=(low, low + width), constraints=parts, cost=[-1.0, -1, 0, 0], num_starts=2
    )  # fmt: skip
    assert found.constraint_names == ("most", "shares")
    x = found.inputs.double()
    size = torch.finfo(dtype).eps * 4 * (offset + width)
    assert (x[:, :2].sum(1) - 2 * offset - 7).max() <= (0 if dtype == torch.float32 else 1e-9)
    assert (x[:, 2] + 2 * x[:, 3] - 3 * offset - 9).abs().max() <= max(1e-9, 4 * size)
    assert found.binding[:, 1].all()
    near = x[:, :2].sum(1) > 2 * offset + 7 - 1e-3 * width
    assert near.any()
    assert torch.equal(found.binding[:, 0], near)


def test_a_contradiction_is_named_with_its_target_and_nothing_that_is_needless():
    parts = {
        "fuel": Linear({0: 1, 1: 1}, high=1),
        "other": Linear({2: 1}, high=1),
        "coal": Linear({0: 1}, low=0.9),
    }
    y = torch.zeros(2, 3)
    given = {"starts": y, "bounds": (0.0, torch.ones(3)), "constraints": parts}
    solve(lambda x: x, y, **given, fixed={1: torch.tensor([0.0, 0.1])})
    with pytest.raises(ValueError, match="bounds of target 1, but none keeps 'fuel' and 'coal'"):
        solve(lambda x: x, y, **given, fixed={1: torch.tensor([0.0, 0.5])})
    with pytest.raises(ValueError, match=r"none keeps 'x0 - 2 x2 = 4'\."):
        solve(lambda x: x, y, **given | {"constraints": Linear({0: 1, 2: -2}, 4, 4)})
    nowhere = {"sphere": Constraint(lambda x: x.square().sum(1), low=4.0)}
    with pytest.raises(ValueError, match="no search found a point that keeps 'sphere'"):
        solve(lambda x: x, y, **given | {"constraints": nowhere})


@pytest.mark.slow
def test_constraints_go_by_name_are_told_and_lower_no_trust():
    x = uniform(300, 3, seed=1)
    known = x, x[:, :1] * x[:, 1:2] + x[:, 2:]
    names = [Variable(name, "t/h", -1, 1) for name in ("coal", "gas", "ore")]
    proposer = Proposer(
        lambda x: x[:, :1] * x[:, 1:2] + x[:, 2:],
        evidence=Evidence.of(train=known, val=known),
        inputs=names,
    )
    y = known[1][:20]
    fuel = Linear({"coal": 1, "gas [t/h]": 1}, high=0.1)
    found = proposer.propose(y, constraints=fuel, cost={"coal": -1})
    same = proposer.propose(y, constraints=[Linear({0: 1, 1: 1}, high=0.1)], cost=[-1, 0, 0])
    assert torch.equal(found.inputs, same.inputs)
    assert found.constraint_names == ("coal + gas <= 0.1",)
    at_end = found.inputs[:, :2].sum(1) > 0.1 - 1e-9
    assert torch.equal(found.binding[:, 0], at_end)
    assert at_end.any()
    assert found.alternatives.binding.shape == (20, found.alternatives.inputs.shape[1], 1)
    assert torch.equal(found.columns()["binding/coal + gas <= 0.1"], at_end)
    assert f"Binding: 'coal + gas <= 0.1' at {int(at_end.sum())}." in str(found)
    saved = proposer.trade_off(y, {"coal": -1}, widths=(0, 0.1), constraints=fuel)
    assert saved.inputs[..., :2].sum(2).nan_to_num(-1).max() < 0.1 + 1e-9


@pytest.mark.slow
def test_a_constraint_that_raises_outside_its_domain_ends_no_search():
    def log(x):
        if (x <= 0).any():
            raise ValueError("no logarithm")
        return x.log().sum(1)

    y = uniform(20, 2, seed=1)
    found = solve(
        lambda x: x, y, bounds=(-1.0, [1.0, 1.0]), constraints=Constraint(log, low=-2.0), starts=0.5 + 0 * y
    )  # fmt: skip
    assert isinstance(found, Solution)
    assert found.inputs.log().sum(1).min() >= -2.01


@pytest.mark.slow
def test_many_redundant_constraints_leave_the_nearest_and_the_cheapest_point():
    """Polyhedra with duplicates and sums of their rows, at corners, in uneven units."""
    for seed in range(8):
        random = np.random.default_rng(seed)
        n, k = random.integers(2, 7), random.integers(2, 8)
        rows, unit = random.normal(size=(k, n)), np.exp(random.uniform(-3, 3, n))
        rows = np.vstack([rows, rows[:1], 2 * rows[1:2], rows[:1] + rows[1:2]])
        inner = random.uniform(-1, 1, n)
        low = rows @ inner - random.choice([0, 0.2], size=len(rows))
        parts = [
            Linear(dict(enumerate(row / unit)), end) for row, end in zip(rows, low, strict=True)
        ]
        ends = torch.from_numpy(unit)
        start, y = torch.from_numpy(inner * unit)[None], random.uniform(-2, 2, n)
        given = {"bounds": (-ends, ends), "starts": start, "constraints": parts}
        near = solve(lambda x, ends=ends: x / ends, y[None], **given)
        above = {
            "type": "ineq",
            "fun": lambda z, a=rows, b=low: a @ z - b,
            "jac": lambda z, a=rows: a,
        }
        their = minimize(
            lambda z, y=y: ((z - y) @ (z - y), 2 * (z - y)), inner, jac=True, method="SLSQP",
            bounds=[(-1, 1)] * n, constraints=above, options={"ftol": 1e-13},
        )  # fmt: skip
        np.testing.assert_allclose(near.residual[0], their.fun**0.5, rtol=1e-5)
        prices = random.normal(size=n)
        first = start[:, :1] / ends[0]
        cheap = solve(lambda x, ends=ends: x[:, :1] / ends[0], first, cost=prices / unit, **given)
        best = linprog(
            prices, A_ub=-rows, b_ub=-low, A_eq=np.eye(1, n), b_eq=inner[:1], bounds=(-1, 1)
        )
        np.testing.assert_allclose(cheap.cost[0], best.fun, atol=1e-6)


def test_a_module_in_a_constraint_is_evaluated_without_dropout_and_left_as_it_was():
    net = torch.nn.Sequential(
        torch.nn.Linear(3, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1)
    ).double()
    limit = Constraint(net, high=0.1)
    found = solve(
        lambda x: x, uniform(20, 3, seed=1), bounds=(-1.0, [1.0] * 3), constraints=[limit], num_starts=2
    )  # fmt: skip
    assert net.training
    assert net.eval()(found.inputs).max() < 0.1 + 1e-3
    assert found.binding.any()


def test_bounds_may_differ_from_target_to_target():
    net, now, reach = network(5, 3), uniform(30, 5, seed=1), 0.05
    ends = (now - reach, now + reach)
    with torch.no_grad():
        y = net(now + reach * uniform(30, 5, seed=2))
    found = solve(net, y, bounds=ends, scale=(1.0, y.std(0)))
    assert found.converged.all()
    assert ((found.inputs >= ends[0]) & (found.inputs <= ends[1])).all()
    one = solve(net, y[:1], bounds=tuple(end[0] for end in ends), scale=(1.0, y.std(0)))
    assert one.converged.all()
    with pytest.raises(ValueError, match="row for each of the 30 targets, but got 7"):
        solve(net, y, bounds=(ends[0][:7], 1.0))
    low = torch.zeros(30, 5).double()
    low[4, 3] = 2
    with pytest.raises(ValueError, match="low=2 and high=1 for input 'x3' of target 4"):
        solve(net, y, bounds=(low, 1.0))
