import pytest
import torch
from torch import nn

from lightning_invert.watch.look import Failure
from lightning_invert.watch.maps import MapError
from lightning_invert.watch.watcher import Watcher
from tests.watch.looks import look


def net():
    return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 3))


BATCHES = torch.randn(4, 10, 5, generator=torch.Generator().manual_seed(0))


def test_a_look_is_at_the_points_that_were_offered_and_ends_when_it_is_read():
    under_way = Watcher(num_points=1000).begin(net())
    for batch in BATCHES:
        under_way.offer(batch)
    (observation,) = under_way.read()
    offered = {tuple(row) for row in BATCHES.reshape(-1, 5).tolist()}
    assert {tuple(row) for row in observation.inputs.tolist()} == offered
    under_way.offer(BATCHES[0])
    assert under_way.read() == []


def test_several_dataloaders_are_watched_each_for_itself():
    under_way = Watcher(dataloaders="separate").begin(net(), dataloaders=2)
    under_way.offer(BATCHES[0], 0)
    under_way.offer(BATCHES[1], 1)
    found = under_way.read()
    assert [one.label for one in found] == ["forward_dataloader_0", "forward_dataloader_1"]
    assert torch.equal(found[1].inputs.sort(0).values, BATCHES[1].sort(0).values)


class Broken(nn.Module):
    error = None

    def forward(self, x):
        if self.error is not None:
            raise self.error
        return x.sin()


def with_another_that_fails(error, *, lasting=False):
    """Two processes, in the other of which the map fails."""

    def gather(mine):
        if not isinstance(mine, dict):
            return [mine, mine]
        kind = type(error).__name__
        theirs = Failure("input", f"{kind}: {error}", kind, lasting, None)
        return [mine, {"forward": theirs}]

    return gather


def test_what_fails_in_one_process_is_raised_by_all_where_that_was_asked_for():
    watcher = Watcher({"forward": ""}, on_error="raise")
    gather = with_another_that_fails(ValueError("a broken batch"))
    with pytest.raises(MapError, match=r"Watcher: .* in process 1: ValueError: a broken batch"):
        look(watcher, net(), BATCHES[:1], gather=gather)


@pytest.mark.parametrize("lasting", [True, False])
def test_processes_agree_whether_what_fails_in_a_trial_is_raised(lasting):
    # Another process that ran out of memory went on, while this one raised.
    watcher = Watcher({"forward": ""})
    gather = with_another_that_fails(ValueError("odd"), lasting=lasting)
    with (
        pytest.raises(MapError) if lasting else pytest.warns(UserWarning, match="cannot be watched")
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


@pytest.mark.parametrize(
    ("name", "outputs", "identity"),
    [("round_trip", 3, False), ("round_trip", 5, False), ("there_and_back", 5, True)],
)
def test_a_round_trip_is_what_says_so_whatever_its_name(name, outputs, identity):
    # It was recognised by its name, and ended the fit where it was not square.
    maps = {name: {"module": "", "identity": identity}}
    (found,) = look(Watcher(maps), nn.Linear(5, outputs), BATCHES)
    assert bool(found.findings) is identity
    expected = {"consistency_error", "jacobian_consistency_error"} if identity else set()
    assert {scalar for scalar in found.scalars if "consistency" in scalar} == expected


class Wide(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(40, 40), nn.Tanh(), nn.Linear(40, 40))

    def forward(self, x, shift):
        return self.layers(x) + shift


WIDE = {"f": {"module": "", "input": 0, "context": 1}}


@pytest.mark.parametrize(
    ("max_work", "points", "formed"),
    [(None, 60, True), (1e9, 60, True), (1.8e8, 52, True), (1e6, 4, False)],
)
def test_a_look_keeps_to_its_bound_in_the_same_way_everywhere(caplog, max_work, points, formed):
    batch = torch.randn(60, 40), torch.randn(60, 1)
    found = []
    for _ in range(2):
        watcher = Watcher(WIDE, num_points=60, max_work=max_work)
        with caplog.at_level("INFO"):
            found += look(watcher, Wide(), [batch])
    assert {(one.num_points, one.formed) for one in found} == {(points, formed)}
    bounded = points < 60 or not formed
    assert ("max_work=None lifts this bound" in caplog.text) is bounded


@pytest.mark.parametrize(
    ("max_work", "points", "said"),
    [(1.8e8, 7, None), (1.8e8, 58, "watched at 52 of 58"), (1e6, 7, "at 4 of 7"), (1e9, 7, None)],
)
def test_a_bound_is_told_of_the_points_that_there_are(caplog, max_work, points, said):
    watcher = Watcher(WIDE, num_points=60, max_work=max_work)
    batch = torch.randn(points, 40), torch.randn(points, 1)
    with caplog.at_level("INFO"):
        look(watcher, module := Wide(), [batch], trial=True)
        assert not caplog.text
        for _ in range(2):
            look(watcher, module, [batch])
    assert caplog.text.count("lifts this bound") == (said is not None)
    assert said is None or f"{said} points" in caplog.text


def test_a_trial_looks_at_few_points_but_plans_for_all(caplog):
    watcher = Watcher(WIDE, num_points=60, max_work=1.8e8)
    batch = torch.randn(60, 40), torch.randn(60, 1)
    (trial,) = look(watcher, module := Wide(), [batch], trial=True)
    (one,) = look(watcher, module, [batch])
    assert (trial.num_points, one.num_points) == (2, 52)
