"""How a function is called: which of its arguments is the input, by keyword, with constants."""

import numpy as np
import pytest
import torch
from torch import nn

from lightning_invert import batched_jacobian
from lightning_invert.watch.maps import MapError
from lightning_invert.watch.observation import observe
from lightning_invert.watch.resolution import parse_maps, resolve_maps
from lightning_invert.watch.watcher import Watcher
from tests.watch.looks import look
from tests.watch.reference import jacobians_point_by_point, spectra_point_by_point

X, C, SHIFT = torch.randn(5, 3), torch.randn(5, 2), torch.randn(5, 1)
BATCH = {"x": X, "c": C, "shift": SHIFT}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(5, 4)

    def forward(self, c, x, shift=None, *, scale=1.0):
        y = self.linear(torch.cat([x.sin(), c], 1) * scale)
        return y if shift is None else y + shift * x[:, :1]

    def keywords_alone(self, *, x, c):
        return self(c, x)

    def any_keywords(self, **batch):
        return self(batch["c"], batch["x"], batch.get("shift"))

    def with_options(self, x, c, shift, power):
        return self(c, x**power, shift)

    def of_rest(self, c, *rest):
        return self(c, *rest)


def only(entry, root):
    (watched,) = resolve_maps({"f": entry}, root)
    return watched


CALLS = {
    "by position": {"input": "x", "argument": 1, "context": "c"},
    "by position, between others": {"input": "x", "argument": 1, "context": [["c"], ["shift"]]},
    "by name, between others": {"input": "x", "argument": "x", "context": [["c"], ["shift"]]},
    "by name, behind the others": {"input": "x", "argument": "x", "context": "c"},
    "by the name of the first": {"input": "x", "argument": "x", "context": {"c": "c"}},
    "before a keyword": {"input": "x", "argument": "x", "context": {"shift": "shift", "c": "c"}},
    "behind *rest": {"module": "of_rest", "input": "x", "argument": 1, "context": "c"},
    "keywords alone": {
        "module": "keywords_alone", "input": "x", "argument": "x", "context": {"c": "c"}
    },
    "forward(**batch)": {
        "module": "any_keywords",
        "input": "x",
        "argument": "x",
        "context": {"c": "c", "shift": "shift"},
    },
    "its own part, by its name": {"argument": "x", "context": {"c": "c"}},
    "a constant": {
        "input": "x", "argument": "x", "context": {"c": "c"}, "constants": {"scale": 0.5}
    },
    "constants of any kind": {
        "module": "with_options",
        "input": "x",
        "context": "c",
        "constants": {"power": 2, "shift": None},
    },
}  # fmt: skip
EXPECTED = {
    "by position, between others": lambda net, x, c, shift: net(c, x, shift),
    "by name, between others": lambda net, x, c, shift: net(c, x, shift),
    "before a keyword": lambda net, x, c, shift: net(c, x, shift),
    "forward(**batch)": lambda net, x, c, shift: net(c, x, shift),
    "a constant": lambda net, x, c, shift: net(c, x, scale=0.5),
    "constants of any kind": lambda net, x, c, shift: net(c, x**2),
}


@pytest.mark.parametrize("precision", ["native", "float64"])
@pytest.mark.parametrize("call", CALLS)
def test_any_argument_may_be_the_input_and_the_others_are_its_context(call, precision):
    net, watched = Net(), None
    watched = only(CALLS[call], net)
    observation = observe(watched, watched.take(BATCH), precision=precision)
    expected = EXPECTED.get(call, lambda net, x, c, shift: net(c, x))
    sigma = [
        spectra_point_by_point(
            lambda x, i=i: expected(net, x, C[i, None], SHIFT[i, None]), X[i, None]
        )
        for i in range(len(X))
    ]
    np.testing.assert_allclose(observation.singular_values, np.concatenate(sigma), rtol=2e-5)


def test_the_arguments_of_a_compiled_module_have_their_names():
    net, root = Net(), nn.Module()
    root.net = torch.compile(net, backend="eager")
    watched = only({"module": "net", "input": "c", "argument": "c", "context": [["x"]]}, root)
    points = watched.take(BATCH)
    torch.testing.assert_close(points.call(watched)(*points.rows), net(C, X))
    with pytest.raises(ValueError, match=r"\['c', 'x', 'shift', 'scale'\], but got 'mask'"):
        only({"module": "net", "input": "x", "context": {"mask": "c"}}, root)


@pytest.mark.parametrize("argument", [["x", "c"], [1, 0], ["x", 0], [1, "c"]])
def test_several_inputs_have_a_place_each(argument):
    net = Net()
    watched = only({"input": [["x"], ["c"]], "argument": argument}, net)
    joint = torch.cat([X, C], 1)
    found = batched_jacobian(watched.take(BATCH).call(watched), joint)
    expected = jacobians_point_by_point(lambda both: net(both[:, 3:], both[:, :3]), joint)
    np.testing.assert_allclose(found.detach(), expected, rtol=1e-5, atol=1e-7)


def test_several_inputs_stand_together_behind_what_comes_before_them():
    net = Net()
    watched = only({"input": [["x"], ["shift"]], "argument": 1, "context": "c"}, net)
    points = watched.take(BATCH)
    torch.testing.assert_close(points.call(watched)(*points.rows), net(C, X, SHIFT))


def test_a_collection_goes_where_the_argument_is():
    class Last(nn.Module):
        def forward(self, scale, batch):
            return batch["x"] * scale

    watched = only({"input": [0, "x"], "within": 0, "argument": "batch", "context": 1}, Last())
    points = watched.take(({"x": X, "name": "any"}, SHIFT))
    torch.testing.assert_close(points.call(watched)(*points.rows), X * SHIFT)


