"""Branch and bound against enumeration, and against SciPy's where there is too much to enumerate."""

import io

import numpy as np
import pytest
import torch
from scipy.optimize import Bounds, LinearConstraint, milp

from lightning_invert import Interval, Linear, Near, Variable
from lightning_invert.solver import branches, cases
from tests.solver.maps import linear, network, proposer_of, uniform

POSITIONS = (-0.9, -0.3, 0.2, 0.8)


def at_levels(x, levels):
    """Move inputs to their nearest levels."""
    for place, own in levels.items():
        own = torch.tensor(own, dtype=x.dtype)
        x[:, place] = own[(x[:, place, None] - own).abs().argmin(1)]
    return x


@pytest.mark.slow
def test_on_random_networks_the_cost_is_that_of_enumeration(monkeypatch):
    worse, reached = [], []
    for seed in range(3):
        net, levels = network(5, 2, gain=2.0, seed=seed), dict.fromkeys(range(3), (-0.8, 0.1, 0.7))
        with torch.no_grad():
            y = torch.cat([net(at_levels(uniform(6, 5, seed=seed), levels)), uniform(1, 2, seed=1)])
        proposer, found = proposer_of(net, 5, levels), []
        for limit in (cases.MAX_CASES, 1):
            monkeypatch.setattr(cases, "MAX_CASES", limit)
            found.append(proposer.propose(y, cost=uniform(5, seed=8) + 1.2))
        every, branched = found
        assert torch.equal(branched.inputs, at_levels(branched.inputs.clone(), levels))
        reached.append([int(part.converged.sum()) for part in found])
        both = every.converged & branched.converged
        worse += ((branched.cost - every.cost) / every.cost.abs())[both].tolist()
        farther = branched.residual > every.residual + 1e-2
        assert not farther[~every.converged].any()
        monkeypatch.undo()
    assert np.sum(reached, 0)[1] >= np.sum(reached, 0)[0] > 17
    assert np.mean(np.array(worse) <= 0.01) >= 0.95


def least(a, y, prices, levels, free, *, rule=None, reference=None, most=None):
    """The least cost by SciPy's branch and bound: a binary number for each level of each input."""
    n, count = a.shape[1] - free, len(levels)
    columns = np.kron(np.eye(n), levels)  # x = columns z
    columns = np.block(
        [[columns, np.zeros((n, free))], [np.zeros((free, n * count)), np.eye(free)]]
    )
    one = np.hstack([np.kron(np.eye(n), np.ones(count)), np.zeros((n, free))])
    rows = [LinearConstraint(a @ columns, *y), LinearConstraint(one, 1, 1)]
    if rule is not None:
        rows.append(LinearConstraint(rule @ columns, -np.inf, 0.5))
    if most is not None:  # of levels alone: at least n - most stay
        stays = (np.tile(levels, n) == np.repeat(reference, count)).astype(float)
        rows.append(LinearConstraint(stays, n - most, n))
    whole = np.r_[np.ones(n * count), np.zeros(free)]
    ends = Bounds(np.r_[np.zeros(n * count), -np.ones(free)], np.ones(n * count + free))
    found = milp(prices @ columns, constraints=rows, integrality=whole, bounds=ends)
    return found.fun if found.success else np.inf


@pytest.mark.slow
def test_of_65536_combinations_the_cheapest_is_found():
    a, function = linear(10, 2, seed=1)
    levels, prices = dict.fromkeys(range(8), POSITIONS), uniform(10, seed=10) + 1.5
    y = function(at_levels(uniform(2, 10, seed=7), levels))
    found = proposer_of(function, 10, levels).propose(y, cost=prices)
    expected = [least(a.numpy(), (row, row), prices.numpy(), POSITIONS, 2) for row in y.numpy()]
    assert found.converged.all()
    np.testing.assert_allclose(found.cost, expected, rtol=3e-3)
    assert torch.equal(found.inputs, at_levels(found.inputs.clone(), levels))
    rule = uniform(10, seed=11)
    ruled = proposer_of(function, 10, levels).propose(
        y, cost=prices, constraints=Linear(dict(enumerate(rule.tolist())), high=0.5)
    )
    expected = [
        least(a.numpy(), (row, row), prices.numpy(), POSITIONS, 2, rule=rule.numpy())
        for row in y.numpy()
    ]
    reached = np.isfinite(expected)
    assert torch.equal(ruled.converged, torch.from_numpy(reached))
    np.testing.assert_allclose(ruled.cost[reached], np.array(expected)[reached], rtol=3e-3)
    assert (ruled.inputs @ rule <= 0.5 + 1e-9).all()
    assert reached.any()
    assert (np.array(expected) > found.cost.numpy() * 1.01).any()


