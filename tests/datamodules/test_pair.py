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


def test_every_training_row_is_seen_once_an_epoch_in_a_new_order_with_its_outcomes():
    data = Smooth(batch_size=50)
    loader = data.train_dataloader()
    (first, y), (second, _) = rows_of(loader), rows_of(loader)
    assert [len(x) for x, _ in loader] == [50, 50, 50, 10]
    assert len(as_set(first)) == len(first) == 160
    assert as_set(first) == as_set(second)
    assert not torch.equal(first, second)
    assert first.dtype == torch.float32
    outcomes = {tuple(x): tuple(y) for x, y in zip(*(t.float().tolist() for t in data.load()))}  # noqa: B905
    assert all(outcomes[tuple(x)] == tuple(z) for x, z in zip(first.tolist(), y.tolist()))  # noqa: B905


def test_statistics_are_those_of_the_training_rows():
    data = Smooth()
    x, y = rows_of(data.train_dataloader())
    np.testing.assert_allclose(data.statistics.input_mean, x.double().numpy().mean(0), rtol=1e-5)
    np.testing.assert_allclose(data.statistics.input_std, x.double().numpy().std(0, ddof=1), 1e-5)
    np.testing.assert_allclose(data.statistics.output_std, y.double().numpy().std(0, ddof=1), 1e-5)


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


class Table(PairDataModule):
    inputs = (Variable("a"), Variable("b"))
    outputs = (Variable("c"),)

    def __init__(self, x):
        super().__init__()
        self.x = x

    def load(self):
        return self.x, self.x[:, :1]


CONSTANT = torch.randn(50, 2, dtype=torch.float64)
CONSTANT[:, 1] = 7.5


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (CONSTANT, r"column 'b' of Table to vary, but it is 7.5"),
        *((torch.randn(rows, 2), f"{rows} rows give") for rows in (0, 1, 2)),
    ],
    ids=["constant", "0", "1", "2"],
)
def test_rows_that_teach_nothing_are_refused(x, words):
    with pytest.raises(ValueError, match=words):
        Table(x).setup()


def test_a_test_without_rows_and_a_source_without_load_are_refused():
    with pytest.raises(ValueError, match="`test_fraction`"):
        Smooth().test_dataloader()
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


def test_a_module_that_does_not_standardise_gets_the_default_dtype_if_it_holds_the_columns(
    tmp_path,
):
    quiet_trainer(tmp_path).fit(Plain(), datamodule=Smooth())
    words = "column 'wind' to come in float64: float32 rounds it by 101"
    with pytest.raises(ValueError, match=words):
        quiet_trainer(tmp_path).fit(Plain(), datamodule=Stamped())