def test_a_truth_is_called_as_the_map_is():
    net, other = Net(), Net()
    entry = {**CALLS["a constant"], "truth": other}
    watched = only(entry, net)
    found = observe(watched, watched.take(BATCH)).findings["truth"]

    def jacobians(net):
        of_point = lambda i: lambda x: net(C[i, None], x, scale=0.5)
        return np.stack([jacobians_point_by_point(of_point(i), X[i, None])[0] for i in range(5)])

    norm = lambda matrices: np.linalg.norm(matrices, axis=(1, 2))
    expected = norm(jacobians(net) - jacobians(other)) / norm(jacobians(other))
    np.testing.assert_allclose(found.error, expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("entry", "error", "words"),
    [
        ({"argument": 1.5}, TypeError, r"maps\['f'\]\['argument'\].*name of an argument.*1\.5"),
        ({"argument": True}, TypeError, r"maps\['f'\]\['argument'\].*True \(bool\)"),
        ({"argument": [0, None]}, TypeError, r"maps\['f'\]\['argument'\].*None"),
        ({"argument": [0, 1]}, ValueError, r"name of an argument, but got \[0, 1\]"),
        ({"input": [["x"], ["c"]], "argument": "x"}, ValueError, r"each of the 2 inputs.*'x'"),
        ({"input": [["x"], ["c"]], "argument": [0, 0]}, ValueError, r"\['argument'\].*\[0, 0\]"),
        ({"argument": 2, "context": "c"}, ValueError, r"\['argument'\].*there are 1, but got 2"),
        ({"argument": -1}, ValueError, r"\['argument'\].*-1"),
        ({"argument": 1, "context": {"c": "c"}}, ValueError, r"\['argument'\].*got 1"),
        ({"argument": "y"}, ValueError, r"maps\['f'\].*\['c', 'x', 'shift', 'scale'\].*'y'"),
        ({"context": {"mask": "c"}}, ValueError, r"maps\['f'\].*\['c', 'x', .*'mask'"),
        ({"constants": {"pad": 1}}, ValueError, r"maps\['f'\].*\['c', 'x', .*'pad'"),
        ({"constants": [1]}, TypeError, r"maps\['f'\]\['constants'\].*mapping.*list"),
        ({"constants": {1: 2}}, ValueError, r"maps\['f'\].*\[1\]"),
        ({"argument": "x", "constants": {"x": 2}}, ValueError, r"once.*\['x', 'x'\]"),
        ({"context": {"c": 1.5}}, TypeError, r"maps\['f'\]\['context'\]\['c'\].*float"),
    ],
)  # fmt: skip
def test_says_which_argument_does_not_fit(entry, error, words):
    with pytest.raises(error, match=words):
        resolve_maps({"f": entry}, Net())


def test_what_needs_no_module_is_said_before_there_is_one():
    with pytest.raises(ValueError, match=r"maps\['f'\]\['argument'\]"):
        parse_maps({"f": {"argument": [3, 4]}})


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"input": "x"}, r"missing 1 required.*'context'"),
        ({"input": "x", "module": "keywords_alone", "argument": "x"}, r"keyword-only.*'context'"),
        ({"input": "x", "context": {"c": "c"}}, r"multiple values.*'argument'"),
        ({"input": "x", "context": [["c"]] * 4}, r"takes from 3 to 4 positional arguments but 6"),
    ],
)
def test_advises_the_opposite_of_what_went_wrong(entry, words):
    watched = only(entry, Net())
    points = watched.take(BATCH)
    with pytest.raises(MapError, match=words) as caught:
        points.call(watched)(*points.rows)
    assert ("'context'" in caught.value.why) == ("takes" not in words)


class Scaled(nn.Module):
    def forward(self, x, scale):
        return x * scale

    def of_batch(self, batch):
        return batch["x"] * batch["scale"]

    def at_nearest(self, x, codes):
        return x * codes.sum()


VARYING = {
    "a scalar": ({"input": "x", "context": "scale"}, torch.tensor),
    "a number": ({"input": "x", "context": {"scale": "scale"}}, float),
    "in a collection": ({"module": "of_batch", "input": "x", "within": []}, torch.tensor),
    "of other lengths": (
        {"module": "at_nearest", "input": "x", "context": "scale"},
        lambda scale: torch.ones(int(scale)),
    ),
    "in bfloat16": (
        {"input": "x", "context": "scale"},
        lambda scale: torch.tensor([scale], dtype=torch.bfloat16),
    ),
}


@pytest.mark.parametrize("kind", VARYING)
def test_points_are_watched_with_the_context_of_their_own_batch(kind):
    entry, scale = VARYING[kind]
    batches = [{"x": torch.randn(4, 2), "scale": scale(s)} for s in (2.0, 3.0, 2.0, 1.0)]
    with pytest.warns(UserWarning, match="'f'.*8 points are left out"):
        (found,) = look(Watcher({"f": entry}), Scaled(), batches)
    assert found.num_points == 8
    torch.testing.assert_close(found.singular_values, torch.full((8, 2), 2.0, dtype=torch.float64))


def test_all_points_are_watched_where_the_context_stays():
    batches = [{"x": torch.randn(4, 2), "scale": torch.tensor(2.0), "id": "ab"[i]} for i in (0, 1)]
    for entry in (VARYING["a scalar"][0], VARYING["in a collection"][0]):
        (found,) = look(Watcher({"f": entry}), Scaled(), batches)
        assert found.num_points == 8