def test_few_changes_and_levels_branch_together():
    n, most, levels = 9, 4, (-1.0, -0.5, 0.0, 0.5, 1.0)
    assert cases.MAX_CASES < 90_000  # choices of four of nine inputs and their levels
    a, function = linear(n, 1, seed=5)
    prices, places = uniform(n, seed=6) + 1.5, dict.fromkeys(range(n), levels)
    reference = at_levels(uniform(1, n, seed=7), places)
    moved = reference.clone()
    moved[0, [1, 4, 6]] = torch.tensor([0.5, -1.0, 1.0]).double()
    y = Interval(function(moved) - 0.1, function(moved) + 0.1)
    found = proposer_of(function, n, places).propose(
        y, cost=prices, max_changes=(most, reference), tolerance=1e-6
    )
    ends, now = [end[0].numpy() for end in y], reference[0].numpy()
    expected = least(a.numpy(), ends, prices.numpy(), levels, 0, reference=now, most=most)
    assert found.converged
    assert not found.unfinished
    assert float(found.cost) == pytest.approx(expected)
    assert (found.inputs != reference).sum() <= most


def test_targets_out_of_reach_are_searched_in_few_rounds(monkeypatch):
    _, function = linear(8, 2, seed=1)
    proposer = proposer_of(function, 8, dict.fromkeys(range(8), POSITIONS))
    monkeypatch.setattr(branches, "MAX_NODES", 400)
    relaxed, rounds = branches._Tree._relaxed, []
    monkeypatch.setattr(
        branches._Tree, "_relaxed", lambda tree, part: rounds.append(len(part.target)) or relaxed(tree, part)
    )  # fmt: skip
    found = proposer.propose([[0.31234, 0.17]], cost=uniform(8, seed=10) + 1.5, tolerance=1e-4)
    assert found.unfinished
    assert sum(rounds) > 400
    assert len(rounds) < 25


def test_what_switches_another_off_is_tried_on_both_sides(monkeypatch):
    inputs = (
        Variable("flow", "", 0.0, 2.0),
        Variable("heat", "", 0.0, 2.0, matters_if=("flow", ">", 0)),
        Variable("valve", "", -1.0, 1.0, levels=(-1.0, -0.5, 0.0, 0.5, 1.0)),
    )
    proposer = proposer_of(lambda x: x[:, :1] * (0.5 + x[:, 1:2]) + x[:, 2:], 3)
    proposer.surrogate.__dict__["inputs"] = inputs
    y = [[-0.5], [0.0], [0.7], [1.5]]
    costs = []
    for limit in (cases.MAX_CASES, 1):
        monkeypatch.setattr(cases, "MAX_CASES", limit)
        found = proposer.propose(y, cost=Near([1.0, 1.9, 0.0]))
        costs.append(found.cost)
        assert found.converged.all()
    torch.testing.assert_close(*costs, rtol=1e-3, atol=1e-3)
    assert 0 < int((~found.matters[:, 1]).sum()) < 4


def test_levels_that_do_not_matter_are_chosen_for_the_constraints(monkeypatch):
    inputs = [Variable("flow", "", 0.0, 1.0)]
    for name in "ab":
        inputs += [
            Variable(f"heat_{name}", "", 1.0, 1.7, (1.0, 1.7), ("flow", ">", 0.5)),
            Variable(f"rest_{name}", "", 0.0, 0.45),
        ]
    proposer = proposer_of(lambda x: x[:, :1], 5)
    proposer.surrogate.__dict__["inputs"] = tuple(inputs)
    monkeypatch.setattr(cases, "MAX_CASES", 1)
    sums = [Linear({f"heat_{name}": 1, f"rest_{name}": 1}, 1.4, 1.4) for name in "ab"]
    found = proposer.propose([[0.2]], cost={"rest_a": 1.0, "rest_b": 1.0}, constraints=sums)
    assert found.converged  # the cheapest in between, 1.4, is nearer to 1.7
    assert found.inputs[0, 1:].tolist() == pytest.approx([1.0, 0.4, 1.0, 0.4])


def test_the_search_is_bounded_and_says_how_far_it_is(monkeypatch):
    levels = dict.fromkeys(range(8), (-1.0, 0.0, 1.0))
    proposer = proposer_of(lambda x: x.sum(1, keepdim=True), 8, levels)
    monkeypatch.setattr(branches, "MAX_NODES", 40)
    nodes, bar = [], io.StringIO()
    relaxed = branches._Tree._relaxed
    monkeypatch.setattr(
        branches._Tree, "_relaxed", lambda tree, part: nodes.append(len(part.target)) or relaxed(tree, part)
    )  # fmt: skip
    monkeypatch.setattr("lightning_invert.solver.solve.BAR_AFTER", 0.0)
    monkeypatch.setattr("sys.stderr", bar)
    bar.isatty = lambda: True
    found = proposer.propose([[0.4], [3.0], [9.0]], cost=uniform(8, seed=1) + 2)
    assert torch.isin(found.inputs, torch.tensor([-1.0, 0.0, 1.0]).double()).all()
    assert found.converged.tolist() == [False, True, False]
    assert float(found.outputs[2]) == 8  # as near as it gets
    assert abs(float(found.outputs[0]) - 0.4) <= 0.6
    assert sum(nodes) <= 3 * 2 * (40 + 16)
    assert (
        found.unfinished.tolist() == found.columns()["unfinished"].tolist() == [True, False, False]
    )
    assert "choice of levels and changes ended early for 1 of 3 targets" in str(found)
    assert "3.00/3.00" in bar.getvalue()
