"""The order of the training rows follows from the seed and the epoch, whoever asks for it."""

import pytest
import torch
from torch.utils.data import TensorDataset

from lightning_invert.datamodules.loaders import ResumableLoader, SeededShuffle


def shuffled(seed, epoch, size=50):
    shuffle = SeededShuffle(size, seed)
    shuffle.set_epoch(epoch)
    return list(shuffle)


def loader(workers=0):
    data = TensorDataset(torch.arange(20))
    order = SeededShuffle(20, seed=3)
    return ResumableLoader(data, sampler=order, batch_size=3, num_workers=workers)


def epoch_of(loader, epoch):
    loader.sampler.set_epoch(epoch)
    return [rows.tolist() for (rows,) in loader]


@pytest.mark.parametrize("seed", [0, 42, -1, 2**63])
def test_an_order_is_a_permutation_that_seed_and_epoch_tell(seed):
    orders = [shuffled(seed, epoch) for epoch in range(4)]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert orders == [shuffled(seed, epoch) for epoch in range(4)]
    assert len({*map(tuple, orders), *(tuple(shuffled(seed + 1, e)) for e in range(4))}) == 8


def test_each_iteration_is_an_epoch_where_nobody_tells_it():
    shuffle = SeededShuffle(50, 1)
    assert [list(shuffle) for _ in range(3)] == [shuffled(1, epoch) for epoch in range(3)]


def test_an_epoch_that_was_told_is_the_same_whoever_looks_first():
    rows = loader()
    assert epoch_of(rows, 2) == epoch_of(rows, 2)


def test_the_order_draws_from_no_stream_of_others():
    before = torch.get_rng_state()
    shuffled(1, 1)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("taken", [0, 1, 4, 6])
def test_a_loader_goes_on_with_the_very_next_batch_and_then_with_whole_epochs(taken, workers):
    whole = epoch_of(loader(), 5)
    first = loader(workers)
    first.sampler.set_epoch(5)
    batches = iter(first)
    assert [next(batches)[0].tolist() for _ in range(taken)] == whole[:taken]
    second = loader(workers)
    second.load_state_dict(first.state_dict())
    assert epoch_of(second, 5) == whole[taken:]
    assert epoch_of(second, 6) == epoch_of(loader(), 6)


def test_a_finished_epoch_takes_nothing_from_the_next():
    first, second = loader(), loader()
    epoch_of(first, 5)
    second.load_state_dict(first.state_dict())
    assert epoch_of(second, 6) == epoch_of(loader(), 6)


def test_the_epoch_counts_that_is_told_after_the_iterator_was_asked_for():
    rows = loader()
    batches = iter(rows)
    rows.sampler.set_epoch(7)
    assert [batch.tolist() for (batch,) in batches] == epoch_of(loader(), 7)
