"""How each logger shows what is found of maps: one file per logger."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from lightning.pytorch import Trainer

from lightning_invert.report.loggers.gallery import KINDS, Gallery, Guard, count

__all__ = ["KINDS", "Gallery", "Guard", "count", "galleries", "logger_step"]


def galleries(trainer: Trainer, guard: Guard) -> list[Gallery]:
    """Return a gallery for each of the trainer's loggers."""
    _import_all()
    return [Gallery.of(logger, guard) for logger in trainer.loggers]


@cache
def _import_all() -> None:
    """Import the files of this folder once: each registers its gallery."""
    for module in iter_modules([str(Path(__file__).parent)]):
        import_module(f"{__name__}.{module.name}")


def logger_step(trainer: Trainer) -> int:
    """Return the step under which the trainer logs scalars now."""
    # Not `global_step`: that counts each optimizer of a module with several.
    stepped = getattr(trainer.fit_loop.epoch_loop, "_batches_that_stepped", None)
    return int(trainer.global_step if stepped is None else stepped)
