"""What watching costs: seconds of the callback as a share of an epoch of the reference recipe.

256 points of three maps, TensorBoard, histograms on. All hooks of the callback are timed, in the
run that they are part of. The recipe has 1000 epochs, and this runs some of them: what is drawn
once, after the last, is counted as the share that it is of all of them. The limit is the spectra
alone: Jacobians and singular values of the same maps at as many points. Where the truth of the
furnace is known, its own Jacobian is formed too, by Newton's method in float64. And it may be asked
how many outcomes are reached from the proposals.

    python benchmarks/overhead.py [--epochs 60]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from typing import Any

import torch
from common import in_turns, machine, quiet_trainer, quietly
from lightning.pytorch.loggers import TensorBoardLogger

from lightning_invert import (
    ForwardInverseModule,
    LinearDecayAlpha,
    ResidualMLP,
    batched_jacobian,
    singular_values,
)
from lightning_invert.callbacks import InvertibilityCallback
from lightning_invert.datamodules import ProblemDataModule

RECIPE, NUM_POINTS, SECONDS = 1000, 5000, 2.0
"""Epochs of the reference recipe."""


class Untold(ForwardInverseModule):
    """A pair whose process is not known, as it is outside of a benchmark."""

    def invertibility_maps(self, truth: Any = None) -> dict[str, dict[str, Any]]:
        maps = super().invertibility_maps(truth)
        return {name: {**spec, "truth": None} for name, spec in maps.items()}


def timed(
    epochs: int, kind: type[ForwardInverseModule] = Untold, **options: Any
) -> tuple[ForwardInverseModule, float, list[float], float, float]:
    """Return the module and the seconds: of fit, watched epochs, all hooks, the drawing at the end."""
    with tempfile.TemporaryDirectory() as folder:
        watch = InvertibilityCallback(**options)
        spent: dict[str, list[float]] = {}
        for name in dir(watch):
            if name.startswith("on_") or name == "setup":
                setattr(watch, name, clocked(getattr(watch, name), spent.setdefault(name, [])))
        trainer = quiet_trainer(epochs, logger=TensorBoardLogger(folder), callbacks=[watch])
        torch.manual_seed(42)
        module = kind(
            ResidualMLP(7, 4),
            ResidualMLP(4, 7),
            alpha=LinearDecayAlpha(0.1, epochs=500),
            learning_rate=1e-3,
            adam={"schedule": "constant"},
        )
        begin = time.perf_counter()
        trainer.fit(module, datamodule=ProblemDataModule("blast_furnace", NUM_POINTS, noise=0.01))
        seconds = time.perf_counter() - begin
    last = spent["on_train_end"][-1]
    hooks = sum(map(sum, spent.values())) - last
    return module, seconds - last, spent["on_validation_epoch_end"][1:], hooks, last


def clocked(hook: Any, spent: list[float]) -> Any:
    def run(*args: Any, **kwargs: Any) -> Any:
        begin = time.perf_counter()
        try:
            return hook(*args, **kwargs)
        finally:
            spent.append(time.perf_counter() - begin)

    return run


def spectra_alone(module: ForwardInverseModule) -> float:
    module.eval()
    x = torch.randn(256, 7) * module.scale_x.std + module.scale_x.mean
    y = module(x).detach()
    maps = [(module.forward, x), (module.inverse, y), (module.round_trip, y)]

    def run() -> None:
        for function, points in maps:
            singular_values(batched_jacobian(function, points, check=False))

    return in_turns({"spectra": run}, SECONDS)["spectra"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=60)
    epochs = parser.parse_args().epochs
    quietly()
    print(machine("lightning"))
    for title, options in {
        "figures off": {"figures": False},
        'figures="auto"': {"figures": "auto"},
        "and held against the truth": {"figures": False, "kind": ForwardInverseModule},
        "and 10 steps to the outcomes": {"figures": False, "reachable_steps": 10},
    }.items():
        module, seconds, watched, hooks, last = timed(epochs, **options)
        epoch = seconds / epochs
        share = hooks / seconds + last / (RECIPE * epoch)
        print(
            f"  {title:28s} epoch {1e3 * epoch:6.1f} ms, watching "
            f"{1e3 * statistics.median(watched):5.1f} ms of it, at the end {last:.2f} s; all hooks "
            f"{share:6.2%}"
        )
    print(f"  {'limit: spectra alone':28s} {1e3 * spectra_alone(module):5.1f} ms")


if __name__ == "__main__":
    main()
