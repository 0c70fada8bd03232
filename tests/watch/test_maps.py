import warnings
from collections import namedtuple
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule
from torch import nn

from lightning_invert import analyze, batched_jacobian
from lightning_invert.watch.maps import MapError
from lightning_invert.watch.observation import observe
from lightning_invert.watch.resolution import resolve_maps
from tests.watch.reference import spectra_point_by_point

X = torch.randn(5, 3)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(3, 2)
        self.both = TwoOutputs()

    def forward(self, settings):
        return self.encoder(settings)

    def twice(self, x):
        return 2 * self.encoder(x)


class TwoOutputs(nn.Module):
    def forward(self, x):
        return x, {"sum": x.sum(1, keepdim=True)}


def only(maps, root):
    (watched,) = resolve_maps(maps, root)
    return watched


@pytest.mark.parametrize(
    ("entry", "owner", "expected"),
    [
        ("encoder", "encoder", 1),
        ({"module": "encoder"}, "encoder", 1),
        ({"module": "encoder", "input": 0}, "encoder", 1),
        (lambda net: net.encoder, "encoder", 1),
        ("twice", "", 2),
        (lambda net: net.twice, "", 2),
        (lambda net: lambda x: 3 * net.encoder(x), "", 3),
    ],
)
def test_a_map_is_a_path_a_module_or_a_callable(entry, owner, expected):
    net = Net()
    watched = only({"latent": entry(net) if callable(entry) else entry}, net)
    assert (watched.name, watched.owner) == ("latent", net.get_submodule(owner))
    assert torch.equal(watched(watched.take((X, "label")).inputs), expected * net.encoder(X))


@pytest.mark.parametrize(
    "batch", [X, (X, 1), [X], {"settings": X, "other": X.clone() + 1}, {"features": X, "id": 3}]
)
def test_the_input_is_found_in_batches_of_every_usual_form(batch):
    assert torch.equal(only(None, Net()).take(batch).inputs, X)


@dataclass
class Batch:
    x: torch.Tensor
    name: str = "any"


Pair = namedtuple("Pair", "x y")


@pytest.mark.parametrize(
    ("part", "batch"),
    [
        (1, (0, X)),
        ("x", {"x": X, "settings": X + 1}),
        (lambda batch: batch["a"][0], {"a": [X]}),
        (lambda batch, module: module.both(batch)[0], X),
        ("x", Batch(X)),
        ("x", Pair(X, 0)),
        ("x", SimpleNamespace(x=X)),
        ("float()", X.double()),
        ([0, "exp()", "log()"], [X]),
        (["as_input()", "x"], SimpleNamespace(as_input=lambda: {"x": X})),
        ("x()", {"x()": X}),
    ],
)
def test_the_input_is_an_index_a_key_an_attribute_or_a_callable(part, batch):
    torch.testing.assert_close(only({"f": {"input": part}}, Net()).take(batch).inputs, X)


def test_the_output_is_picked_out_of_a_tuple_and_a_dict():
    net = Net()
    assert torch.equal(only({"f": {"module": "both", "output": 0}}, net)(X), X)
    inner = only({"f": {"module": "both", "output": lambda out: out[1]["sum"]}}, net)
    assert torch.equal(inner(X), X.sum(1, keepdim=True))


def test_a_module_may_say_itself_what_is_to_be_watched():
    net = Net()
    net.invertibility_maps = lambda: {"latent": "encoder", "double": net.twice}
    assert [watched.name for watched in resolve_maps(None, net)] == ["latent", "double"]


def test_in_float64_the_map_is_that_of_a_double_module_and_the_module_keeps_its_dtype():
    net = Net()
    expected = 2 * net.encoder.weight.double()
    for entry in ({"module": net.twice}, {"module": lambda x: 2 * net.encoder(x)}):
        found = batched_jacobian(only({"f": entry}, net).in_float64(), X.double())
        assert found.dtype == torch.float64
        assert torch.equal(found, expected.expand(5, 2, 3))
    assert net.encoder.weight.dtype == torch.float32


class Insists(nn.Module):
    def __init__(self, insist):
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.insist = insist

    def forward(self, x):
        return self.insist(self.linear, x)


@pytest.mark.parametrize(
    ("insist", "words"),
    [
        (lambda linear, x: linear(x.float()), "torch says: .*dtype"),
        (lambda linear, x: linear(x).float(), r"it returns torch\.float32"),
        (
            lambda linear, x: linear(x) @ torch.ones(2, 2, dtype=torch.float32),
            "torch says: .*dtype",
        ),
        (lambda linear, x: linear(x[:, :2]), "forward: RuntimeError: .*cannot be multiplied"),
    ],
)
def test_what_fails_in_float64_is_named(insist, words):
    watched = only({"f": ""}, Insists(insist)).in_float64()
    insists = "" if "RuntimeError" in words else ".*precision='native'"
    with pytest.raises(MapError, match=rf"'f'.*{words}{insists}"):
        watched(X)


