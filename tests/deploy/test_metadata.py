import json

import numpy as np
import pytest
import torch
from torch import nn

from lightning_invert import Linear, LinearDecayAlpha, Variable, __version__
from lightning_invert.deploy.metadata import describe
from lightning_invert.proposals.band import Band
from lightning_invert.proposals.leverage import Leverage
from lightning_invert.proposals.reliability import Reliability
from tests.deploy.pairs import INPUTS, pair_of
from tests.proposals.process import known, scaled, untrained


@pytest.fixture
def pair():
    return pair_of(nn.Linear(3, 2), nn.Linear(2, 3))


def test_columns_are_told_with_ranges_and_statistics(pair):
    found = describe(pair)
    values = (
        (1.7e9, 1.7e9 + 60, None, None, 1.7e9 + 30, 17.0),
        (None, 5.0, None, None, 300.0, 2.0),
        (None, None, None, None, 1e-6, 1e-8),
    )
    keys = (
        "name",
        "unit",
        "low",
        "high",
        "usual_low",
        "usual_high",
        "mean",
        "std",
        "levels",
        "matters_if",
    )
    assert found["inputs"] == [
        dict(zip(keys, (*variable[:2], *numbers, [], None), strict=True))
        for variable, numbers in zip(INPUTS, values, strict=True)
    ]
    rest = {name: value for name, value in found.items() if name not in ("inputs", "outputs")}
    assert rest == {
        "version": __version__,
        "map": "forward",
        "bands": [100.0, 1e4],
        "singular_floor": 1e-12,
        "rank_atol": 1e-5,
        "alpha": 0.8,
        "reliability": None,
        "tried": None,
        "constraints": [],
        "prices": None,
        "backtest": None,
    }


def test_constraints_levels_prices_and_a_backtest_go_to_the_page(pair):
    levels = (0.0, 2.0, 5.0)
    pair.inputs = (INPUTS[0], Variable("valve", "", None, 5.0, levels), INPUTS[2])
    pair.constraints = [
        Linear({"valve": 2, INPUTS[0].name: -1}, high=3, name="room"),
        Linear({2: 1}, low=0),
    ]
    summary = {
        "rows": 3,
        "cheaper_share": None,
        "spent_mean": None,
        "proposed_mean": None,
        "within": {"1": 0.5},
    }
    found = describe(pair, prices={"valve": 3}, backtest={"data": "secret/folder", **summary})
    assert found["inputs"][1]["levels"] == [0.0, 2.0, 5.0]
    assert found["constraints"] == [
        {"name": "room", "coefficients": [-1.0, 2.0, 0.0], "low": None, "high": 3.0},
        {
            "name": f"0 <= {INPUTS[2].name}",
            "coefficients": [0.0, 0.0, 1.0],
            "low": 0.0,
            "high": None,
        },
    ]
    assert (found["prices"], found["backtest"]) == ({"valve": 3.0}, summary)
    with pytest.raises(ValueError, match=r"`prices` to be keyed by one of .* Did you mean 'valve'"):
        describe(pair, prices={"valv": 3})
    for wrong in ({"rows": 3}, [1], {**summary, "within": 1}):
        with pytest.raises(ValueError, match=r"`backtest` to be the `summary\(\)` .* but got "):
            describe(pair, backtest=wrong)


@pytest.mark.parametrize(
    ("name", "sizes"), [("forward", (3, 2)), ("inverse", (2, 3)), ("round_trip", (2, 2))]
)
def test_inputs_and_outputs_are_those_of_the_map(name, sizes, pair):
    found = describe(pair, name)
    assert (len(found["inputs"]), len(found["outputs"])) == sizes
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_columns_without_names_are_numbered():
    found = describe(pair_of(nn.Linear(3, 2), nn.Linear(2, 3), named=False))
    assert [one["name"] for one in found["inputs"]] == ["x0", "x1", "x2"]
    assert [one["name"] for one in found["outputs"]] == ["y0", "y1"]


def test_a_schedule_is_not_told_as_a_number(pair):
    pair.alpha = LinearDecayAlpha(0.1, epochs=5)
    assert describe(pair)["alpha"] is None


