"""Values by the names of columns: whatever is asked by name is the same as what is asked by position."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from lightning_invert import Interval, Near, Plausible, Proposer, Variable, solve
from tests.proposals.process import known, points, process, scaled, untrained

NAN, INF = math.nan, math.inf
INPUTS = (
    Variable("heat", "K", -2.0, 2.0),
    Variable("Druck", "bar", -2.0, 2.0),
    Variable("flow", "", -2.5, 2.5),
)
OUTPUTS = (Variable("conversion", "%"), Variable("purity"))
LOW, HIGH = [-2.0, -2.0, -2.5], [2.0, 2.0, 2.5]
Y = [[0.4, -0.2]]


class Process(torch.nn.Module):
    """A process that knows its columns."""

    inputs, outputs = INPUTS, OUTPUTS

    def forward(self, x):
        return process(x)


@pytest.fixture(scope="module")
def pair():
    x, y = points(400)
    module = untrained()
    scaled(module, x, y)
    module.inputs, module.outputs = INPUTS, OUTPUTS
    return known(module, x, y)


def propose(pair, targets, **asked):
    proposer = Proposer(process, evidence=pair.evidence, inputs=INPUTS, outputs=OUTPUTS)
    return proposer.propose(targets, **asked)


ASKING = {
    "solve": solve,
    "pair": lambda pair, targets, **asked: pair.propose(targets, **asked),
    "proposer": propose,
    "trade-off": lambda pair, targets, **asked: pair.trade_off(targets, **asked, widths=(0.0, 0.2)),
}


def check_same(ask, *questions):
    found, expected = (ask(**question) for question in questions)
    torch.testing.assert_close(
        found.inputs, expected.inputs, equal_nan=True, check_dtype=False, atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize(
    ("named", "by_position"),
    [
        ({"targets": {"conversion": 0.4, "purity": -0.2}}, {}),
        ({"targets": {"purity": -0.2, "conversion [%]": 0.4}}, {}),
        ({"targets": {0: 0.4, np.int64(1): np.float32(-0.25)}}, {"targets": [[0.4, -0.25]]}),
        ({"targets": {"purity": -0.2}}, {"targets": [[NAN, -0.2]]}),
        ({"targets": {"purity": [-0.2, 0.1], "conversion": 0.4}}, {"targets": [[0.4, -0.2], [0.4, 0.1]]}),
        ({"targets": {"purity": torch.tensor([-0.2, NAN]), "conversion": np.array([NAN, 0.4])}},
         {"targets": [[NAN, -0.2], [0.4, NAN]]}),
        ({"targets": {"purity": Interval(0.1, 0.3), "conversion": Interval(high=0.2)}},
         {"targets": Interval([[-INF, 0.1]], [[0.2, 0.3]])}),
        ({"targets": {"purity": Interval([0.1, None], 0.3), "conversion": 0.5}},
         {"targets": Interval([[0.5, 0.1], [0.5, -INF]], [[0.5, 0.3], [0.5, 0.3]])}),
        ({"targets": Interval({"purity": 0.1}, {"conversion": 0.2})},
         {"targets": Interval([[-INF, 0.1]], [[0.2, INF]])}),
        ({"cost": {"Druck": 3}}, {"cost": [0.0, 3.0, 0.0]}),
        ({"cost": {"Druck [bar]": 3.0, "heat": -1, 2: 0.5}}, {"cost": [-1.0, 3.0, 0.5]}),
        ({"cost": Near({"heat": 0.1, "Druck": 0.2, "flow": 0.3})}, {"cost": Near([0.1, 0.2, 0.3])}),
        ({"cost": Near({"heat": 0.1}, {"heat": 2.0})},
         {"cost": lambda x: ((x[:, 0].double() - 0.1) / 2).square()}),
        ({"fixed": {"Druck [bar]": 0.5}}, {"fixed": {1: 0.5}}),
        ({"bounds": {"flow": (-1.0, 1)}}, {"bounds": ([*LOW[:2], -1.0], [*HIGH[:2], 1.0])}),
        ({"bounds": {"Druck [bar]": (None, 1.5), 0: [-1, None]}},
         {"bounds": ([-1.0, *LOW[1:]], [2.0, 1.5, 2.5])}),
    ],
)  # fmt: skip
def test_what_is_asked_by_name_is_what_is_asked_by_position(named, by_position):
    check_same(partial(solve, Process()), {"targets": Y} | named, {"targets": Y} | by_position)


@pytest.mark.parametrize("way", ASKING)
def test_every_way_to_ask_takes_names(pair, way):
    names = {"bounds": {"flow": (None, 1.5)}, "fixed": {"heat": 0.3}, "cost": {"Druck [bar]": 3}}
    numbers = {"bounds": (LOW, [*HIGH[:2], 1.5]), "fixed": {0: 0.3}, "cost": [0.0, 3.0, 0.0]}
    ask = partial(ASKING[way], pair)
    check_same(ask, {"targets": {"purity": -0.2}, **names}, {"targets": [[NAN, -0.2]], **numbers})
    with pytest.raises(ValueError, match=r"`cost` .*Did you mean 'Druck'\?"):
        ask({"purity": -0.2}, cost={"drcuk": 3})


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        ({"targets": {"conversoin": 0.4}}, ValueError, r"`targets` .*keyed by.*'conversoin'.*Did you mean 'conversion'\?"),
        ({"targets": {"CONVERSION": 0.4}}, ValueError, r"Did you mean 'conversion'\?"),
        ({"targets": {"heat": 0.4}}, ValueError, r"`targets` .*\['conversion', 'purity'\]"),
        ({"targets": {"purity": 0.1, "purity ": 0.1}}, ValueError, r"Did you mean 'purity'\?"),
        ({"targets": {"conversion": 0.4, 0: 0.4}}, ValueError, "'conversion' twice"),
        ({"targets": {2: 0.4}}, ValueError, "`targets` .* of at most 1"),
        ({"targets": {"conversion": (0.1, 0.2)}}, TypeError, r"Interval\(0.1, 0.2\).*\[0.1, 0.2\]"),
        ({"targets": {"conversion": "high"}}, TypeError, "`targets` .*numbers"),
        ({"targets": {"conversion": [0.1, 0.2], "purity": [0.1] * 3}}, ValueError, "2 for 'conversion' and 3 for 'purity'"),
        ({"targets": {"conversion": [[0.1]]}}, ValueError, "a number, or one for each target"),
        ({"targets": {}}, ValueError, "at least one output"),
        ({"targets": {"purity": Interval(0.3, 0.1)}}, ValueError, "low=0.3 and high=0.1 for output 'purity'"),
        ({"cost": {"drcuk": 3.0}}, ValueError, r"`cost` .*Did you mean 'Druck'\?"),
        ({"cost": {"heat": None}}, TypeError, "`cost`"),
        ({"cost": {"heat": [1.0, 2.0]}}, TypeError, "`cost`"),
        ({"cost": Plausible()}, ValueError, r"`cost.points` .*write `Plausible\(points=x\)`"),
        ({"cost": Plausible([[1.0, 2.0]])}, ValueError, r"`cost.points` .*\(1, 2\)"),
        ({"cost": Near({"hat": 1.0})}, ValueError, r"`cost.reference` .*Did you mean 'heat'\?"),
        ({"cost": Near({"heat": 1.0}, {"fow": 1.0})}, ValueError, r"`cost.spread` .*Did you mean 'flow'\?"),
        ({"fixed": {"haet": 0.1}}, ValueError, r"`fixed` .*Did you mean 'heat'\?"),
        ({"fixed": {"heat": 0.1, "heat [K]": 0.1}}, ValueError, "'heat' twice"),
        ({"bounds": {"Durck [bar]": (0.0, 1.0)}}, ValueError, r"`bounds` .*Did you mean 'Druck \[bar\]'\?"),
        ({"bounds": {"heat": 1.0}}, TypeError, r"`bounds` .*a pair \(low, high\)"),
        ({"bounds": {"heat": ("a", 1.0)}}, TypeError, "`bounds`"),
        ({"bounds": {"heat": (1.0, -1.0)}}, ValueError, "low=1 and high=-1 for input 'heat'"),
    ],
)  # fmt: skip
def test_a_wrong_name_or_value_is_refused_in_words(asked, error, words):
    with pytest.raises(error, match=words):
        solve(Process(), **{"targets": Y} | asked)


def test_columns_without_names_are_called_as_in_the_results():
    ask = {"bounds": (-2.0, [2.0, 2.0, 2.0]), "progress": False}
    found = solve(process, {"y0": [0.1, 0.3]}, fixed={"x1": 0.5}, cost={"x2": 1.0}, **ask)
    expected = solve(process, [[0.1, NAN], [0.3, NAN]], fixed={1: 0.5}, cost=[0, 0, 1.0], **ask)
    assert torch.equal(found.inputs, expected.inputs)


def test_a_table_of_targets_is_taken_as_it_is(pair):
    polars = pytest.importorskip("polars")
    table = polars.DataFrame({"purity": [0.1, None], "conversion": [0.2, 0.3]})
    found, expected = pair.propose(table), pair.propose([[0.2, 0.1], [0.3, NAN]])
    assert torch.equal(found.inputs, expected.inputs)
