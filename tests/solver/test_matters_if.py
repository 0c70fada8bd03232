"""Inputs that matter only where another one does, against SciPy on either side of the condition."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from lightning_invert import (
    ForwardInverseModule,
    Near,
    Plausible,
    Proposer,
    Robust,
    SmoothMLP,
    Variable,
    solve,
)  # fmt: skip
from lightning_invert.conditions import matters, read_conditions
from lightning_invert.deploy.metadata import describe
from lightning_invert.pair.checkpoint import unpack_variables
from lightning_invert.pair.pair import Pair
from lightning_invert.problems import BlastFurnace
from lightning_invert.proposals.evidence import Evidence
from lightning_invert.solver.search import Search
from tests.cli.commands import save_pair
from tests.projects import Smooth
from tests.solver.maps import uniform

NAN = float("nan")
INPUTS = (
    Variable("flow", "kg", 0.0, 2.0),
    Variable("heat", "°C", 0.0, 2.0, matters_if=("flow", ">", 0)),
    Variable("other", "", -1.0, 1.0),
)


def process(x):
    """What flows brings its heat; the rest is curved."""
    return (x[:, :1] * (0.5 + x[:, 1:2])) + x[:, 2:].sinh()


def proposer(inputs=INPUTS):
    x = uniform(400, 3, seed=1) + torch.tensor([1.0, 1.0, 0.0])
    x[::3, 0] = 0
    rows = x, process(x)
    train, val = ([part[a : a + 200] for part in rows] for a in (0, 200))
    return Proposer(process, evidence=Evidence.of(train, val), inputs=inputs, scale=(1.0, 1.0))


def least(y, price):
    """The least price of either side, by SLSQP from several starts: (off, on)."""
    found = []
    for counts, box in ((False, (0, 0)), (True, (0, 2))):
        same = {"type": "eq", "fun": lambda x: float(process(torch.from_numpy(x)[None])[0, 0]) - y}
        runs = [
            minimize(
                lambda x, c=counts: price(x, c), start, bounds=[box, (0, 2), (-1, 1)],
                constraints=same, options={"ftol": 1e-13},
            )
            for start in np.random.default_rng(0).uniform((0, 0, -1), (2, 2, 1), (6, 3))
        ]  # fmt: skip
        found.append(min((r.fun for r in runs if r.success), default=np.inf))
    return found


NOW = np.array([0.4, 1.9, 0.1])


def test_solutions_that_differ_in_what_does_not_matter_are_one():
    model = proposer()
    off, on = (model.propose([[0.3]], fixed={"flow": flow}).alternatives for flow in (0.0, 0.5))
    assert int(off.count) == 0 < int(on.count)


@pytest.mark.parametrize(
    ("cost", "price"),
    [
        (Near(NOW), lambda x, c: np.square((x - NOW)[[0, 1, 2] if c else [0, 2]]).sum()),
        ({"flow": 0.5, "heat": 1.0, "other": 0.8}, lambda x, c: 0.5 * x[0] + c * x[1] + 0.8 * x[2]),
    ],
)
def test_what_does_not_matter_costs_nothing(cost, price):
    y = [-0.8, 0.0, 0.3, 0.9, 2.0]
    found = proposer().propose([[v] for v in y], cost=cost)
    assert found.converged.all()
    sides = [least(v, price) for v in y]
    np.testing.assert_allclose(found.cost, np.min(sides, 1), rtol=2e-3, atol=2e-3)
    off = found.inputs[:, 0] == 0
    assert torch.equal(found.matters[:, 1], ~off)
    assert found.matters[:, [0, 2]].all()
    assert 0 < int(off.sum()) < 5
    assert not found.at_bound[off, 1].any()
    cells = found.columns()["heat"]
    assert torch.equal(cells.isnan(), off)
    assert f"Any value will do: heat at {int(off.sum())} of 5 targets." in str(found)


KNOWN = proposer().evidence.rows("train")[0]
ERROR = np.array([0.1, 0.3, 0.2])


def unlikeness(x, counts):
    """The distance of Mahalanobis of what matters alone: what does not may be what suits it best."""
    mine = [0, 1, 2] if counts else [0, 2]
    away = (x - KNOWN.numpy().mean(0))[mine]
    return away @ np.linalg.inv(np.cov(KNOWN.numpy().T)[np.ix_(mine, mine)]) @ away


def spread(x, counts):
    """The spread of the outcome by autograd's own Jacobian; heat that does not matter is in the middle."""
    at = torch.from_numpy(np.where([True, counts, True], x, [0.0, 1.0, 0.0]))[None]
    slopes = torch.autograd.functional.jacobian(process, at)[0, 0, 0].numpy()
    return float(np.square(slopes * ERROR * [1, counts, 1]).sum())


