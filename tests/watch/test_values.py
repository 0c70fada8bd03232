"""Maps at the value of another map, or of any function of the batch."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule
from torch import nn

from lightning_invert.callbacks import InvertibilityCallback
from lightning_invert.watch.maps import MapError
from lightning_invert.watch.observation import observe
from lightning_invert.watch.resolution import parse_maps, resolve_maps
from lightning_invert.watch.watcher import Watcher
from tests.projects import Fitted, fit_project, loader
from tests.watch.looks import look
from tests.watch.reference import spectra_point_by_point

X, WORDS, EDGES = torch.randn(6, 4), torch.arange(12).reshape(6, 2) % 5, [0, 0, 1, 1, 2, 2]


class Net(LightningModule):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5), nn.Tanh())
        self.decoder, self.embed = nn.Sequential(nn.Linear(3, 4), nn.Tanh()), nn.Embedding(5, 3)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return self.decoder(self.encoder(x))

    def encode(self, x, label=None):
        return {"code": self.encoder(x), "label": label, "graph": EDGES}

    def pool(self, x, groups):
        """Rows of a graph's nodes to rows of graphs: what no map could be, because rows mix."""
        return torch.zeros(3, 4).index_add(0, torch.tensor(groups), x)

    def both(self, code, rest):
        return code * rest

    def codes(self):
        return self.eval().encoder(X).detach()


def only(maps, root, name="f"):
    return next(watched for watched in resolve_maps(maps, root) if watched.name == name)


def check(watched, batch, function, points):
    found = watched.take(batch)
    torch.testing.assert_close(found.inputs, points)
    assert not found.inputs.requires_grad
    sigma = spectra_point_by_point(function, points)
    np.testing.assert_allclose(observe(watched, found).singular_values, sigma, rtol=1e-5)


ENCODE = {"module": "encode", "input": 0, "output": "code"}


@pytest.mark.parametrize(
    "maps",
    [
        {"encode": ENCODE, "f": {"module": "decoder", "input": {"map": "encode"}}},
        {"f": {"module": "decoder", "input": {"map": "encode"}}, "encode": ENCODE},
        {"f": {"module": "decoder", "input": {"map": "encode"}}, "encode": "encoder"},
        {"f": {"module": "decoder", "input": ENCODE}},
        {"f": {"module": "decoder", "input": [{**ENCODE, "input": 0, "constants": {"label": 1}}]}},
    ],
)
def test_a_decoder_is_watched_at_the_codes_in_whatever_order(maps):
    net = Net()
    check(only(maps, net), (X, 0), net.decoder, net.codes())


def test_a_value_may_be_made_of_what_is_no_point_itself():
    net = Net()
    words = only({"f": {"module": "decoder", "input": {"module": "embed", "input": "ids"}}}, net)
    check(words, {"ids": WORDS[:, 0]}, net.decoder, net.embed(WORDS[:, 0]).detach())
    pooled = {"module": "pool", "input": "x", "context": [["groups"]]}
    graphs = only({"f": {"module": "encoder", "input": pooled}}, net.eval())
    check(graphs, {"x": X, "groups": EDGES}, net.encoder, net.pool(X, EDGES))


def test_values_stand_beside_parts_and_follow_one_another():
    net, c = Net(), torch.randn(6, 3)
    batch, code = {"x": X, "c": c}, {"module": "encode", "input": "x", "output": "code"}
    again = {"module": "decoder", "input": {"map": "code"}}
    maps = {
        "f": {"module": "both", "input": "c", "context": [{"map": "code"}]},
        "named": {"module": "both", "input": "c", "context": {"rest": {"map": "code"}}},
        "joint": {"module": "both", "input": [{"map": "code"}, ["c"]]},
        "round": {"module": "encoder", "input": again},
        "code": code,
    }
    codes = net.codes()
    for name in ("f", "named"):
        found = only(maps, net, name).take(batch)
        assert [torch.equal(*pair) for pair in zip(found.rows, (c, codes), strict=True)]
    assert only(maps, net, "joint").take(batch).inputs.shape == (6, 6)
    check(only(maps, net, "round"), batch, net.encoder, net.decoder(codes).detach())


@pytest.mark.parametrize(
    ("maps", "words"),
    [
        ({"f": {"input": {"map": "g"}}}, r"maps\['f'\]\['input'\]\['map'\].*none, but got 'g'"),
        ({"f": {"input": {"map": "f"}}}, r"maps\['f'\]\['input'\].*'f' -> 'f'"),
        (
            {"f": {"input": {"map": "g"}}, "g": {"input": [["x"], {"map": "h"}]},
             "h": {"input": "x", "context": {"x": {"map": "f"}}}},
            r"maps\['h'\]\['context'\]\['x'\].*'f' -> 'g' -> 'h' -> 'f'",
        ),
        ({"f": {"input": {"module": "encode", "input": {"map": "f"}}}}, "'f' -> 'f'"),
        ({"f": {"input": {"module": "nothing"}}}, r"maps\['f'\]\['input'\].*path.*'nothing'"),
    ],
)  # fmt: skip
def test_says_which_map_is_missing_or_leads_back(maps, words):
    with pytest.raises(ValueError, match=words):
        resolve_maps(maps, Net())


@pytest.mark.parametrize(
    ("source", "error", "words"),
    [
        ({"map": 3}, ValueError, r"maps\['f'\]\['input'\].*\{'map': <name of another map>\}.*3"),
        ({"map": "g", "output": 0}, ValueError, r"maps\['f'\]\['input'\].*'output': 0"),
        ({}, ValueError, r"maps\['f'\]\['input'\].*'module': <path>"),
        ({"module": "encode", "inputs": 0}, ValueError, r"maps\['f'\]\['input'\].*\['inputs'\]"),
        ({"module": "encode", "truth": "g"}, ValueError, r"maps\['f'\]\['input'\].*\['truth'\]"),
        ({"module": 3}, TypeError, r"maps\['f'\]\['input'\].*got int"),
    ],
)
def test_says_what_is_wrong_with_a_value(source, error, words):
    with pytest.raises(error, match=words):
        parse_maps({"f": {"input": source}})


