"""The order of the training rows follows from the seed and the epoch, whoever asks for it."""

import pytest
import torch
from torch.utils.data import TensorDataset

from lightning_invert.datamodules.loaders import SeededShuffle, ShuffledLoader


def shuffled(seed, epoch, size=50):
    shuffle = SeededShuffle(size, seed)
    shuffle.set_epoch(epoch)
    return list(shuffle)


@pytest.mark.parametrize("seed", [0, 42, -1, 2**63])
def test_an_order_is_a_permutation_that_seed_and_epoch_determine(seed):
    orders = [shuffled(seed, epoch) for epoch in range(4)]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert orders == [shuffled(seed, epoch) for epoch in range(4)]
    assert len({*map(tuple, orders), *(tuple(shuffled(seed + 1, e)) for e in range(4))}) == 8


def test_each_iteration_is_an_epoch_until_an_epoch_is_set():
    shuffle = SeededShuffle(50, 1)
    assert [list(shuffle) for _ in range(3)] == [shuffled(1, epoch) for epoch in range(3)]
    shuffle.set_epoch(7)
    assert list(shuffle) == list(shuffle) == shuffled(1, 7)


def test_the_order_draws_from_no_global_stream():
    before = torch.get_rng_state()
    shuffled(1, 1)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_an_epoch_counts_that_is_set_after_the_iterator_was_made(workers):
    data = TensorDataset(torch.arange(50))
    loader = ShuffledLoader(data, sampler=SeededShuffle(50, 1), num_workers=workers)
    batches = iter(loader)
    loader.sampler.set_epoch(7)
    assert [int(batch) for (batch,) in batches] == shuffled(1, 7)
