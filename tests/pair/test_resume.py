import random
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.loggers import Logger

from lightning_invert import ConditioningPenalty, Ensemble, ForwardInverseModule, SmoothMLP
from lightning_invert.callbacks import InvertibilityCallback
from lightning_invert.pair.settings import AdamSettings
from tests.pair.fitting import fit, saved
from tests.projects import Smooth, quiet_trainer

pytestmark = pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists:UserWarning")

COPIED = pytest.mark.filterwarnings("ignore:You're using the WeightAveraging callback:UserWarning")


def assert_same(one, other, path=""):
    """Compare two nested collections of plain values and tensors, to the bit."""
    assert type(one) is type(other), path
    if isinstance(one, dict):
        assert list(one) == list(other), path
        for key in one:
            assert_same(one[key], other[key], f"{path}/{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), path
        for i, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same(a, b, f"{path}/{i}")
    elif isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype, path
        assert torch.equal(one, other), f"{path}: {(one - other).abs().max()}"
    else:
        assert one == other, f"{path}: {one} != {other}"


class Stopped(Exception):
    pass


class Stop(Callback):
    def __init__(self, step):
        self.step = step

    def on_train_batch_start(self, trainer, *_):
        if trainer.global_step == self.step:
            raise Stopped


class Journal(Logger):
    name = version = "journal"

    def __init__(self):
        super().__init__()
        self.lines = []

    def log_hyperparams(self, *_, **__):
        pass

    def log_metrics(self, metrics, step=None):
        self.lines.append((step, sorted(metrics.items())))


class Scheduled(ForwardInverseModule):
    # It asks for the training loader before the checkpoint is restored.
    def configure_optimizers(self):
        self.adam = AdamSettings(schedule="constant")
        optimizer = super().configure_optimizers()
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=steps)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


def network(n, m):
    return SmoothMLP(n, m, width=8)


def ended(
    folder, keep=None, *, stop=None, resume=None, kind=ForwardInverseModule, data=None, **options
):
    """Fit four epochs of ten steps, or until it is stopped, or on from where it was."""
    torch.manual_seed(4 if resume is None else 9)
    pair = kind(Ensemble(network(3, 2), 2), network(2, 3), **options.pop("pair", {}))
    more = [EMAWeightAveraging(decay=0.9)] if options.pop("averaged", False) else []
    last = ModelCheckpoint(
        folder / "checkpoints",
        "last",
        enable_version_counter=False,
        **(keep or {"every_n_epochs": 1}),
    )
    trainer = quiet_trainer(
        folder,
        **{"max_epochs": 4, **options},
        enable_checkpointing=True,
        callbacks=[InvertibilityCallback(num_points=20), *more, Stop(stop), last],
        logger=(journal := Journal()),
    )
    with pytest.raises(Stopped) if stop else nullcontext():
        trainer.fit(pair, datamodule=Smooth(**{"batch_size": 16, **(data or {})}), ckpt_path=resume)
    trainer.save_checkpoint(folder / "end.ckpt")
    end = torch.load(folder / "end.ckpt", weights_only=True)
    callbacks = {k: v for k, v in end["callbacks"].items() if "ModelCheckpoint" not in k}
    names = ("epoch", "global_step", "state_dict", "optimizer_states", "lightning_invert")
    return {"callbacks": callbacks, **{name: end[name] for name in names}}, journal.lines


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"keep": {"every_n_epochs": 1, "save_on_train_epoch_end": False}},
        {"reload_dataloaders_every_n_epochs": 1},
        {"pair": {"conditioning_penalty": ConditioningPenalty(limit=1.0)}},
        {"pair": {"forward_training": {"warmup_epochs": 3}}},
        {"kind": Scheduled},
        pytest.param({"averaged": True}, marks=COPIED),
        pytest.param({"data": {"num_workers": 1}}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_a_fit_resumed_at_the_end_of_an_epoch_ends_as_if_it_had_not_been_stopped(options, tmp_path):
    whole, logged = ended(tmp_path / "whole", **options)
    ended(tmp_path / "halves", stop=25, **options)
    last = tmp_path / "halves" / "checkpoints" / "last.ckpt"
    resumed, logged_after = ended(tmp_path / "halves", resume=last, **options)
    assert_same(whole, resumed)
    # Saved before the epoch's end, the means of that epoch's training are lost.
    first = 1 if "keep" in options else 0
    assert logged[-len(logged_after) :][first:] == logged_after[first:]
    assert any("train/loss" in dict(line) for _, line in logged_after)


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:You're resuming from a checkpoint that ended before:UserWarning"
)
def test_a_fit_resumed_in_the_midst_of_an_epoch_goes_on(tmp_path):
    steps = {"every_n_train_steps": 7}
    ended(tmp_path, steps, stop=25)
    end, logged = ended(tmp_path, steps, resume=tmp_path / "checkpoints" / "last.ckpt")
    assert end["global_step"] == 40
    assert sum("val/loss" in dict(line) for _, line in logged) == 2


