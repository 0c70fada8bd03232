"""Whatever a forward or a hook writes, and to whom, is not written by a look."""

import functools
import types
from pathlib import Path
from queue import SimpleQueue

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from torch import nn

from lightning_invert import InvertibilityCallback
from lightning_invert.jacobians.silence import Silent
from lightning_invert.watch.isolation import isolated
from tests.callbacks.fits import Keeping, fit_unwatched_and_watched
from tests.projects import Foreign, fit_project

MAPS = {"forward": {"module": "", "input": 0}}


class LoggingInForward(Foreign):
    def forward(self, x):
        for logger in self.loggers:
            logger.experiment.log_metrics({"in forward": len(x)}, step=0)
        self.logger.log_metrics({"through the logger": 1.0})
        return super().forward(x)


def test_what_a_forward_writes_to_its_loggers_is_not_written_by_a_look(tmp_path):
    class Experiment:
        def __init__(self):
            self.calls = 0

        def log_metrics(self, *_, **__):
            self.calls += 1

        def save(self):
            """Write nothing."""

    class Logger(CSVLogger):
        experiment = None

        def log_metrics(self, metrics, step=None):
            self.calls += "through the logger" in metrics

    counts = []
    for callbacks in ([], [InvertibilityCallback(figures=False)]):
        logger = Logger(tmp_path)
        logger.calls, logger.experiment = 0, Experiment()
        module = LoggingInForward()
        trainer = fit_project(tmp_path, *callbacks, module=module, max_epochs=2, logger=logger)
        assert trainer.loggers == [logger]
        counts.append((logger.calls, logger.experiment.calls))
    assert counts[0] == counts[1]


WRITTEN = SimpleQueue()  # no look puts this back
wandb = types.ModuleType("wandb")
wandb.log, wandb.run = WRITTEN.put, types.SimpleNamespace(log=WRITTEN.put)
HOW = {"on_epoch": True, "on_step": False, "batch_size": 1}


class Writer:
    __module__ = "tensorboardX.writer"

    def __init__(self):
        self.log_dir = "runs"

    def add_scalar(self, name, value):
        WRITTEN.put(value)


class Part(nn.Module):
    """Writes by what it is given whenever it is called."""

    def __init__(self, write):
        super().__init__()
        self.write = write

    def forward(self, x):
        self.write(len(x))
        return x


def _by_a_hook(module, log):
    module.encoder[0].register_forward_hook(lambda m, i, o: log("inner", float(len(o)), **HOW))
    return lambda n: None


def _by_its_loggers_folder(module):
    return lambda n: Path(module.logger.root_dir, module.logger.name, str(module.logger.version))


WAYS = {
    "log": lambda module, log: lambda n: log("inner", float(n), **HOW),
    "partial": lambda module, log: functools.partial(functools.partial(log, "inner"), **HOW),
    "log_dict": lambda module, log: functools.partial(_by_dictionary, module.log_dict),
    "hook": _by_a_hook,
    "package": lambda module, log: lambda n: wandb.log(n),
    "run": lambda module, log: lambda n: wandb.run.log(n),
    "writer": lambda module, log: functools.partial(Writer().add_scalar, "rows"),
    "writer of a closure": lambda module, log: _by_a_writer(Writer()),
    "folder": lambda module, log: _by_its_loggers_folder(module),
}


def _by_a_writer(writer):
    return lambda n: writer.add_scalar(writer.log_dir + "/rows", n)


def _by_dictionary(log, n):
    log({"inner": float(n)}, **HOW)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_whatever_writes_is_silent_while_looking(tmp_path, way):
    class Writing(Keeping):
        def prepare(self):
            self.part, self.before = Part(way(self, self.log)), WRITTEN.qsize()

        def forward(self, x):
            return super().forward(self.part(x))

        def value(self):
            return WRITTEN.qsize() - self.before

    watch = InvertibilityCallback(MAPS, figures=False)
    fit_unwatched_and_watched(tmp_path, Writing, watch)
    assert len(watch.history["forward"]) == 2


def test_what_stands_for_a_logger_passes_for_it(tmp_path):
    logger = CSVLogger(tmp_path, name="a", version=3)
    silent = Silent(logger)
    assert isinstance(silent, CSVLogger)
    assert (silent.name, silent.version, silent.log_dir) == ("a", 3, logger.log_dir)
    with silent.experiment.span("a") as span:
        silent.experiment["a"] = silent.experiment["b"].append(span)
    silent.experiment.count = [*silent.experiment.runs]
    assert silent.log_metrics({"a": 1.0}) is None
    assert not list(tmp_path.iterdir())


def test_hooks_of_all_modules_are_silent_while_looking():
    seen = []
    handles = [
        nn.modules.module.register_module_forward_hook(lambda m, i, o: seen.append(o)),
        nn.modules.module.register_module_forward_pre_hook(lambda m, i: seen.append(i)),
        nn.modules.module.register_module_full_backward_hook(lambda m, i, o: seen.append(o)),
    ]
    try:
        module = nn.Linear(2, 2)
        with isolated(module):
            module(torch.zeros(1, 2, requires_grad=True)).sum().backward()
        assert not seen
        module(torch.zeros(1, 2, requires_grad=True)).sum().backward()
        assert len(seen) == 3
    finally:
        for handle in handles:
            handle.remove()