def test_a_map_that_does_not_exist_is_refused(pair):
    with pytest.raises(ValueError, match="`name` to be 'forward', 'inverse' or 'round_trip'"):
        describe(pair, "forwards")


SCALE = torch.tensor([60.0, 2.0, 0.1], dtype=torch.float64)
CENTRE = torch.tensor([1.7e9, 0.0, 5.0], dtype=torch.float64)


@pytest.fixture
def trained():
    pair = untrained()
    pair.scale_x.fit(CENTRE, SCALE)
    pair.scale_y.fit(torch.zeros(2), torch.ones(2))
    x = CENTRE + SCALE * torch.randn(1300, 3, dtype=torch.float64)
    y = pair(x).detach() + 0.1 * torch.randn(1300, 2, dtype=torch.float64)
    return known(pair, x, y, num_judged=600)


def rebuilt(kind, described):
    """A dataclass from the plain values of its fields."""
    nested = {"band": Band, "leverage": Leverage}
    parts = {name: described[name] for name in kind.__dataclass_fields__}
    for name, part in parts.items():
        if name in nested:
            parts[name] = rebuilt(nested[name], part)
        elif isinstance(part, list):
            parts[name] = torch.tensor(part, dtype=torch.float64)
    if kind is Band:
        parts["scores"] = parts["scores"][:, None]
    return kind(**parts)


def test_what_is_described_judges_as_the_pair_does_by_the_same_points(trained):
    described = json.loads(json.dumps(describe(trained)["reliability"], allow_nan=False))
    there = rebuilt(Reliability, described)
    here = trained.proposer.knowledge.measure(512, members=False)
    z, wanted = torch.randn(50, 3, dtype=torch.float64), torch.ones(50, 2, dtype=torch.bool)
    residual = torch.rand(50, dtype=torch.float64)
    torch.testing.assert_close(there.sigma(z), here.sigma(z), rtol=1e-4, atol=1e-6)
    bands = [one.half_width(z, here.sigma(z))[0] for one in (there, here)]
    torch.testing.assert_close(*bands, rtol=1e-4, atol=1e-6)
    beyonds = [one.half_width(3 * z, here.sigma(3 * z))[1] > 0 for one in (there, here)]
    assert torch.equal(*beyonds)
    assert beyonds[0].any()
    band = described["band"]
    assert band["rank"] == here.band.rank(0.9)
    proposal = trained.propose(torch.zeros(1, 2), bounds=(CENTRE - SCALE, CENTRE + SCALE))
    assert band["words"] == proposal.band_words == "both outcomes lie inside nine times out of ten"
    trusts = [
        one.trust(one.expected_error(one.sigma(z), residual, wanted), wanted)
        for one in (there, here)
    ]
    torch.testing.assert_close(*trusts, rtol=1e-4, atol=1e-6)


def test_ranges_of_what_is_known_are_in_physical_units(trained):
    described = describe(trained)["reliability"]
    x, y = trained.evidence.rows("train")
    assert described["input_low"] == x.amin(0).tolist()
    assert described["seen_high"][0] >= float(y[:, 0].sort().values[-100])


@pytest.mark.parametrize(
    ("name", "sides"), [("forward", "xy"), ("inverse", "yx"), ("round_trip", "yy")]
)
def test_usual_ranges_are_quantiles_of_the_training_rows(name, sides):
    pair = untrained()
    x = torch.randn(900, 3, generator=torch.Generator().manual_seed(0)).double().exp()
    scaled(pair, x, x[:, :2] ** 2)
    known(pair, x, x[:, :2] ** 2, num_judged=100)
    rows = {"x": x[100:].numpy(), "y": (x[100:, :2] ** 2).numpy()}
    for key, side in zip(("inputs", "outputs"), sides, strict=True):
        columns = describe(pair, name)[key]
        usual = [[column["usual_low"], column["usual_high"]] for column in columns]
        expected = np.quantile(rows[side], [0.025, 0.975], axis=0).T
        np.testing.assert_allclose(usual, expected, rtol=1e-12)


def test_only_the_forward_map_carries_it(trained):
    assert describe(trained, "inverse")["reliability"] is None
