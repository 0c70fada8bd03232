"""Watching without Lightning: the seam between a trainer and what is seen."""

import copy
import pickle
import random

import numpy as np
import pytest
import torch
from torch import nn

from lightning_invert.watch.look import Failure
from lightning_invert.watch.maps import MapError
from lightning_invert.watch.watcher import Watcher


def net():
    return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 3))


def look(watcher, module, batches, **begin):
    look = watcher.begin(module, **begin)
    for batch in batches:
        look.offer(batch)
    return look.read()


BATCHES = torch.randn(4, 10, 5, generator=torch.Generator().manual_seed(0))


def test_a_look_ends_when_it_is_read():
    look = Watcher().begin(net())
    look.offer(BATCHES[0])
    assert len(look.read()) == 1
    look.offer(BATCHES[0])
    assert look.read() == []


def test_a_look_is_left_out_of_a_copy_of_what_holds_it():
    module = net()
    module.cannot_be_pickled = lambda: None
    watcher = Watcher()
    look = watcher.begin(module)
    look.offer(BATCHES[0])
    held = {"watcher": watcher, "look": look}
    for again in (pickle.loads(pickle.dumps(held)), copy.deepcopy(held)):
        assert again["look"] is None
        assert again["watcher"].num_points == watcher.num_points


def test_points_are_those_that_were_offered():
    (found,) = look(Watcher(num_points=1000), net(), BATCHES)
    offered = {tuple(row) for row in BATCHES.reshape(-1, 5).tolist()}
    assert {tuple(row) for row in found.inputs.tolist()} == offered


def test_nothing_of_it_is_left_behind():
    module = net()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    streams = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    look(Watcher(), module, BATCHES)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), streams[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == streams[1:]
    assert all(part.training for part in module.modules())
    assert all(p.grad is None for p in module.parameters())


@pytest.mark.parametrize(("sampling", "same"), [("reservoir", False), ("fixed", True)])
def test_a_sample_is_fresh_only_where_that_was_asked_for(sampling, same):
    watcher, module = Watcher(num_points=10, sampling=sampling), net()
    (one,), (two,) = (look(watcher, module, BATCHES, when=(epoch,)) for epoch in range(2))
    assert torch.equal(one.inputs, two.inputs) is same


def test_several_dataloaders_are_watched_each_for_itself():
    look = Watcher(dataloaders="separate").begin(net(), dataloaders=2)
    look.offer(BATCHES[0], 0)
    look.offer(BATCHES[1], 1)
    found = look.read()
    assert [one.label for one in found] == ["forward_dataloader_0", "forward_dataloader_1"]
    assert torch.equal(found[1].inputs.sort(0).values, BATCHES[1].sort(0).values)


class Broken(nn.Module):
    """Cannot be looked at once it is told so."""

    error = None

    def forward(self, x):
        if self.error is not None:
            raise self.error
        return x.sin()


def with_another_that_fails(error):
    """Two processes, in the other of which the map fails."""

    def gather(mine):
        if not isinstance(mine, dict):
            return [mine, mine]
        kind = type(error).__name__
        theirs = Failure("input", f"{kind}: {error}", kind, isinstance(error, MemoryError), None)
        return [mine, {"forward": theirs}]

    return gather


def test_what_fails_in_one_process_is_raised_by_all_where_that_was_asked_for():
    watcher = Watcher({"forward": ""}, on_error="raise")
    gather = with_another_that_fails(ValueError("a broken batch"))
    with pytest.raises(MapError, match=r"Watcher: .* in process 1: ValueError: a broken batch"):
        look(watcher, net(), BATCHES[:1], gather=gather)


@pytest.mark.parametrize(
    ("error", "raised"), [(ValueError("odd"), True), (MemoryError("full"), False)]
)
def test_processes_agree_whether_what_fails_in_a_trial_is_raised(error, raised):
    # Another process that ran out of memory went on, while this one raised.
    watcher, gather = Watcher({"forward": ""}), with_another_that_fails(error)
    with (
        pytest.raises(MapError) if raised else pytest.warns(UserWarning, match="cannot be watched")
    ):
        look(watcher, net(), BATCHES[:1], gather=gather, trial=True)


def test_a_bare_watcher_speaks_in_its_own_name_and_in_whole_sentences():
    watcher, module = Watcher({"forward": ""}), Broken()
    look(watcher, module, BATCHES)
    module.error = RuntimeError("a pole")
    expected = (
        "Watcher: map 'forward' cannot be watched, because of its forward: RuntimeError: a pole. "
        "The map is missing from this look; training goes on. This is said once."
    )
    with pytest.warns(UserWarning, match="cannot be watched") as caught:
        assert look(watcher, module, BATCHES) == look(watcher, module, BATCHES) == []
    assert [str(warning.message) for warning in caught] == [expected]


def test_a_map_called_round_trip_is_nothing_special():
    # It was recognised by its name, and ended the fit where it was not square.
    module = nn.Linear(5, 3)
    (found,) = look(Watcher({"round_trip": ""}), module, BATCHES)
    assert found.findings == {}
    (found,) = look(Watcher({"round_trip": "0"}), nn.Sequential(nn.Linear(5, 5)), BATCHES)
    assert found.findings == {}


def test_whatever_its_name_a_map_that_says_so_is_a_round_trip():
    module = nn.Sequential(nn.Linear(5, 5))
    (found,) = look(Watcher({"there_and_back": {"module": "0", "identity": True}}), module, BATCHES)
    assert {"consistency_error", "jacobian_consistency_error"} <= set(found.scalars)


class Wide(nn.Module):
    def __init__(self, n=40):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(n, n), nn.Tanh(), nn.Linear(n, n))

    def forward(self, x, shift):
        return self.layers(x) + shift


@pytest.mark.parametrize(
    ("max_work", "points", "formed"),
    [(None, 60, True), (1e9, 60, True), (1.8e8, 52, True), (1e6, 4, False)],
)
def test_a_look_keeps_to_its_bound_in_the_same_way_everywhere(caplog, max_work, points, formed):
    batch = torch.randn(60, 40), torch.randn(60, 1)
    said = {"f": {"module": "", "input": 0, "context": 1}}
    found = []
    for _ in range(2):
        watcher = Watcher(said, num_points=60, max_work=max_work)
        with caplog.at_level("INFO"):
            found += look(watcher, Wide(), [batch])
    assert {(one.num_points, one.formed) for one in found} == {(points, formed)}
    bounded = points < 60 or not formed
    assert ("max_work=None lifts this bound" in caplog.text) is bounded


def test_a_trial_looks_at_few_points_but_plans_for_all(caplog):
    watcher = Watcher(
        {"f": {"module": "", "input": 0, "context": 1}}, num_points=60, max_work=1.8e8
    )
    batch = torch.randn(60, 40), torch.randn(60, 1)
    (trial,) = look(watcher, module := Wide(), [batch], trial=True)
    (one,) = look(watcher, module, [batch])
    assert (trial.num_points, one.num_points) == (2, 52)
