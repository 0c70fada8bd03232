"""What several of these tests fit, and fits with and without a callback."""

from types import SimpleNamespace

import torch
from lightning.pytorch.loggers import CSVLogger

from lightning_invert import ForwardInverseModule, ResidualMLP
from lightning_invert.watch.watcher import Watcher
from tests.identity import everything_of, state_of, streams
from tests.projects import Foreign, Smooth, loader, quiet_trainer
from tests.watch.looks import look


def process(x):
    """Compute what `Smooth` measures."""
    z = (x - x.new_tensor([1000.0, 300.0, 0.5])) / x.new_tensor([100.0, 1.0, 0.01])
    y = torch.stack([torch.tanh(z[:, 0] + z[:, 1]), z[:, 1] - 0.5 * z[:, 2] ** 2], dim=1)
    return y * y.new_tensor([5000.0, 20.0]) + y.new_tensor([8000.0, 400.0])


class Known(Smooth):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.problem = SimpleNamespace(forward=process)


def pair(dropout=0.0):
    torch.manual_seed(0)
    nets = (ResidualMLP(n, m, width=8, dropout=dropout) for n, m in ((3, 2), (2, 3)))
    return ForwardInverseModule(*nets)


class Keeping(Foreign):
    """A project whose forward changes what ``prepare`` makes, and that logs its ``value``."""

    def __init__(self):
        torch.manual_seed(0)
        super().__init__()
        self.prepare()

    def on_validation_epoch_end(self):
        self.log("own", float(self.value()))


def values_of(make, *, watched):
    """What a project keeps after each of three steps, with looks before them or without, and its weights."""
    module, watcher = make(), Watcher({"forward": {"module": "", "input": 0}}, on_error="raise")
    torch.manual_seed(1)
    values = []
    for batch in loader(rows=48):
        if watched:
            before = everything_of(module), streams()
            look(watcher, module, [batch])
            assert before == (everything_of(module), streams())
        module.train()
        module.step(batch).backward()
        with torch.no_grad():
            module.eval()(batch[0])
        with torch.no_grad():
            values.append(float(module.value()))
    return values, state_of(module)


class Recorded(CSVLogger):
    """Keeps what a project logs itself; the epoch comes with whatever is logged."""

    def __init__(self, folder):
        super().__init__(folder)
        self.own = []

    def log_metrics(self, metrics, step=None):
        self.own += [(k, v) for k, v in metrics.items() if "invertib" not in k and k != "epoch"]


def fit_unwatched_and_watched(folder, make, watch, *, data=None, **options):
    """Fit what ``make`` builds without and with the callback, and compare to the bit.

    Weights, buffers and the project's own log are the same. ``data`` makes the loaders of training and
    validation. Returns the trainer that watched.
    """
    ends = []
    for callbacks in ([], [watch]):
        torch.manual_seed(0)
        module, logger = make(), Recorded(folder)
        options = {"max_epochs": 2, **options}
        trainer = quiet_trainer(folder, logger=logger, callbacks=callbacks, **options)
        torch.manual_seed(1)
        trainer.fit(module, *(data() if data else (loader(), loader())))
        assert "val_loss" in trainer.callback_metrics
        ends.append((state_of(module), logger.own, trainer.current_epoch, trainer.global_step))
    assert ends[0] == ends[1]
    return trainer
