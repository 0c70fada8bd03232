"""A fit that was killed and resumed ends, to the bit, as one that ran through."""

import os
import random
import signal
import subprocess
import sys
import textwrap
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger
from torch.utils.data import DataLoader, TensorDataset

from lightning_invert import ConditioningPenalty, Ensemble, ForwardInverseModule, ResidualMLP
from tests.projects import Smooth, quiet_trainer

ROOT = Path(__file__).parents[2]

PROJECT = textwrap.dedent("""
    import os, signal, sys
    from lightning.pytorch import Callback
    from lightning.pytorch.callbacks import ModelCheckpoint
    from lightning.pytorch.loggers import Logger
    from lightning_invert.callbacks import InvertibilityCallback
    from lightning_invert.cli.main import InvertCLI

    WATCHED, SAVED, KILLED_AT = WHAT

    class Journal(Logger):
        "Write down what is logged, to the bit."

        name = version = "journal"

        def log_hyperparams(self, *_, **__):
            pass

        def log_metrics(self, metrics, step=None):
            found = {k: float(v).hex() for k, v in sorted(metrics.items())}
            with open("journal.txt", "a") as file:
                print(step, found, file=file)

    class Kill(Callback):
        "End the process, without a chance to tidy up, at a step."

        def on_train_batch_start(self, trainer, *_):
            if trainer.global_step == KILLED_AT and "--ckpt_path" not in sys.argv:
                os.kill(os.getpid(), signal.SIGKILL)

    class Command(InvertCLI):
        def before_fit(self):
            kept = [c for c in self.trainer.callbacks if WATCHED or type(c) is not InvertibilityCallback]
            last = ModelCheckpoint("checkpoints", "last", enable_version_counter=False, **SAVED)
            self.trainer.callbacks = [*kept[:-1], Kill(), last, kept[-1]]
            self.trainer.loggers.append(Journal())

        def after_fit(self):
            self.trainer.save_checkpoint("end.ckpt")

    Command(sys.argv[1:])
""")


FEWER = ("--data.num_points", "1000", "--data.batch_size", "16")


def fit(folder, what, *options, killed=False):
    """Run the shipped config in a process of its own."""
    folder.mkdir(exist_ok=True)
    (folder / "project.py").write_text(PROJECT.replace("WHAT", repr(what)))
    options = ("--config", "blast_furnace", "--trainer.max_epochs", "4", *FEWER, *options)
    done = subprocess.run(
        [sys.executable, "project.py", "fit", *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == (-signal.SIGKILL if killed else 0), done.stderr[-20000:]
    return done


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


def end(folder):
    """What a fit ended with, less the paths and what a resumed loop does not count again."""
    kept = torch.load(folder / "end.ckpt", weights_only=True)
    callbacks = {k: v for k, v in kept["callbacks"].items() if "ModelCheckpoint" not in k}
    names = ("epoch", "global_step", "state_dict", "optimizer_states", "lightning_invert")
    return {"callbacks": callbacks, **{name: kept[name] for name in names}}


EPOCHS = {"every_n_epochs": 1}
STEPS = {"every_n_train_steps": 35}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("watched", "saved"),
    [(True, STEPS), (False, EPOCHS)],
    ids=["watched, in the midst of an epoch", "not watched, at an epoch's end"],
)
def test_the_shipped_config_killed_and_resumed_ends_as_if_it_had_run_through(
    watched, saved, tmp_path
):
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    what = (watched, saved, 115)  # 60 steps an epoch: saved after step 60, or 105
    fit(whole, (watched, saved, None))
    fit(halves, what, killed=True)
    fit(halves, what, "--ckpt_path", "checkpoints/last.ckpt")
    assert_same(end(whole), end(halves))
    written = (halves / "journal.txt").read_text()
    assert written == (whole / "journal.txt").read_text()
    assert written.count("train/loss") == written.count("val/loss") == 4


class Stopped(Exception):
    pass


class Journal(Logger):
    """Keeps what is logged."""

    name = version = "journal"

    def __init__(self):
        super().__init__()
        self.lines = []

    def log_hyperparams(self, *_, **__):
        pass

    def log_metrics(self, metrics, step=None):
        self.lines.append((step, sorted(metrics.items())))


class Stop(Callback):
    def __init__(self, step):
        self.step = step

    def on_train_batch_start(self, trainer, *_):
        if trainer.global_step == self.step:
            raise Stopped


class Scheduled(ForwardInverseModule):
    """Asks for the training loader before the checkpoint is restored."""

    def configure_optimizers(self):
        self.learning_rate_schedule = "constant"
        optimizer = super().configure_optimizers()
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=steps)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


def several(_, inverse_net, **options):
    return ForwardInverseModule(Ensemble([Restless(), Restless()]), inverse_net, **options)


class Restless(torch.nn.Module):
    """Draws from all three streams."""

    def __init__(self):
        super().__init__()
        self.net = ResidualMLP(3, 2, width=8, dropout=0.2)

    def forward(self, x):
        noise = random.random() + np.random.rand() if self.training else 0.0
        return self.net(x) + 0.1 * noise


def loader(shuffle):
    """A loader of somebody else, which draws its order from torch's stream."""
    x, y = Smooth(rows=160).load()
    return DataLoader(TensorDataset(x.float(), y.float()), batch_size=16, shuffle=shuffle)


def seed_all(seed):
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)


