import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

from lightning_invert.datamodules.pair import (
    PairDataModule,
    SeededShuffle,
    ShuffledLoader,
    batch_size_of,
)
from tests.projects import Foreign, Smooth, quiet_trainer


def rows_of(loader):
    batches = list(loader)
    return torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])


def as_set(rows):
    return {tuple(row) for row in rows.tolist()}


def test_splits_are_disjoint_and_cover_all_rows():
    data = Smooth(rows=101, val_fraction=0.2, test_fraction=0.1)
    data.setup()
    loaders = (data.train_dataloader(), data.val_dataloader(), data.test_dataloader())
    sets = [as_set(rows_of(loader)[0]) for loader in loaders]
    assert [len(part) for part in sets] == [71, 20, 10]
    assert set.union(*sets) == as_set(data.load()[0].float())


def test_the_split_depends_on_the_seed_alone():
    def val(seed):
        return as_set(rows_of(Smooth(seed=seed).val_dataloader())[0])

    assert val(1) == val(1)
    assert val(1) != val(2)


def test_every_training_row_is_seen_once_an_epoch_in_a_new_order_with_its_outcomes():
    data = Smooth(batch_size=50)
    loader = data.train_dataloader()
    (first, y), (second, _) = rows_of(loader), rows_of(loader)
    assert [len(x) for x, _ in loader] == [50, 50, 50, 10]
    assert len(as_set(first)) == len(first) == 160
    assert as_set(first) == as_set(second)
    assert not torch.equal(first, second)
    assert first.dtype == torch.float32
    assert as_set(torch.cat([first, y], 1)) <= as_set(torch.cat(data.load(), 1).float())


@pytest.mark.parametrize(
    ("rows", "batch_size"),
    [(2, 16), (160, 16), (900, 16), (1000, 32), (2400, 64), (24_000, 512), (160_000, 512)],
)
def test_a_batch_is_a_40th_of_the_training_rows_within_bounds(rows, batch_size):
    assert batch_size_of(rows) == batch_size
    assert batch_size in (16, 512) or rows / 40 / 2**0.5 < batch_size < rows / 40 * 2**0.5


def test_batches_are_sized_by_the_rows_unless_they_are_named():
    assert Smooth(1250).train_dataloader().batch_size == batch_size_of(1000) == 32
    assert Smooth(1250, batch_size=7).train_dataloader().batch_size == 7


def test_statistics_are_those_of_the_training_rows():
    data = Smooth()
    x, y = (rows.double().numpy() for rows in rows_of(data.train_dataloader()))
    expected = (x.mean(0), x.std(0, ddof=1), y.mean(0), y.std(0, ddof=1))
    for statistic, of_rows in zip(data.statistics, expected, strict=True):
        np.testing.assert_allclose(statistic, of_rows, rtol=1e-5)


def test_prediction_gives_all_rows_in_order():
    data = Smooth()
    assert torch.equal(rows_of(data.predict_dataloader())[0], data.load()[0].float())


def test_a_distributed_sampler_can_take_the_place_of_the_sampler():
    loader = Smooth().train_dataloader()
    sampler = DistributedSampler(loader.dataset, num_replicas=2, rank=1)
    replaced = DataLoader(
        loader.dataset, batch_size=16, sampler=sampler, collate_fn=loader.collate_fn
    )
    assert [tuple(x.shape) for x, _ in replaced] == [(16, 3)] * 5


@pytest.mark.slow
def test_worker_processes_give_the_same_rows():
    first, second = (rows_of(Smooth(num_workers=n).val_dataloader())[0] for n in (0, 2))
    assert torch.equal(first, second)


class Constant(Smooth):
    def load(self):
        x, y = super().load()
        return x, torch.full_like(y, 7.5)


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_too_few_rows_are_refused(rows):
    with pytest.raises(ValueError, match=f"{rows} rows give"):
        Smooth(rows).setup()


def test_a_column_that_does_not_vary_is_refused():
    with pytest.raises(ValueError, match=r"column 'rate' of Constant to vary, but it is 7\.5"):
        Constant().setup()


def test_a_test_without_rows_and_a_source_without_load_are_refused():
    with pytest.raises(ValueError, match="`test_fraction`"):
        Smooth().test_dataloader()
    with pytest.raises(NotImplementedError, match="PairDataModule"):
        PairDataModule().load()


class Stamped(Smooth):
    """With a time stamp that float32 does not hold."""

    def load(self):
        x, y = super().load()
        return x + 1.7e9, y


def test_a_module_in_float32_gets_columns_that_it_holds(tmp_path):
    quiet_trainer(tmp_path).fit(Foreign(3, 2), datamodule=Smooth())
    words = "column 'wind' to come in float64: float32 rounds it by 101"
    with pytest.raises(ValueError, match=words):
        quiet_trainer(tmp_path).fit(Foreign(3, 2), datamodule=Stamped())


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
