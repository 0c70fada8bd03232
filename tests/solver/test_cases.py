"""Levels and few changes, each against enumeration by SciPy or NumPy: all cases are tried, or branches are."""

from itertools import combinations, product

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize

from lightning_invert import (
    ForwardInverseModule,
    Interval,
    Linear,
    Near,
    SmoothMLP,
    Variable,
    solve,
)  # fmt: skip
from lightning_invert.solver import cases
from tests.cli.commands import save_pair
from tests.projects import Smooth
from tests.solver.maps import linear, network, proposer_of, uniform


@pytest.fixture(params=["one by one", "by branches"])
def searched(request, monkeypatch):
    if request.param == "by branches":
        monkeypatch.setattr(cases, "MAX_CASES", 1)


def choices(n, most):
    return [chosen for k in range(most + 1) for chosen in combinations(range(n), k)]


def least_cost(a, y, prices, boxes):
    """The least cost over boxes of x with a x = y, by linear programming; inf where none has one."""
    found = [linprog(prices, A_eq=a, b_eq=y, bounds=box) for box in boxes]
    return min((result.fun for result in found if result.status == 0), default=np.inf)


@pytest.mark.usefixtures("searched")
@pytest.mark.parametrize(("n", "most"), [(12, 2), (5, 1), (6, 3), (4, 9)])
def test_a_few_changes_cost_what_the_best_choice_of_all_does(n, most):
    a, function = linear(n, 1, seed=3)
    prices, reference = uniform(n, seed=4) + 1.5, uniform(3, n, seed=5) * 0.8
    y = reference @ a.T + torch.tensor([[0.3], [-0.2], [0.0]])
    proposal = proposer_of(function, n).propose(y, max_changes=(most, reference), cost=prices)
    assert proposal.converged.all()
    for row in range(3):
        boxes = [
            [(-1, 1) if j in chosen else (r, r) for j, r in enumerate(reference[row].tolist())]
            for chosen in choices(n, most)
        ]
        expected = least_cost(a.numpy(), y[row].numpy(), prices.numpy(), boxes)
        assert float(proposal.cost[row]) == pytest.approx(expected, rel=1e-3, abs=3e-3)
    assert ((proposal.inputs != reference).sum(1) <= most).all()


@pytest.mark.slow
@pytest.mark.usefixtures("searched")
def test_the_nearest_of_a_curved_function_is_that_of_the_best_choice():
    net, reference = network(6, 1, gain=1.5), uniform(6, seed=6) * 0.5
    with torch.no_grad():
        y = net(reference[None]) + torch.tensor([[0.15], [-0.15]]).double()
    proposal = proposer_of(net, 6).propose(y, max_changes=2, cost=Near(reference), tolerance=1e-5)

    def outcome(x):
        return float(net(torch.from_numpy(x)[None]).detach())

    for row, target in enumerate(y[:, 0].tolist()):
        least = np.inf
        for chosen in choices(6, 2):
            r = reference.numpy()
            box = [(-1, 1) if j in chosen else (v, v) for j, v in enumerate(r)]
            same = {"type": "eq", "fun": lambda x, y=target: outcome(x) - y}
            found = minimize(
                lambda x, r=r: float(np.square(x - r).sum()), r, bounds=box, constraints=same,
                options={"ftol": 1e-12},
            )  # fmt: skip
            if found.success:
                least = min(least, found.fun)
        assert float(proposal.cost[row]) == pytest.approx(least, rel=1e-3)
    assert proposal.converged.all()
    changed = proposal.inputs != reference
    assert (changed.sum(1) <= 2).all()
    windows_of = proposal.bounds.movable
    assert (windows_of == changed).all()  # what stays where it is has no window


def test_of_equal_costs_the_fewest_settings_change():
    proposer = proposer_of(lambda x: x.sum(1, keepdim=True), 4)
    stays = proposer.propose([[0.4]], max_changes=3, cost=Near([0.1] * 4))
    assert stays.inputs[0].tolist() == [0.1] * 4
    prices = [1.0, 0.5, 1.0, 1.0]
    moved = proposer.propose([[0.9]], max_changes=(3, [0.1] * 4), cost=prices, bounds=(0.1, 1.0))
    assert (moved.inputs[0] != 0.1).tolist() == [False, True, False, False]
    # Out of reach by two: the nearest that two reach.
    far = proposer.propose([[4.0]], max_changes=2, cost=Near(dict.fromkeys(range(4), 0.1)))
    assert float(far.outputs) == pytest.approx(2.2)
    assert not far.converged