@COPIED
@pytest.mark.parametrize("networks", [(), (network(3, 2), network(2, 3))], ids=["built", "given"])
def test_weights_that_are_averaged_are_those_of_a_module_with_its_scales(networks, tmp_path):
    data = Smooth()
    data.setup()
    loaders = {"datamodule": data}
    if networks:
        loaders = {
            f"{name}_dataloaders": getattr(data, f"{name}_dataloader")()
            for name in ("train", "val")
        }
    average = EMAWeightAveraging(decay=0.9)
    trainer = quiet_trainer(tmp_path, max_epochs=3, callbacks=[average])
    trainer.fit(pair := ForwardInverseModule(*networks), **loaders)
    torch.testing.assert_close(pair.scale_x.mean, data.statistics[0], check_dtype=False)
    trainer.save_checkpoint(tmp_path / "pair.ckpt")
    loaded = ForwardInverseModule.load_from_checkpoint(tmp_path / "pair.ckpt")
    assert_same(dict(pair.state_dict()), dict(loaded.state_dict()))


def streams():
    return torch.rand(3).tolist(), random.random(), np.random.rand()


def seed_all(seed):
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)


@pytest.mark.parametrize("given", [True, False], ids=["networks given", "networks built"])
def test_a_checkpoint_that_is_used_leaves_the_random_streams_alone(given, tmp_path):
    data = Smooth(test_fraction=0.1)
    networks = (network(3, 2), network(2, 3)) if given else ()
    path = saved(ForwardInverseModule(*networks), tmp_path, data)
    for use in ("validate", "test", "predict", "load_from_checkpoint"):
        pair = ForwardInverseModule(*networks)
        seed_all(2)
        expected = streams()
        seed_all(2)
        if use == "load_from_checkpoint":
            ForwardInverseModule.load_from_checkpoint(path)
        else:
            getattr(quiet_trainer(tmp_path), use)(pair, datamodule=data, ckpt_path=path)
        assert streams() == expected, use


def test_a_second_fit_in_a_process_is_the_first_again(tmp_path):
    data, ends = Smooth(), []
    for _ in range(2):
        torch.manual_seed(0)
        trainer = fit(ForwardInverseModule(), tmp_path, data, max_epochs=2)
        ends.append(trainer.lightning_module.state_dict())
    assert_same(*ends)


def pair_of(**options):
    return ForwardInverseModule(network(3, 2), network(2, 3), **options)


def sorted_rows(x):
    return x[x[:, 0].argsort()]


def test_a_fit_keeps_the_rows_of_its_splits_and_a_second_fit_new_ones(tmp_path):
    pair = pair_of()
    for rows in (200, 100):
        data = fit(pair, tmp_path, Smooth(rows=rows), max_epochs=2).datamodule
        loaders = {"train": data.train_dataloader(), "val": data.val_dataloader()}
        for split, loader in loaders.items():
            for held, column in zip(pair.evidence.rows(split), loader.dataset[:], strict=True):
                assert torch.equal(sorted_rows(held), sorted_rows(column.double()))


@pytest.mark.parametrize("keep_points", [20, 0])
def test_a_fit_keeps_no_more_rows_than_it_may_and_a_resumed_one_the_same(tmp_path, keep_points):
    pair, resumed = pair_of(keep_points=keep_points), pair_of(keep_points=keep_points)
    path = saved(pair, tmp_path, max_epochs=2)
    fit(resumed, tmp_path, max_epochs=3, ckpt_path=path)
    loaded = ForwardInverseModule.load_from_checkpoint(path)
    for split in ("train", "val"):
        rows = [each.evidence.rows(split) for each in (pair, resumed, loaded)]
        if keep_points:
            assert [len(x) for x, _ in rows] == [20] * 3
            assert all(torch.equal(x, rows[0][0]) for x, _ in rows)
        else:
            assert rows == [None] * 3
    without = ForwardInverseModule.load_from_checkpoint(path, keep_points=0)
    assert without.evidence.rows("train") is None