def half(folder, saved, *, stop=None, resume=None, seed=4, kind=ForwardInverseModule, **options):
    """Fit four epochs of ten steps, or until it is stopped, or on from where it was."""
    seed_all(seed)
    data = options.pop("data", {})
    pair = kind(Restless(), ResidualMLP(2, 3, width=8, dropout=0.2), **options.pop("pair", {}))
    last = ModelCheckpoint(folder / "checkpoints", "last", enable_version_counter=False, **saved)
    trainer = quiet_trainer(
        folder,
        **{"max_epochs": 4, **options},
        enable_checkpointing=True,
        callbacks=[Stop(stop), last],
        logger=(journal := Journal()),
    )
    source = {"train_dataloaders": loader(True), "val_dataloaders": loader(False)}
    if data is not None:
        source = {"datamodule": Smooth(**{"batch_size": 16, **data})}
    with pytest.raises(Stopped) if stop else nullcontext():
        trainer.fit(pair, **source, ckpt_path=resume)
    trainer.save_checkpoint(folder / "end.ckpt")
    return end(folder), journal.lines


def halves(folder, saved, stop=25, **options):
    """What a fit ends with that ran through, and one that was stopped in its third epoch."""
    whole = half(folder / "whole", saved, **options)
    half(folder / "halves", saved, stop=stop, **options)
    resumed = half(
        folder / "halves",
        saved,
        resume=folder / "halves" / "checkpoints" / "last.ckpt",
        seed=9,
        **options,
    )
    return whole, resumed


ENDS = {"every_n_epochs": 1}
MIDST = {"every_n_train_steps": 7}


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists:UserWarning")
@pytest.mark.parametrize(
    ("saved", "options"),
    [
        (ENDS, {}),
        ({**ENDS, "save_on_train_epoch_end": False}, {}),
        (MIDST, {}),
        (MIDST, {"accumulate_grad_batches": 3, "stop": 10}),  # 4 steps an epoch
        (MIDST, {"max_steps": 36}),
        (MIDST, {"limit_train_batches": 9, "max_steps": 33}),
        (ENDS, {"reload_dataloaders_every_n_epochs": 1}),
        (MIDST, {"reload_dataloaders_every_n_epochs": 2}),
        ({"every_n_train_steps": 10}, {}),  # after the last batch, before validation
        (MIDST, {"pair": {"conditioning_penalty": ConditioningPenalty(limit=1.0)}}),
        (MIDST, {"pair": {"forward_warmup_epochs": 2}}),
        (ENDS, {"data": None}),
        ({"every_n_epochs": 1, "save_on_train_epoch_end": False}, {"val_check_interval": 5}),
        (MIDST, {"kind": Scheduled}),
        (MIDST, {"kind": several, "pair": {"forward_warmup_epochs": 2}}),
        pytest.param(MIDST, {"data": {"num_workers": 1}}, marks=pytest.mark.slow),
        pytest.param(ENDS, {"data": {"num_workers": 1}}, marks=pytest.mark.slow),
    ],
    ids=lambda part: str(part).partition(" at 0x")[0],
)
def test_a_resumed_fit_ends_as_if_it_had_not_been_stopped(saved, options, tmp_path):
    (whole, logged), (resumed, logged_after) = halves(tmp_path, saved, **options)
    assert_same(whole, resumed)
    assert logged[-len(logged_after) :] == logged_after
    assert any("train/loss" in dict(line) for _, line in logged_after)


def streams():
    return torch.rand(3).tolist(), random.random(), np.random.rand()


@pytest.mark.parametrize("given", [True, False], ids=["networks given", "networks built"])
@pytest.mark.parametrize("use", ["validate", "test", "predict", "load_from_checkpoint"])
def test_a_checkpoint_that_is_used_leaves_the_random_streams_alone(use, given, tmp_path):
    trainer, data = quiet_trainer(tmp_path), Smooth(test_fraction=0.1)
    networks = (Restless(), ResidualMLP(2, 3, dropout=0.5)) if given else ()
    trainer.fit(ForwardInverseModule(*networks), datamodule=data)
    path = tmp_path / "end.ckpt"
    trainer.save_checkpoint(path)
    pair = ForwardInverseModule(*networks)
    seed_all(2)
    expected = streams()
    seed_all(2)
    if use == "load_from_checkpoint":
        ForwardInverseModule.load_from_checkpoint(path, trust=[__name__])
    else:
        getattr(quiet_trainer(tmp_path), use)(pair, datamodule=data, ckpt_path=path)
    assert streams() == expected


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists:UserWarning")
def test_another_number_of_processes_is_said(tmp_path):
    half(tmp_path, MIDST, stop=25)
    path = tmp_path / "checkpoints" / "last.ckpt"
    kept = torch.load(path, weights_only=True)
    kept["lightning_invert"]["processes"][1] = kept["lightning_invert"]["processes"][0]
    torch.save(kept, path)
    with pytest.warns(UserWarning, match=r"resumes in 1 process\(es\) what 2 trained"):
        half(tmp_path, MIDST, resume=path)


def test_a_second_fit_in_a_process_is_the_first_again(tmp_path):
    data, ends = Smooth(), []
    for _ in range(2):
        torch.manual_seed(0)
        trainer = quiet_trainer(tmp_path, max_epochs=2)
        trainer.fit(ForwardInverseModule(), datamodule=data)
        ends.append(trainer.lightning_module.state_dict())
    assert_same(*ends)
