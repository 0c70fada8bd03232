import json

import pytest
from torch import nn

from lightning_invert import LinearDecayAlpha, __version__
from lightning_invert.deploy.metadata import describe
from tests.deploy.pairs import INPUTS, pair_of


@pytest.fixture
def pair():
    return pair_of(nn.Linear(3, 2), nn.Linear(2, 3))


def test_columns_are_told_with_ranges_and_statistics(pair):
    found = describe(pair)
    assert found["inputs"] == [
        {"name": name, "unit": unit, "low": low, "high": high, "mean": mean, "std": std}
        for (name, unit, *_), low, high, mean, std in zip(
            INPUTS,
            (1.7e9, None, None),
            (1.7e9 + 60, 5.0, None),
            (1.7e9 + 30, 300.0, 1e-6),
            (17.0, 2.0, 1e-8),
            strict=True,
        )
    ]
    rest = {name: value for name, value in found.items() if name not in ("inputs", "outputs")}
    assert rest == {
        "version": __version__,
        "map": "forward",
        "bands": [100.0, 1e4],
        "singular_floor": 1e-12,
        "rank_atol": 1e-5,
        "alpha": 0.1,
        "reliability": None,
    }


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
