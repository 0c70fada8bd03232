"""How each logger shows what was seen, one file a logger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lightning.pytorch.utilities import rank_zero_info, rank_zero_only

from lightning_invert.report.loggers.base import Counts, Gallery, count, logger_step
from lightning_invert.report.loggers.guard import Guard, Guarded
from lightning_invert.report.loggers.mlflow import MLFlowGallery
from lightning_invert.report.loggers.tensorboard import TensorBoardGallery
from lightning_invert.report.loggers.wandb import WandbGallery
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

_KINDS: dict[str, type[Gallery]] = {
    "TensorBoardLogger": TensorBoardGallery,
    "WandbLogger": WandbGallery,
    "MLFlowLogger": MLFlowGallery,
}


def galleries(trainer: Trainer, guard: Guard | None = None) -> list[Gallery]:
    """Return one for each of the trainer's loggers.

    Args:
        trainer: Whose loggers.
        guard: What is done where one fails; by default, it is said.
    """
    guard = guard or Guard()
    # By name, because `lightning` and `pytorch_lightning` each have classes of their own, and
    # because none of these packages is to be imported for nothing.
    return [
        Guarded(
            next((_KINDS[c.__name__] for c in type(one).__mro__ if c.__name__ in _KINDS), Gallery)(
                one
            ),
            guard,
        )
        for one in trainer.loggers
    ]


def notice(trainer: Trainer, *, histograms: bool, images: bool) -> None:
    """Say once what a logger is not going to show, though it was asked for."""
    for gallery in galleries(trainer):
        name = type(gallery.logger).__name__
        missing = [
            what
            for what, asked, shown in (
                ("histograms", histograms, gallery.histograms),
                ("figures", images, gallery.images),
            )
            if asked and not shown
        ]
        if missing and name != "DummyLogger":
            rank_zero_info(
                f"InvertibilityCallback: {name} gets the scalars, but cannot show "
                f"{' or '.join(missing)}."
            )


@rank_zero_only
def declare_metrics(
    trainer: Trainer, module: LightningModule, maps: Sequence[str], guard: Guard | None = None
) -> None:
    """Let loggers compare runs by how their maps end."""
    compared = [row.name for row in SCALARS.values() if row.compared]
    tags = [f"invertibility/{name}/{scalar}" for name in maps for scalar in compared]
    for gallery in galleries(trainer, guard):
        gallery.declare(trainer, module, tags)
