"""What only TensorBoard can show, and where on its axis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

__all__ = ["logger_step", "tensorboard_writers"]


def tensorboard_writers(trainer: Trainer) -> list[Any]:
    """Return the ``SummaryWriter`` of each of the trainer's TensorBoard loggers."""
    # By name, because `lightning` and `pytorch_lightning` each have a class of their own.
    return [
        logger.experiment  # type: ignore[attr-defined]
        for logger in trainer.loggers
        if any(cls.__name__ == "TensorBoardLogger" for cls in type(logger).__mro__)
    ]


def logger_step(trainer: Trainer) -> int:
    """Return the step under which the trainer logs scalars now."""
    # Not `global_step`: that counts each optimizer of a module with several.
    return int(trainer.fit_loop.epoch_loop._batches_that_stepped)