@pytest.mark.parametrize(
    ("maps", "words"),
    [
        ({"f": {"input": {"map": "g"}}, "g": {"module": "encode", "input": "y"}},
         r"'f'.*input: the value of g is not known, because of its input.*'y'"),
        ({"f": {"input": {"module": "encode", "input": "x", "output": "codes"}}},
         r"'f'.*input: the value of maps\['f'\]\['input'\] is not known.*output.*'codes'"),
        ({"f": {"input": "x", "context": [{"module": "pool", "input": "x"}]}},
         r"'f'.*context: the value of maps\['f'\]\['context'\].*forward: TypeError"),
        ({"f": {"input": {"module": "encode", "input": "x"}}}, "'f'.*input: expected a floating"),
    ],
)  # fmt: skip
def test_says_which_value_is_not_known(maps, words):
    with pytest.raises(MapError, match=words):
        only(maps, Net()).take({"x": X})


def test_the_value_of_a_part_that_has_run_out_has_no_points():
    net = Net()
    maps = {"f": {"module": "decoder", "input": {"module": "encode", "input": 1, "output": "code"}}}
    assert only(maps, net).take((X, None)) is None
    watcher = Watcher(maps)
    (found,) = look(watcher, net, [(X, None), (X, X[:4]), (X, None)])
    assert found.num_points == 4


class Autoencoder(Fitted):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3), nn.Dropout(0.5))
        self.decoder = nn.Linear(3, 5)
        self.register_buffer("calls", torch.zeros(()))

    def encode(self, x):
        self.calls += 1
        self.log("calls_of_encode", self.calls)
        return self.encoder(x + torch.randn(()) * 0)

    def forward(self, x):
        return self.decoder(self.encode(x))

    def step(self, batch):
        return (self(batch[0]) - batch[0]).square().mean()


def test_a_fit_with_a_map_at_codes_ends_as_one_without(tmp_path):
    maps = {"decode": {"module": "decoder", "input": {"map": "encode"}}, "encode": "encode"}

    def fit(*callbacks):
        torch.manual_seed(0)
        trainer = fit_project(tmp_path, *callbacks, module=Autoencoder(), max_epochs=2)
        return SimpleNamespace(trainer=trainer, module=trainer.lightning_module, draw=torch.rand(1))

    watch = InvertibilityCallback(maps, num_points=16, figures=False)
    watched, alone = fit(watch), fit()
    assert watched.draw == alone.draw
    for name, value in alone.module.state_dict().items():
        assert torch.equal(watched.module.state_dict()[name], value), name
    metrics = watched.trainer.callback_metrics
    own = {name: value for name, value in metrics.items() if "invertib" not in name}
    assert own == alone.trainer.callback_metrics
    decode, encode = watch.observations
    assert (decode.shape, encode.shape) == ((5, 3), (3, 5))
    sigma = torch.linalg.svdvals(watched.module.decoder.weight.double())
    torch.testing.assert_close(decode.singular_values[0], sigma, rtol=1e-5, atol=0)


def test_codes_are_those_of_evaluation_whatever_the_mode_of_the_module():
    net = Net().train()
    maps = {"f": {"module": "decoder", "input": {"map": "encode"}}, "encode": ENCODE}
    (found, _) = look(Watcher(maps), net, [(X, 0)])
    assert net.encoder[1].training
    codes = {tuple(row) for row in net.codes().tolist()}
    assert {tuple(row) for row in found.inputs.tolist()} == codes


def test_codes_of_a_compiled_encoder_compile_nothing_more(tmp_path):
    def num_compiled(*callbacks):
        torch.compiler.reset()
        compiled, module = [], Autoencoder()
        backend = lambda graph, inputs: compiled.append(graph) or graph.forward
        module.encoder = torch.compile(module.encoder, backend=backend)
        fit_project(tmp_path, *callbacks, module=module, max_epochs=2, num_sanity_val_steps=0)
        return len(compiled)

    maps = {"decode": {"module": "decoder", "input": {"map": "encode"}}, "encode": "encoder"}
    watch = InvertibilityCallback(maps, num_points=16, figures=False)
    assert num_compiled(watch) == num_compiled() > 0
    assert len(watch.observations) == 2


class MakesTensors(Autoencoder):
    def encode(self, x):
        return super().encode(torch.addmm(torch.zeros(5), x, torch.eye(5)))


@pytest.mark.parametrize("precision", ["64-true", "bf16-true", "bf16-mixed"])
def test_codes_are_computed_as_the_trainer_computes(tmp_path, precision):
    maps = {"decode": {"module": "decoder", "input": {"module": "encode"}}}
    watch = InvertibilityCallback(maps, num_points=16, figures=False)
    fit_project(tmp_path, watch, module=MakesTensors(), precision=precision)
    assert watch.observations[0].shape == (5, 3)


def test_codes_are_found_under_inference_mode_too(tmp_path):
    maps = {"decode": {"module": "decoder", "input": {"module": "encode"}}}
    watch = InvertibilityCallback(maps, num_points=16, figures=False)
    trainer = fit_project(tmp_path, watch, module=Autoencoder())
    trainer.validate(trainer.lightning_module, loader(), verbose=False)
    assert watch.observations[0].shape == (5, 3)
