"""A search for what can be watched ends soon, whatever happens."""

import itertools

import pytest
import torch
from torch import nn

from lightning_invert.watch import search
from lightning_invert.watch.maps import MapError
from lightning_invert.watch.search import MAX_TRIES, Search

WIDE = {f"x{i}": torch.randn(6, 4) for i in range(50)}


@pytest.fixture
def tries(monkeypatch):
    """A search whose watch records the entries, and raises an error."""

    def of(error):
        entries = []

        def watch(maps, batch):
            entries.append(maps["forward"])
            raise error

        found = Search(nn.Identity(), WIDE, watch).run([("", nn.Identity())])
        assert found is None
        return entries

    return of


def test_the_tries_are_few(tries):
    assert len(tries(RuntimeError("a pole"))) == MAX_TRIES


def test_the_tries_end_with_their_time(tries, monkeypatch):
    clock = itertools.count(0, search.MAX_SECONDS / 3)
    monkeypatch.setattr(search.time, "monotonic", lambda: next(clock))
    assert 1 <= len(tries(RuntimeError("a pole"))) <= 4


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("no room"), MemoryError("no room")])
def test_no_try_follows_where_memory_is_short(tries, error):
    wrapped = MapError("forward", "forward", "no room")
    wrapped.__cause__ = error
    assert len(tries(wrapped)) == 1


def test_an_interrupt_goes_on_its_way(tries):
    with pytest.raises(KeyboardInterrupt):
        tries(KeyboardInterrupt())