class NoForward(LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(3, 2)


@pytest.mark.parametrize(
    ("maps", "root", "error", "words"),
    [
        ({"f": "decoder"}, Net(), ValueError, r"a method of Net.*'decoder'.*encoder"),
        ({"f": {"modul": "encoder"}}, Net(), ValueError, r"maps\['f'\].*\['modul'\]"),
        ({"f": 3}, Net(), TypeError, r"maps\['f'\].*got int"),
        ({"f": {"module": "encoder", "input": 1.5}}, Net(), TypeError, r"\['input'\].*float"),
        ({}, Net(), ValueError, "`maps` to be a mapping with at least one"),
        (None, NoForward(), ValueError, "NoForward defines none"),
    ],
)
def test_says_what_is_wrong_with_maps(maps, root, error, words):
    with pytest.raises(error, match=words):
        resolve_maps(maps, root)


@pytest.mark.parametrize(
    ("maps", "batch"),
    [(None, None), ({"f": {"input": "b"}}, {"b": None}), ({"f": {"input": ["b", 0]}}, {"b": None})],
)
def test_a_part_that_is_none_is_no_points(maps, batch):
    assert only(maps, Net()).take(batch) is None


@pytest.mark.parametrize(
    ("maps", "batch", "part", "words"),
    [
        (None, {"a": X, "b": X}, "input", r"keys \['a', 'b'\].*'input'"),
        (None, [torch.zeros(5, 3).long(), X], "input", r"dtype torch.int64.*'input'"),
        (None, ["text"], "input", "got a str"),
        (None, [(X, X), X], "input", r"got a tuple of length 2.*'input'"),
        (None, torch.zeros(5), "input", r"shape \(5,\)"),
        ({"f": {"input": 2}}, (X, X), "input", "tuple of length 2, but got 2"),
        ({"f": {"input": "y"}}, {"x": X}, "input", r"keys \['x'\], but got 'y'"),
        ({"f": {"input": ["x", "y"]}}, {"x": X, "y": X}, "input",
         r"write several parts as \[\['x'\], \['y'\]\]"),
        ({"f": {"context": "c"}}, {"settings": X}, "context", "but got 'c'"),
        ({"f": {"input": 0, "within": 1}}, (X, {"x": X + 1}), "within", r"keys \['x'\], where it"),
        ({"f": {"input": "x", "within": []}}, SimpleNamespace(x=X), "within", "SimpleNamespace"),
        ({"f": {"input": ["x", "exp()"], "within": []}}, {"x": X}, "within", "the input itself in it"),
        ({"f": {"input": [[0], [1]], "within": [0]}}, (X, X + 1), "within", "where it is not found"),
        ({"f": {"input": "y()"}}, X, "input", r"but got 'y\(\)'"),
        ({"f": {"input": "matmul()"}}, X, "input", "TypeError: matmul"),
        ({"f": {"input": lambda batch: batch.nothing}}, X, "input", "AttributeError: .*nothing"),
    ],
)  # fmt: skip
def test_says_which_part_of_a_map_is_wrong_with_a_batch(maps, batch, part, words):
    with pytest.raises(MapError, match=words) as caught:
        only(maps, Net()).take(batch)
    assert caught.value.part == part


class Fails(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.how = how

    def forward(self, x, *rest):
        return self.how(x, *rest)


@pytest.mark.parametrize(
    ("how", "spec", "part", "words"),
    [
        (
            lambda x, c: x,
            {},
            "forward",
            "positional argument: 'c'. Give its other arguments by name",
        ),
        (lambda x: x.missing, {}, "forward", "AttributeError"),
        (lambda x: list(x)[99], {}, "forward", "IndexError"),
        (lambda x: (x, x), {}, "output", r"returned a tuple of length 2.*'output'"),
        (lambda x: {"y": x}, {"output": "z"}, "output", r"keys \['y'\], but got 'z'"),
        (lambda x: torch.distributions.Normal(x, 1.0), {}, "output", "a Normal.*'output'"),
        (lambda x: torch.complex(x, x), {}, "output", "dtype torch.complex64.*'output'"),
        (lambda x: x.argmax(1), {}, "output", "dtype torch.int64"),
    ],
)
def test_says_which_part_of_a_map_fails(how, spec, part, words):
    net = Fails(how)
    with pytest.raises(MapError, match=words) as caught:
        only({"f": spec}, net)(X)
    assert caught.value.part == part


@pytest.mark.parametrize(
    "entry",
    [{"input": "x", "output": "real"}, {"input": ["x", "tanh()"], "output": "imag"}],
    ids=["an attribute", "a method"],
)
def test_attributes_and_methods_of_tensors_are_found_without_a_warning_of_torch(entry):
    watched = only({"f": entry}, Fails(lambda x: torch.complex(x, x)))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert observe(watched, watched.take({"x": X})).formed
    assert caught == []


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.linear = nn.Embedding(4, 2), nn.Linear(5, 3)

    def forward(self, x, label, extra=None):
        y = self.linear(torch.cat([x, self.embedding(label)], 1))
        return torch.distributions.Normal(y + (0 if extra is None else extra["shift"]), 1.0)

    def of_two(self, x, z):
        return torch.cat([x[:, :2] * z, z], 1)


LABELS = torch.arange(5) % 4


@pytest.mark.parametrize(
    ("batch", "inputs", "context"),
    [
        ((X, LABELS), [0], [[1]]),
        ({"x": X, "label": LABELS}, ["x"], [["label"]]),
        (({"x": X}, {"deep": {"label": LABELS}}), [0, "x"], [[1, "deep", "label"]]),
    ],
)
def test_context_goes_in_beside_the_input_point_by_point(batch, inputs, context):
    net = Decoder()
    watched = only({"f": {"input": inputs, "context": context, "output": "loc"}}, net)
    observation = observe(watched, watched.take(batch))
    expected = [
        spectra_point_by_point(lambda x, c=c: net(x, c[None]).loc, x[None])[0]
        for x, c in zip(X, LABELS, strict=True)
    ]
    np.testing.assert_allclose(observation.singular_values, expected, rtol=1e-5, atol=1e-7)


def test_a_context_without_a_row_for_each_point_is_given_whole():
    net, shift = Decoder(), {"shift": torch.tensor(2.0)}
    spec = {"input": 0, "context": [[1], [2]], "output": "loc"}
    points = only({"f": spec}, net).take((X, LABELS, shift))
    assert len(points.context) == 1
    y = points.call(only({"f": spec}, net))(*points.rows)
    torch.testing.assert_close(y, net(X, LABELS, shift).loc)


def test_several_inputs_are_watched_by_their_joint_jacobian():
    net, z = Decoder(), torch.randn(5, 2)
    watched = only({"f": {"module": "of_two", "input": [[0], [1]]}}, net)
    observation = observe(watched, watched.take((X, z)))
    assert observation.shape == (4, 5)
    both = torch.cat([X, z], 1)
    expected = spectra_point_by_point(lambda both: net.of_two(both[:, :3], both[:, 3:]), both)
    np.testing.assert_allclose(observation.singular_values, expected, rtol=1e-5, atol=1e-7)


def test_a_context_follows_into_float64():
    net = Decoder()
    spec = {"input": 0, "context": [[1], [2]], "output": "loc"}
    watched = only({"f": spec}, net)
    points = watched.take((X, LABELS, {"shift": torch.randn(5, 1)}))
    single, double = (observe(watched, points, precision=p) for p in ("native", "float64"))
    torch.testing.assert_close(double.singular_values, single.singular_values, rtol=1e-4, atol=1e-6)
    assert double.condition_limit > 1e6 * single.condition_limit


class TakesDict(nn.Module):
    def __init__(self):
        super().__init__()
        self.decoder = Decoder()

    def forward(self, batch):
        return {"prediction": self.decoder(batch["x"], batch["label"]).loc, "scale": batch["scale"]}


def test_a_function_that_takes_a_collection_gets_it_whole_with_the_input_in_it():
    net = TakesDict()
    spec = {"input": [0, "x"], "within": 0, "output": "prediction"}
    watched = only({"f": spec}, net)
    points = watched.take(({"x": X, "label": LABELS, "scale": torch.tensor(2.0)}, "target"))
    assert [rows.shape for rows in points.rows] == [(5, 3), (5,)]
    expected = only({"f": {"input": 0, "context": [[1]], "output": "loc"}}, net.decoder)
    torch.testing.assert_close(
        observe(watched, points[1:4]).singular_values,
        observe(expected, expected.take((X, LABELS))[1:4]).singular_values,
    )


@pytest.mark.parametrize(
    ("weights", "points"),
    [
        (torch.float32, torch.float64),
        (torch.bfloat16, torch.float32),
        (torch.bfloat16, torch.float64),
    ],
)
def test_a_network_is_watched_at_points_that_are_finer_than_its_weights(weights, points):
    net = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)).to(weights)
    net.register_parameter("table", nn.Parameter(torch.ones(2, dtype=torch.float16)))
    x = X.to(weights)
    one, expected = (observe(only({"f": ""}, net), at) for at in (x.to(points), x))
    torch.testing.assert_close(one.singular_values, expected.singular_values, rtol=1e-5, atol=0)
    assert one.condition_limit == expected.condition_limit == 1 / (torch.finfo(weights).eps * 3)


def test_norms_in_float32_between_layers_in_bfloat16_are_watched():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(3, 5).bfloat16(), Cast(nn.LayerNorm(5)), nn.Linear(5, 2).bfloat16()
    )
    observation = analyze(net, X)
    assert observation.arithmetic == torch.bfloat16
    expected = spectra_point_by_point(net, X.bfloat16())
    np.testing.assert_allclose(observation.singular_values, expected, rtol=0, atol=0.02)


class Cast(nn.Module):
    def __init__(self, part):
        super().__init__()
        self.part = part

    def forward(self, x):
        return self.part(x.float()).to(x.dtype)