LEVELS = {0: (-1, 0, 0.5), 2: (-0.5, 0.25), 3: (-1.0, 1.0)}


@pytest.mark.usefixtures("searched")
def test_levels_cost_what_the_best_combination_does():
    a, function = linear(5, 2, seed=7)
    prices, y = uniform(5, seed=8), 0.3 * uniform(6, 2, seed=9)
    proposer = proposer_of(function, 5, LEVELS)
    low = torch.full((6, 5), -1.0).double()
    low[3:, 0] = -0.2  # a target's own bounds leave it fewer levels
    proposal = proposer.propose(y, cost=prices, bounds=(low, 1.0))
    for row in range(6):
        free = [[(-1, 1)] if j not in LEVELS else [(v, v) for v in LEVELS[j]] for j in range(5)]
        free[0] = [pair for pair in free[0] if pair[0] >= low[row, 0]]
        expected = least_cost(a.numpy(), y[row].numpy(), prices.numpy(), product(*free))
        reached = bool(proposal.converged[row])
        assert reached == np.isfinite(expected)
        if reached:
            assert float(proposal.cost[row]) == pytest.approx(expected, rel=3e-3, abs=3e-3)
    assert_at_levels(proposal.inputs)
    windows = proposer.windows(proposal, 0.1)
    for side in (windows.inputs_at_low, windows.inputs_at_high):
        assert_at_levels(side.flatten(0, 1))


def test_levels_are_kept_in_a_checkpoint(tmp_path):
    inputs = (
        Variable("wind"),
        Variable("valve", "", 0.0, 3.0, (0, np.float64(1.5), 3)),
        Variable("c"),
    )
    pair = ForwardInverseModule(SmoothMLP(3, 2, width=16), SmoothMLP(2, 3, width=16))
    data = Smooth()
    data.inputs = inputs
    save_pair(tmp_path / "pair.ckpt", pair, data, max_epochs=1)
    again = ForwardInverseModule.load_from_checkpoint(tmp_path / "pair.ckpt")
    assert again.inputs == inputs
    for own in ({}, {"fixed": {"valve": 3}}, {"bounds": {"valve": (1, 2)}}):
        valve = again.propose(pair.evidence.rows("val")[1][:5], **own).inputs[:, 1]
        assert torch.isin(valve, torch.tensor([0, 1.5, 3]).to(valve)).all()
        assert not own or (valve == (3 if "fixed" in own else 1.5)).all()


def assert_at_levels(inputs):
    for place, levels in LEVELS.items():
        assert torch.isin(inputs[:, place], torch.tensor(levels).to(inputs)).all()


@pytest.mark.usefixtures("searched")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_where_all_have_levels_the_outcome_is_the_nearest_of_all(dtype):
    net, levels = network(4, 2, gain=1.5, dtype=dtype), (-0.7, 0.1, 0.9)
    grid = torch.tensor(list(product(levels, repeat=4)), dtype=dtype)
    with torch.no_grad():
        outcomes = net(grid)
    y = torch.cat([outcomes[::20], uniform(5, 2, seed=2).to(dtype)])
    net.inputs = tuple(Variable(f"x{j}", levels=levels) for j in range(4))
    solution = solve(net, y, scale=(1.0, 1.0), tolerance=1e-4)
    expected = (y[:, None] - outcomes).norm(dim=2).amin(1)
    torch.testing.assert_close(solution.residual, expected.double(), atol=1e-5, rtol=1e-4)
    assert torch.isin(solution.inputs, torch.tensor(levels, dtype=dtype)).all()


