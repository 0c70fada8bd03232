import json

import pytest
import torch

from lightning_invert import ForwardInverseModule, SmoothMLP
from lightning_invert.deploy.metadata import describe
from lightning_invert.proposals.reliability import Reliability

SCALE = torch.tensor([60.0, 2.0, 0.1], dtype=torch.float64)
CENTRE = torch.tensor([1.7e9, 0.0, 5.0], dtype=torch.float64)


@pytest.fixture
def pair():
    torch.manual_seed(0)
    pair = ForwardInverseModule(SmoothMLP(3, 2, width=16), SmoothMLP(2, 3, width=16)).eval()
    pair.scale_x.fit(CENTRE, SCALE)
    pair.scale_y.fit(torch.zeros(2), torch.ones(2))
    for split, count in (("train", 700), ("val", 600)):
        x = CENTRE + SCALE * torch.randn(count, 3, dtype=torch.float64)
        error = 0.1 * torch.randn(count, 2, dtype=torch.float64)
        pair.evidence.add(split, x, pair(x).detach() + error)
        pair.evidence.complete(split)
    return pair


def test_what_is_described_judges_as_the_pair_does_by_the_same_points(pair):
    described = json.loads(json.dumps(describe(pair)["reliability"], allow_nan=False))
    read = {
        name: torch.tensor(value, dtype=torch.float64) if isinstance(value, list) else value
        for name, value in described.items()
    }
    there = Reliability(**{name: read[name] for name in Reliability.__dataclass_fields__})
    here = pair.proposer.measure_reliability(512, members=False)
    z, wanted = torch.randn(50, 3, dtype=torch.float64), torch.ones(50, 2, dtype=torch.bool)
    residual = torch.rand(50, dtype=torch.float64)
    for one, other in zip(there.sigma(z), here.sigma(z), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    trusts = [
        one.trust(one.expected_error(one.sigma(z)[0], residual, wanted), wanted)
        for one in (there, here)
    ]
    torch.testing.assert_close(*trusts, rtol=1e-4, atol=1e-6)


def test_ranges_of_what_is_known_are_in_physical_units(pair):
    described = describe(pair)["reliability"]
    x, y = pair.evidence.rows("train")
    assert described["input_low"] == x.amin(0).tolist()
    assert described["seen_high"][0] >= float(y[:, 0].sort().values[-100])


def test_only_the_forward_map_carries_it(pair):
    assert describe(pair, "inverse")["reliability"] is None


def test_a_pair_without_data_has_none():
    pair = ForwardInverseModule(SmoothMLP(3, 2, width=16), SmoothMLP(2, 3, width=16))
    pair.scale_x.fit(CENTRE, SCALE)
    pair.scale_y.fit(torch.zeros(2), torch.ones(2))
    assert describe(pair)["reliability"] is None