@pytest.mark.slow
@pytest.mark.parametrize(("cost", "price"), [(Plausible(), unlikeness), (Robust(ERROR), spread)])
def test_neither_its_likeness_nor_its_error_costs_anything(cost, price):
    asked = proposer()
    query = asked.surrogate.query([[0.1]] * 8, Search(), cost=cost)
    x = torch.rand(8, 3).double() + torch.tensor([0.1, 0.3, -0.5])
    x[::2, 0] = 0
    value, slope = query.cost(x)
    expected = [price(row, bool(row[0] > 0)) for row in x.numpy()]
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    assert (slope[::2, 1] == 0).all()
    assert (slope[1::2, 1] != 0).all()
    other = query.cost(x + torch.tensor([0.0, 0.4, 0.0]))
    torch.testing.assert_close([part[::2] for part in other], [value[::2], slope[::2]])
    step = 1e-6 * torch.tensor([0.0, 0.0, 1.0])
    steep = (query.cost(x + step)[0] - query.cost(x - step)[0]) / 2e-6
    torch.testing.assert_close(slope[:, 2], steep, rtol=1e-4, atol=1e-4)
    y = [0.0, 0.3, 0.9]
    found = asked.propose([[v] for v in y], cost=cost)
    assert found.converged.all()
    np.testing.assert_allclose(found.cost, np.min([least(v, price) for v in y], 1), rtol=1e-2)


def test_it_counts_as_no_change():
    now = torch.tensor([[0.6, 1.9, 0.1]]).double()
    found = proposer().propose([[0.1]], max_changes=1, cost=Near(now))
    changed = (found.inputs != now) & found.matters
    assert int(changed.sum()) == 1
    plain = [v._replace(matters_if=None) for v in INPUTS]
    assert proposer(plain).propose([[0.1]]).matters is None


def test_windows_of_it_are_as_wide_as_its_bounds():
    found = proposer().propose([[0.1]], fixed={"flow": 0.0})
    windows = proposer().windows(found, 0.01)
    assert float(windows.low[0, 1]) == pytest.approx(0.0, abs=1e-6)
    assert float(windows.high[0, 1]) == pytest.approx(2.0, abs=1e-6)
    assert not found.matters[0, 1]


@pytest.mark.parametrize(
    ("op", "expected"),
    [(">", [0, 0, 1]), (">=", [0, 1, 1]), ("<", [1, 0, 0]), ("<=", [1, 1, 0]), ("==", [0, 1, 0]), ("!=", [1, 0, 1])],
)  # fmt: skip
def test_each_condition_is_read_as_it_is_written(op, expected):
    inputs = (Variable("a"), Variable("b", matters_if=("a", op, 1.5)))
    x = torch.tensor([[1.0, 0.0], [1.5, 0.0], [2.0, 0.0]])
    assert matters(x, read_conditions(inputs))[:, 1].tolist() == [bool(e) for e in expected]


def test_what_was_measured_may_lack_it():
    x = torch.tensor([[0.0, NAN, 0.5], [1.0, 1.5, 0.2]]).double()
    usual = x.nan_to_num(float(proposer().surrogate.centre("x")[1]))
    y = process(usual)
    asked = proposer()
    assert torch.equal(asked.observe(x, y + 0.1).inputs, usual)
    back = asked.backtest(x, y, {"heat": 1.0})
    assert back.spent.tolist() == [0.0, 1.5]
    assert back.columns()["history/heat"].isnan().tolist() == [True, False]
    x[1, 1] = NAN
    for ask in (asked.observe, lambda *rows: asked.backtest(*rows, {"heat": 1.0})):
        with pytest.raises(ValueError, match="`x` to be finite, but row 1 has"):
            ask(x, y)


