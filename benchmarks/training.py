"""Steps per second of the reference recipe: Lightning with the callback, against a plain loop.

The plain loop is what one writes without Lightning: a stock DataLoader over a TensorDataset, Adam,
the same networks and the same loss, validation once an epoch, nothing logged and nothing watched.
Both take turns of some epochs in one process, and the ratio is of the medians of their epochs. The
limit is the plain loop without a loader: batches that lie ready.

    python benchmarks/training.py [--epochs 10] [--turns 3]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial

import torch
from common import machine, quiet_trainer, quietly
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_invert import ForwardInverseModule, ResidualMLP
from lightning_invert.callbacks import InvertibilityCallback
from lightning_invert.datamodules import ProblemDataModule

ALPHA, NUM_POINTS = 0.1, 5000


def standardised(batch_size: int) -> dict[str, TensorDataset]:
    data = ProblemDataModule("blast_furnace", NUM_POINTS, batch_size=batch_size, noise=0.01)
    data.setup()
    x_mean, x_std, y_mean, y_std = data.statistics
    return {
        split: TensorDataset(
            ((rows.inputs - x_mean) / x_std).float(), ((rows.outputs - y_mean) / y_std).float()
        )
        for split, rows in data._splits.items()
    }


def pair() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    return ResidualMLP(7, 4), ResidualMLP(4, 7)


def loss(forward: nn.Module, inverse: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    mse = nn.functional.mse_loss
    x_hat = inverse(y)
    total = mse(forward(x), y) + (1 - ALPHA) * mse(x_hat, x)
    for p in forward.parameters():
        p.requires_grad_(False)
    total = total + ALPHA * mse(forward(x_hat), y)
    for p in forward.parameters():
        p.requires_grad_(True)
    return total


def plain(train: Iterable[tuple[Tensor, Tensor]], val: DataLoader, epochs: int) -> list[float]:
    """Return the seconds of each epoch."""
    forward, inverse = pair()
    optimizer = torch.optim.Adam([*forward.parameters(), *inverse.parameters()], 1e-3)
    seconds = []
    for _ in range(epochs):
        begin = time.perf_counter()
        forward.train(), inverse.train()
        for x, y in train:
            optimizer.zero_grad()
            loss(forward, inverse, x, y).backward()
            optimizer.step()
        forward.eval(), inverse.eval()
        with torch.no_grad():
            for x, y in val:
                loss(forward, inverse, x, y).item()
        seconds.append(time.perf_counter() - begin)
    return seconds


class Clock(Callback):
    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: object) -> None:
        now = time.perf_counter()
        if trainer.current_epoch:
            self.seconds.append(now - self.begin)
        self.begin = now


def lightning(batch_size: int, epochs: int, *, watch: bool) -> list[float]:
    clock = Clock()
    callbacks: list[Callback] = [clock]
    if watch:
        callbacks.append(InvertibilityCallback(figures=False))
    with tempfile.TemporaryDirectory() as folder:
        logger = TensorBoardLogger(folder)
        trainer = quiet_trainer(epochs + 1, logger=logger, callbacks=callbacks)
        module = ForwardInverseModule(
            *pair(),
            alpha=ALPHA,
            learning_rate=1e-3,
            adam={"schedule": "constant", "weight_decay": 0.0},
        )
        trainer.fit(
            module,
            datamodule=ProblemDataModule(
                "blast_furnace", NUM_POINTS, batch_size=batch_size, noise=0.01
            ),
        )
    return clock.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=10, help="of each turn")
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    quietly()
    print(machine("lightning"))
    for batch_size in (16, 256):
        data = standardised(batch_size)
        val = DataLoader(data["val"], 1024)
        stock = DataLoader(data["train"], batch_size, shuffle=True)
        ready = list(stock)
        epochs = options.epochs
        contestants: dict[str, Callable[[], list[float]]] = {
            "Lightning, watched": partial(lightning, batch_size, epochs, watch=True),
            "Lightning": partial(lightning, batch_size, epochs, watch=False),
            "plain loop": partial(plain, stock, val, epochs),
            "limit: no loader": partial(plain, ready, val, epochs),
        }
        seconds: dict[str, list[float]] = {name: [] for name in contestants}
        for _ in range(options.turns):
            for name, run in contestants.items():
                seconds[name] += run()
        rates = {name: len(stock) / statistics.median(s) for name, s in seconds.items()}
        print(f"\nbatch {batch_size}, {len(stock)} steps and one validation an epoch")
        for name, rate in rates.items():
            print(f"  {name:20s} {rate:7.0f} steps/s {rate / rates['plain loop']:6.2f} x")


if __name__ == "__main__":
    main()
