"""When a fit validates next, and whether it does at all."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

__all__ = ["batches_to_validation", "is_last_validation", "why_never_validated"]


def batches_to_validation(trainer: Trainer) -> float:
    """Return how many batches the next validation is away; inf where that is not known."""
    every, interval, loop = (
        trainer.check_val_every_n_epoch,
        trainer.val_check_batch,
        trainer.fit_loop,
    )
    if interval is None:  # by the clock
        return math.inf
    if every is None:  # counted over all epochs
        return interval - (loop.total_batch_idx + 1) % interval
    done, batches = loop.batch_idx + 1, _batches_of_epoch(trainer)
    interval = min(interval, batches)
    if interval == math.inf:
        return math.inf
    epochs = -(trainer.current_epoch + 1) % every
    following = (done // interval + 1) * interval
    if epochs == 0 and following <= batches:
        return following - done
    return (epochs or every) * batches - done + interval


def is_last_validation(trainer: Trainer) -> bool:
    """Tell whether the fit is known to end before the next validation.

    By steps of manual optimisation it is estimated, as if each batch took as many as those before.
    """
    loop = trainer.fit_loop
    max_epochs = -1 if trainer.max_epochs is None else trainer.max_epochs
    if trainer.should_stop:
        if getattr(loop, "_can_stop_early", False):
            return True
        if trainer.global_step >= (loop.min_steps or 0):
            max_epochs = loop.min_epochs or max_epochs
    ahead = batches_to_validation(trainer)
    if ahead == math.inf:
        return False
    done, batches = loop.batch_idx + 1, _batches_of_epoch(trainer)
    before = done + ahead - 1  # the last batch that comes before the one that is validated after
    if -1 < max_epochs <= trainer.current_epoch + before // batches:
        return True
    if trainer.lightning_module.automatic_optimization:
        every = trainer.accumulate_grad_batches
        # An epoch ends with a step.
        of_epoch = 0 if batches == math.inf else -(-batches // every)
        steps = (before // batches - done // batches) * of_epoch
        steps += before % batches // every - done % batches // every
    else:
        steps = (ahead - 1) * trainer.global_step / max(1, loop.total_batch_idx + 1)
    return -1 < trainer.max_steps <= trainer.global_step + steps


def why_never_validated(trainer: Trainer) -> str:
    """Return at the start of a fit why it never validates; empty if it may."""
    if not trainer.enable_validation:
        return (
            "this fit has no validation loop. Give the trainer validation data and the module a "
            "`validation_step`."
        )
    is_fresh = trainer.current_epoch == trainer.global_step == 0
    if not is_fresh or not is_last_validation(trainer):
        return ""
    names = (
        "max_epochs", "max_steps", "accumulate_grad_batches", "val_check_interval",
        "check_val_every_n_epoch",
    )  # fmt: skip
    settings = ", ".join(f"{name}={getattr(trainer, name)}" for name in names)
    return (
        "this fit ends before its first validation, which would come after "
        f"{batches_to_validation(trainer):.0f} batches: {settings}."
    )


def _batches_of_epoch(trainer: Trainer) -> float:
    """Return the batches of an epoch; of unknown length, as many as the epochs before had."""
    loop, progress = trainer.fit_loop, trainer.fit_loop.epoch_loop.batch_progress
    if progress.is_last_batch:
        return loop.batch_idx + 1
    if trainer.num_training_batches < math.inf or trainer.current_epoch == 0:
        return trainer.num_training_batches
    return (loop.total_batch_idx - loop.batch_idx) / trainer.current_epoch