def test_what_depends_on_what_does_not_matter_does_not_matter_either():
    inputs = [Variable(name, "", 0.0, 2.0) for name in ("fan", "flow", "heat", "other")]
    inputs[1] = inputs[1]._replace(matters_if=("fan", ">", 0))
    inputs[2] = inputs[2]._replace(matters_if=("flow", ">", 0))
    conditions = read_conditions(inputs[::-1])  # in any order
    x = torch.tensor([[1, 1, 1, 0], [1, 0, 1, 0], [0, 1, 1, 0], [0, NAN, NAN, 0], [1, NAN, 1, 0]])
    found = matters(x.flip(1), conditions).flip(1)
    expected = [[1, 1, 1, 1], [1, 1, 0, 1], [1, 0, 0, 1], [1, 0, 0, 1], [1, 1, 1, 1]]
    assert found.tolist() == [[bool(part) for part in row] for row in expected]
    # Heat costs; so it pays to switch off the fan, though neither it nor the flow costs anything.
    process = lambda x: x[:, :1].sign() * 0.5 + x[:, 3:]
    tried = torch.rand(80, 4).double() + 0.1
    known = Evidence.of((tried[:40], process(tried[:40])), (tried[40:], process(tried[40:])))
    proposal = Proposer(process, evidence=known, inputs=inputs, scale=(1.0, 1.0)).propose(
        [[1.0]], cost={"heat": 1.0}, bounds={"heat": (0.5, 1), "flow": (0.5, 1)}
    )
    assert (float(proposal.cost), float(proposal.inputs[0, 0])) == (0.0, 0.0)


BAD = [
    (("flw", ">", 0), ValueError, "'heat'.* one of the inputs .*'flw'.* mean 'flow'"),
    (("heat", ">", 0), ValueError, "another input than 'heat' itself"),
    (("flow", "=>", 0), ValueError, "one of the signs .* '>='.* got '=>'"),
    (("flow", ">", NAN), ValueError, "finite number"),
    (("flow", ">", "0"), TypeError, "finite number"),
    (("flow", ">"), TypeError, r"\(name, sign, number\)"),
    ("flow > 0", TypeError, r"\(name, sign, number\)"),
    ((3, ">", 0), TypeError, r"\(name, sign, number\)"),
]


@pytest.mark.parametrize(("condition", "error", "words"), BAD)
def test_bad_conditions_are_refused_in_a_line(condition, error, words):
    inputs = (INPUTS[0], INPUTS[1]._replace(matters_if=condition), INPUTS[2])
    with pytest.raises(error, match=words) as caught:
        proposer(inputs).propose([[0.1]])
    assert "\n" not in str(caught.value)
    sides = {"inputs": [list(v) for v in inputs], "outputs": [["y"]]}
    with pytest.raises(ValueError, match="inputs, but they are damaged"):
        unpack_variables({"lightning_invert": {"variables": sides}}, Pair())


def test_a_checkpoint_and_what_is_deployed_keep_it(tmp_path):
    pair = ForwardInverseModule(SmoothMLP(3, 2, width=16), SmoothMLP(2, 3, width=16))
    data = Smooth()
    data.inputs = (
        Variable("a", "", 500.0, 1500.0), Variable("b", matters_if=("a", "<", np.float64(900))), Variable("c"),
    )  # fmt: skip
    save_pair(tmp_path / "pair.ckpt", pair, data, max_epochs=1)
    again = ForwardInverseModule.load_from_checkpoint(tmp_path / "pair.ckpt")
    assert again.inputs[1].matters_if == ("a", "<", 900.0)
    assert describe(again)["inputs"][1]["matters_if"] == ["a", "<", 900.0]
    assert describe(again)["inputs"][0]["matters_if"] is None
    found = solve(again, {"gas": 400.0}, bounds=again.proposer.bounds)
    assert torch.equal(found.matters[:, 1], found.inputs[:, 0] < 900)


def test_of_the_furnace_it_is_the_temperature_of_hydrogen_alone():
    furnace = BlastFurnace()
    x = furnace.sample(50, seed=2)
    x[:, 0] = 0
    for place, variable in enumerate(furnace.inputs):
        moved = x.clone()
        moved[:, place] = 0.5 * (variable.low + variable.high) + 0.1 * x[:, place]
        same = torch.equal(furnace.forward(moved), furnace.forward(x))
        assert same == (variable.matters_if == ("h2_injection", ">", 0)), variable.name
