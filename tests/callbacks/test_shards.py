"""A part whose weights are there only within the forward of its parent."""

import pytest
import torch
from torch import nn

from lightning_invert.callbacks import InvertibilityCallback
from lightning_invert.watch.maps import MapError
from lightning_invert.watch.resolution import resolve_maps
from lightning_invert.watch.shards import advise_of_shards
from tests.callbacks.fits import fit_unwatched_and_watched
from tests.projects import Foreign


def flat(weight):
    return weight.flatten()


def shard(weight):
    return weight.flatten()[:7].clone()


def empty(weight):
    return weight.new_empty(0)


class Gathers(nn.Module):
    """Keeps its linear layer's weight away but for its own forward, as FSDP and DeepSpeed do."""

    def __init__(self, away):
        super().__init__()
        self.inner, self.away = nn.Linear(5, 3), away
        self.whole = nn.Parameter(self.inner.weight.detach().clone())
        self.inner.weight = nn.Parameter(away(self.whole.detach()), requires_grad=False)

    def forward(self, x):
        kept = self.inner._parameters.pop("weight")
        self.inner.weight = self.whole * 1
        y = self.inner(x)
        del self.inner.weight
        self.inner._parameters["weight"] = kept
        return y


class Sharded(Foreign):
    def __init__(self, away):
        super().__init__()
        self.encoder = nn.Sequential(Gathers(away), nn.Tanh())


@pytest.mark.parametrize("away", [flat, shard, empty])
def test_who_names_a_part_whose_weights_are_sharded_is_told_to_watch_the_parent(away):
    module, x = Sharded(away), torch.randn(4, 5)
    inner, parent = resolve_maps({"inner": "encoder.0.inner", "parent": "encoder.0"}, module)
    with pytest.raises(MapError, match=r"'weight' of Linear.*watch the parent, 'encoder\.0'"):
        inner(x)
    assert torch.equal(parent(x), module.encoder[0](x))


@pytest.mark.parametrize("away", [flat, shard, empty])
def test_the_parent_is_watched_and_keeps_its_shards(tmp_path, away):
    watch = InvertibilityCallback({"parent": "encoder.0", "all": ""}, figures=False)
    fit_unwatched_and_watched(tmp_path, lambda: Sharded(away), watch)
    assert all(looks[-1]["rank_shares"][0] == 1 for looks in watch.history.values())


@pytest.mark.parametrize(
    "module",
    [
        nn.Linear(5, 3),
        nn.LazyLinear(3),
        nn.BatchNorm1d(3),
        nn.LSTM(3, 4),
        nn.PReLU(),
        nn.LayerNorm(3),
    ],
    ids=lambda module: type(module).__name__,
)
def test_of_weights_that_are_there_nothing_is_said(module):
    assert advise_of_shards(module, None) == ""


def test_a_freed_storage_and_a_plain_tensor_in_the_place_of_a_weight_are_known_too():
    freed, plain = nn.Linear(5, 3), nn.Linear(5, 3)
    freed.weight.untyped_storage().resize_(0)
    plain.weight = plain._parameters.pop("weight").detach().flatten()
    on_meta = nn.Linear(5, 3).to("meta")
    for module in (freed, plain, on_meta):
        assert "watch the parent." in advise_of_shards(nn.Sequential(module), None)


def test_of_the_modules_around_the_one_that_gathers_is_named():
    class FSDPModule(nn.Sequential):
        """As FSDP2 calls what it shards, with all that is within."""

    inner = nn.Linear(5, 3)
    inner.weight = nn.Parameter(inner.weight.detach().flatten())
    root = nn.Sequential(FSDPModule(nn.Sequential(inner)))
    assert "watch the parent, '0'." in advise_of_shards(inner, root)
    assert "watch the parent, the whole module." in advise_of_shards(inner, FSDPModule(root[0][0]))
