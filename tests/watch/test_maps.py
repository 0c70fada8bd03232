import pytest
import torch
from lightning.pytorch import LightningModule
from torch import nn

from lightning_invert import batched_jacobian
from lightning_invert.jacobians.contexts import evaluation_mode
from lightning_invert.watch.maps import resolve_maps

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
    (found,) = resolve_maps(maps, root)
    return found


@pytest.mark.parametrize(
    "entry",
    ["encoder", {"module": "encoder"}, {"module": "encoder", "input": 0}],
    ids=["path", "mapping", "mapping with input"],
)
def test_a_submodule_is_found_by_its_path(entry):
    net = Net()
    found = only({"latent": entry}, net)
    assert (found.name, found.owner) == ("latent", net.encoder)
    assert torch.equal(found(found.select((X, "label"))), net.encoder(X))


def test_a_module_a_function_and_a_bound_method_are_taken_as_they_are():
    net = Net()
    assert only({"a": net.encoder}, net).owner is net.encoder
    assert only({"a": net.twice}, net).owner is net
    function = only({"a": lambda x: net.encoder(x) + 1}, net)
    assert function.owner is net
    assert torch.equal(function(X), net.encoder(X) + 1)


@pytest.mark.parametrize(
    "batch", [X, (X, 1), [X], {"settings": X, "other": X.clone() + 1}, {"features": X, "id": 3}]
)
def test_the_input_is_found_in_batches_of_every_usual_form(batch):
    assert torch.equal(only(None, Net()).select(batch), X)


@pytest.mark.parametrize(
    ("picked", "batch"),
    [(1, (0, X)), ("x", {"x": X, "settings": X + 1}), (lambda batch: batch["a"][0], {"a": [X]})],
)
def test_the_input_is_taken_from_where_it_is_said_to_be(picked, batch):
    assert torch.equal(only({"f": {"input": picked}}, Net()).select(batch), X)


def test_the_output_is_picked_out_of_a_tuple_and_a_dict():
    net = Net()
    assert torch.equal(only({"f": {"module": "both", "output": 0}}, net)(X), X)
    inner = only({"f": {"module": "both", "output": lambda out: out[1]["sum"]}}, net)
    assert torch.equal(inner(X), X.sum(1, keepdim=True))


def test_a_module_may_say_itself_what_is_to_be_watched():
    net = Net()
    net.invertibility_maps = lambda: {"latent": "encoder", "double": net.twice}
    assert [found.name for found in resolve_maps(None, net)] == ["latent", "double"]


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
        (lambda linear, x: linear(x) @ torch.ones(2, 2), "torch says: .*dtype"),
    ],
)
def test_a_module_that_insists_on_a_dtype_is_named_in_float64(insist, words):
    watched = only({"f": ""}, Insists(insist)).in_float64()
    with pytest.raises(TypeError, match=rf"'f'.*Insists.*{words}.*precision='native'"):
        watched(X)


def test_any_other_error_in_float64_is_the_module_s_own():
    watched = only({"f": ""}, Insists(lambda linear, x: linear(x[:, :2]))).in_float64()
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        watched(X)


def test_evaluation_mode_puts_every_flag_back_as_it_was():
    net = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout()), nn.BatchNorm1d(3))
    net.train()
    net[2].eval()
    with evaluation_mode([net]):
        assert not any(part.training for part in net.modules())
    assert [part.training for part in net.modules()] == [True, True, True, True, False]


def test_evaluation_mode_ends_even_after_an_error():
    net = nn.Dropout()
    with pytest.raises(RuntimeError), evaluation_mode([net]):
        raise RuntimeError
    assert net.training


class NoForward(LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(3, 2)


@pytest.mark.parametrize(
    ("maps", "root", "error", "words"),
    [
        ({"f": "decoder"}, Net(), ValueError, r"path of a submodule of Net.*'decoder'.*encoder"),
        ({"f": {"modul": "encoder"}}, Net(), ValueError, r"maps\['f'\].*\['modul'\]"),
        ({"f": 3}, Net(), TypeError, r"maps\['f'\].*got int"),
        ({"f": {"module": "encoder", "input": 1.5}}, Net(), TypeError, r"\['input'\].*float"),
        ({}, Net(), ValueError, "`maps` to name at least one"),
        (["encoder"], Net(), ValueError, "`maps`"),
        (None, NoForward(), ValueError, "NoForward defines none"),
    ],
)
def test_says_what_is_wrong_with_maps(maps, root, error, words):
    with pytest.raises(error, match=words):
        resolve_maps(maps, root)


@pytest.mark.parametrize(
    ("maps", "batch", "error", "words"),
    [
        (None, {"a": X, "b": X}, ValueError, r"keys \['a', 'b'\].*'input': <key>"),
        (None, [torch.zeros(5, 3).long(), X], TypeError, r"dtype torch.int64.*'input'"),
        (None, ["text"], TypeError, "got a str"),
        (None, [(X, X), X], TypeError, r"got a tuple of length 2.*'input'"),
        (None, None, TypeError, "got a NoneType"),
        (None, torch.zeros(5), TypeError, r"shape \(5,\)"),
        ({"f": {"input": 2}}, (X, X), ValueError, "tuple of length 2, but got 2"),
        ({"f": {"input": "y"}}, {"x": X}, ValueError, r"keys \['x'\], but got 'y'"),
    ],
)
def test_says_what_is_wrong_with_a_batch(maps, batch, error, words):
    with pytest.raises(error, match=words):
        only(maps, Net()).select(batch)
