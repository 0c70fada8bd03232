"""From where outcomes are to be reached: what may be said of it, and the box that it makes."""

import math

import pytest
import torch
from torch import nn

from lightning_invert.watch.findings.reach import Reach, read_bounds
from lightning_invert.watch.maps import MapError
from lightning_invert.watch.parts import parse_part
from lightning_invert.watch.resolution import resolve_maps

INPUTS = torch.tensor([[1.0, -2.0], [3.0, 5.0], [math.nan, math.inf]])


def reach(bounds):
    return Reach("f", None, parse_part("outcomes", 1), *read_bounds("bounds", bounds))


@pytest.mark.parametrize(
    ("bounds", "low", "high"),
    [
        (None, [1, -2], [3, 5]),
        ((0.0, 4.0), [0, 0], [4, 4]),
        (([0, None], [None, 4]), [0, -2], [3, 4]),
        (([math.nan, 0.0], None), [1, 0], [3, 5]),
        ((-math.inf, math.inf), [-math.inf] * 2, [math.inf] * 2),
        ((torch.tensor([9.0, -9.0]), None), [9, -9], [9, 5]),  # all inputs are below the first
        ((None, [0.5, 9.0]), [0.5, -2], [0.5, 9]),
    ],
)
def test_an_end_that_is_not_known_is_that_of_the_finite_inputs(bounds, low, high):
    found = reach(bounds).box(INPUTS)
    for end, expected in zip(found, (low, high), strict=True):
        torch.testing.assert_close(end, torch.tensor(expected, dtype=torch.float32))


@pytest.mark.parametrize(
    "bounds", ["ab", 3, (1,), ("a", "b"), ([[0.0]], 1.0), ([0.0, 0.0], [1.0] * 3), (1.0, 0.0)]
)
def test_what_are_no_bounds_is_refused_by_name(bounds):
    with pytest.raises((TypeError, ValueError), match=r"Expected argument `f.bounds` to be a pair"):
        read_bounds("f.bounds", bounds)


def test_ends_for_other_inputs_are_refused():
    with pytest.raises(ValueError, match=r"of shape \(2,\) each, but got \(3,\)"):
        reach(([0.0] * 3, None)).box(INPUTS)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"reach": "inverse"}, r"`maps\['f'\]\['reach'\]` to be a mapping {'inverse'"),
        ({"reach": {"inverse": "1"}}, "to have the keys 'inverse' and 'outcomes'"),
        ({"reach": {"inverse": "1", "outcomes": 1, "box": 2}}, r"\['inverse', 'outcomes', 'box'\]"),
        ({"reach": {"inverse": 3, "outcomes": 1}}, r"\['inverse'\]` to be a path"),
        ({"reach": {"inverse": "9", "outcomes": 1}}, r"\['inverse'\]` to be the path .* got '9'"),
        ({"reach": {"inverse": "1", "outcomes": 2.5}}, r"\['outcomes'\]` to be an index"),
        ({"reach": {"inverse": "1", "outcomes": 1}, "context": 2}, "no `context` beside `reach`"),
    ],
)
def test_a_description_that_makes_no_sense_is_refused_by_name(spec, words):
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    with pytest.raises((TypeError, ValueError), match=words):
        resolve_maps({"f": {"module": "0", **spec}}, module, reachable_steps=3)


def test_it_is_not_read_where_it_is_not_asked_for():
    module = nn.Linear(2, 2)
    module.invertibility_maps = lambda: {"f": {"reach": {"bounds": (1.0, 0.0)}}}
    (watched,) = resolve_maps(None, module)
    assert watched.questions == ()


def test_outcomes_that_are_not_there_are_said():
    maps = {"f": {"module": "0", "reach": {"inverse": "1", "outcomes": "y"}}}
    (watched,) = resolve_maps(
        maps, nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), reachable_steps=3
    )
    with pytest.raises(MapError, match=r"because of its reach: .*a dict with the keys"):
        watched.question(Reach).take({"x": torch.zeros(3, 2)}, None)
    with pytest.raises(MapError, match=r"of shape \(N, m\), but got a tensor of dtype torch.int64"):
        watched.question(Reach).take({"y": torch.zeros(3, 2, dtype=torch.int64)}, None)
