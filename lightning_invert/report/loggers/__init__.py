"""How each logger shows what is found of maps: a file a logger."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING

from lightning.pytorch.utilities import rank_zero_only

from lightning_invert.report.loggers.counts import Counts, count
from lightning_invert.report.loggers.gallery import Gallery
from lightning_invert.report.loggers.guard import Guard
from lightning_invert.watch.scalars import SCALARS

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

__all__ = [
    "Counts",
    "Gallery",
    "Guard",
    "count",
    "declare_metrics",
    "galleries",
    "logger_step",
    "notice",
]


def galleries(trainer: Trainer, guard: Guard) -> list[Gallery]:
    """Return a gallery for each of the trainer's loggers."""
    for module in iter_modules([str(Path(__file__).parent)]):
        import_module(f"{__name__}.{module.name}")
    return [Gallery.of(logger, guard) for logger in trainer.loggers]


def logger_step(trainer: Trainer) -> int:
    """Return the step under which the trainer logs scalars now."""
    # Not `global_step`: that counts each optimizer of a module with several.
    stepped = getattr(trainer.fit_loop.epoch_loop, "_batches_that_stepped", None)
    return int(trainer.global_step if stepped is None else stepped)


def notice(trainer: Trainer, guard: Guard, *, histograms: bool, images: bool) -> None:
    """Say which of the things that are asked for a logger cannot show."""
    for gallery in galleries(trainer, guard):
        missing = ["histograms"] if histograms and not gallery.histograms else []
        missing += ["figures"] if images and not gallery.images else []
        if missing and gallery.name != "DummyLogger":
            what = " or ".join(missing)
            guard.voice.info(f"{gallery.name} gets the scalars, but cannot show {what}.")


@rank_zero_only
def declare_metrics(
    trainer: Trainer, guard: Guard, module: LightningModule, maps: Sequence[str]
) -> None:
    """Let loggers compare runs by how their maps end."""
    compared = [row.name for row in SCALARS.values() if row.compared]
    tags = [f"invertibility/{name}/{scalar}" for name in maps for scalar in compared]
    for gallery in galleries(trainer, guard):
        gallery.declare(trainer, module, tags)
