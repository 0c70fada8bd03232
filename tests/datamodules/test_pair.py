import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler

from lightning_invert import Variable
from lightning_invert.datamodules import PairDataModule
from tests.projects import Smooth, quiet_trainer


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


def test_every_training_row_is_seen_once_an_epoch_in_a_new_order():
    loader = Smooth().train_dataloader()
    first, second = rows_of(loader)[0], rows_of(loader)[0]
    assert len(as_set(first)) == len(first) == 160
    assert as_set(first) == as_set(second)
    assert not torch.equal(first, second)


def test_pairs_stay_together():
    data = Smooth()
    whole = {tuple(x): tuple(y) for x, y in zip(*(t.float().tolist() for t in data.load()))}  # noqa: B905
    for x, y in zip(*(t.tolist() for t in rows_of(data.train_dataloader()))):  # noqa: B905
        assert whole[tuple(x)] == tuple(y)


def test_statistics_are_those_of_the_training_rows():
    data = Smooth()
    x, y = rows_of(data.train_dataloader())
    np.testing.assert_allclose(data.statistics.input_mean, x.double().numpy().mean(0), rtol=1e-5)
    np.testing.assert_allclose(data.statistics.input_std, x.double().numpy().std(0, ddof=1), 1e-5)
    np.testing.assert_allclose(data.statistics.output_std, y.double().numpy().std(0, ddof=1), 1e-5)


def test_batches_are_of_the_size_asked_for_and_in_the_default_dtype():
    batches = [x for x, _ in Smooth(batch_size=50).train_dataloader()]
    assert [len(x) for x in batches] == [50, 50, 50, 10]
    assert batches[0].dtype == torch.float32


def test_prediction_gives_all_rows_in_order():
    data = Smooth()
    assert torch.equal(rows_of(data.predict_dataloader())[0], data.load()[0].float())


def test_a_distributed_sampler_can_take_the_place_of_the_sampler():
    dataset = Smooth().train_dataloader().dataset
    loader = Smooth().train_dataloader()
    replaced = DataLoader(
        dataset,
        batch_size=16,
        sampler=DistributedSampler(dataset, num_replicas=2, rank=1),
        collate_fn=loader.collate_fn,
    )
    assert [tuple(x.shape) for x, _ in replaced] == [(16, 3)] * 5


@pytest.mark.slow
def test_worker_processes_give_the_same_rows():
    data = Smooth(num_workers=2)
    assert as_set(rows_of(data.val_dataloader())[0]) == as_set(
        rows_of(Smooth().val_dataloader())[0]
    )


class Given(PairDataModule):
    inputs = (Variable("a"), Variable("b"))
    outputs = (Variable("c"),)

    def __init__(self, x, **kwargs):
        super().__init__(**kwargs)
        self.x = x

    def load(self):
        return self.x, self.x[:, :1]


def test_a_constant_column_is_named():
    x = torch.randn(50, 2, dtype=torch.float64)
    x[:, 1] = 7.5
    with pytest.raises(ValueError, match=r"column 'b' of Given to vary, but it is 7.5"):
        Given(x).setup()


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_too_few_rows_are_counted(rows):
    with pytest.raises(ValueError, match=f"{rows} rows give"):
        Given(torch.randn(rows, 2, dtype=torch.float64)).setup()


def test_a_test_without_rows_is_refused():
    with pytest.raises(ValueError, match="`test_fraction`"):
        Smooth().test_dataloader()


def test_a_source_has_to_say_where_its_rows_come_from():
    with pytest.raises(NotImplementedError, match="PairDataModule"):
        PairDataModule().load()


class Plain(LightningModule):
    """A module that knows nothing of ours, with weights in float32."""

    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(3, 2)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return (self.net(x) - y).square().mean()

    def validation_step(self, batch, batch_idx):
        self.training_step(batch, batch_idx)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-3)


class Stamped(Smooth):
    """With a time stamp that float32 does not hold."""

    def load(self):
        x, y = super().load()
        return x + 1.7e9, y


def test_a_module_that_does_not_standardise_gets_the_default_dtype(tmp_path):
    quiet_trainer(tmp_path).fit(Plain(), datamodule=Smooth())
    assert all(part.dtype == torch.float32 for part in next(iter(Smooth().train_dataloader())))


def test_it_is_told_of_a_column_that_this_does_not_hold(tmp_path):
    with pytest.raises(
        ValueError, match="column 'wind' to come in float64: float32 rounds it by 101"
    ):
        quiet_trainer(tmp_path).fit(Plain(), datamodule=Stamped())