@pytest.mark.usefixtures("searched")
def test_levels_changes_fixed_inputs_and_constraints_hold_together():
    a, function = linear(5, 1, seed=11)
    reference = torch.tensor([0.0, 0.3, 0.25, -1.0, 0.2]).double()
    rule = Linear({1: 1, 4: 1}, high=0.6)
    low = float(a[0] @ reference)
    proposal = proposer_of(function, 5, LEVELS).propose(
        Interval([[low + 0.1]], [[low + 0.2]]), max_changes=2, cost=Near(reference),
        fixed={"x2": 0.25}, constraints=rule,
    )  # fmt: skip
    least, r, at = np.inf, reference.numpy(), a[0].numpy()
    rows = [
        {"type": "ineq", "fun": lambda x: at @ (x - r) - 0.1},
        {"type": "ineq", "fun": lambda x: 0.2 - at @ (x - r)},
        {"type": "ineq", "fun": lambda x: 0.6 - x[1] - x[4]},
    ]
    for chosen in choices(5, 2):
        free = [[(-1, 1)] if j not in LEVELS else [(v, v) for v in LEVELS[j]] for j in range(5)]
        free = [
            own if j in chosen and j != 2 else [(float(reference[j]),) * 2]
            for j, own in enumerate(free)
        ]
        for box in product(*free):
            found = minimize(
                lambda x: np.square(x - r).sum(),
                [low for low, _ in box],
                bounds=box,
                constraints=rows,
            )
            least = min(least, found.fun if found.success else np.inf)
    assert proposal.converged.all()
    assert float(proposal.cost) == pytest.approx(least, rel=1e-2)
    assert_at_levels(proposal.inputs)
    assert (proposal.inputs[0] != reference).sum() <= 2


def asked(levels=None, n=4, y=((0.1,),), low=-1.0, **options):
    return proposer_of(lambda x: x.sum(1, keepdim=True), n, levels, low=low).propose(y, **options)


NEAR = Near([0.0] * 4)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"max_changes": 2}, ValueError, r"`max_changes` beside the settings in force.*cost=Near\(ref"),
        ({"max_changes": 2, "cost": [1.0] * 4}, ValueError, r"max_changes=\(2, reference\)"),
        ({"max_changes": 2, "cost": Near([0.0, 0.0, 5.0, 0.0])}, ValueError, "5 for input 'x2', .* -1 to 1"),
        ({"max_changes": 2, "cost": NEAR, "fixed": {"x1": 0.5}}, ValueError, "0 for input 'x1', .* 0.5 to 0.5"),
        ({"max_changes": 2.0, "cost": NEAR}, TypeError, "`max_changes` to be a whole number of at least 1"),
        ({"max_changes": True, "cost": NEAR}, TypeError, "`max_changes` to be a whole number"),
        ({"max_changes": "2", "cost": NEAR}, TypeError, "`max_changes` to be a whole number"),
        ({"max_changes": 0, "cost": NEAR}, ValueError, "`max_changes` to be a whole number of at least 1"),
        ({"max_changes": (2, [0.0] * 3)}, ValueError, r"`cost.reference` to be of shape \(4,\)"),
        ({"max_changes": (2, [0.0] * 3), "cost": [1.0] * 4}, ValueError, r"`reference` to be finite, of shape \(4,\)"),
        ({"max_changes": (2, {"x0": 0.0})}, ValueError, "to name every input, but it lacks 'x1', 'x2', 'x3'"),
        ({"levels": {1: (0, 3)}}, ValueError, "levels of 'x1'` to lie within its bounds, -1 to 1, but got 3"),
        ({"levels": {1: (0, float("nan"))}}, ValueError, "levels of 'x1'` to be a finite number"),
        ({"levels": {1: 3}}, TypeError, "levels of 'x1'` to be a tuple of numbers"),
        ({"levels": {1: (0, 1)}, "fixed": {"x1": 0.5}}, ValueError, r"'x1' to hold one of its levels, \(0, 1\), .* 0.5 to"),
        ({"levels": {1: (0, 1)}, "bounds": {"x1": (0.2, 0.8)}}, ValueError, "'x1' to hold one of its levels"),
        ({"levels": {1: (0, 1)}, "max_changes": (2, [0, 0.5, 0, 0])}, ValueError, r"at a level of input 'x1', one of \(0, 1\), but it has 0.5"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_in_a_line(options, error, words):
    with pytest.raises(error, match=words) as caught:
        asked(**options)
    assert "\n" not in str(caught.value)
