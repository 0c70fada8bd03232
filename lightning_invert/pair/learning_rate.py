"""Adam, the schedule of its learning rate over a fit, and its weight decay."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from lightning_invert.pair.settings import AdamSettings

if TYPE_CHECKING:
    from lightning.pytorch.utilities.types import OptimizerLRScheduler

__all__ = ["adam_over", "follow_loss", "one_cycle"]

RISING = 0.3
"""Share of the fit in which the rate rises."""

FIRST, LAST = 1 / 25, 1 / 250_000
"""First and last rate, as a share of the highest."""

DECAY_OF_LOSS, HIGHEST_DECAY = 5.0, 0.1
"""Weight decay as a multiple of F's loss at the validation rows, which holds their noise; its bound."""


def one_cycle(progress: float) -> float:
    r"""Return the learning rate at a progress from 0 to 1, as a share of the highest.

    It rises along half a cosine from 1/25 to 1 in the first 30 % of the fit and falls along another
    to nearly nothing: L. N. Smith and N. Topin, *Super-convergence*, arXiv:1708.07120 (2017), with
    the numbers of :class:`torch.optim.lr_scheduler.OneCycleLR`. Beyond 1 it stays at the end: unlike
    that class it allows a longer fit.
    """
    if progress < RISING:
        return _between(FIRST, 1.0, progress / RISING)
    return _between(1.0, LAST, min(1.0, (progress - RISING) / (1.0 - RISING)))


def adam_over(
    weights: Sequence[nn.Parameter],
    learning_rate: float,
    settings: AdamSettings,
    steps: Callable[[], float] | None,
    *,
    fused: bool,
) -> OptimizerLRScheduler:
    """Return Adam and the schedule of its learning rate, as ``configure_optimizers`` does.

    ``steps`` returns how many steps the fit has; it is called from the second step on. ``None`` or
    infinitely many: the rate is constant. Complex weights have no fused step.
    """
    fused = fused and not any(weight.is_complex() for weight in weights)
    group = {"params": weights, "follows_loss": settings.weight_decay is None}
    decay = settings.weight_decay or 0.0
    optimizer = AdamW([group], learning_rate, settings.betas, weight_decay=decay, fused=fused)
    if settings.schedule == "constant" or steps is None:
        return optimizer

    def share(step: int) -> float:
        if step == 0:
            return FIRST
        return one_cycle(step / max(1, steps() - 1)) if math.isfinite(steps()) else 1.0

    scheduler = LambdaLR(optimizer, share)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def follow_loss(optimizers: Sequence[Optimizer], loss: float) -> None:
    """Set the weight decay by F's loss in validation, except one that the user named."""
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        if group.get("follows_loss") and math.isfinite(loss):
            group["weight_decay"] = min(HIGHEST_DECAY, DECAY_OF_LOSS * loss)


def _between(begin: float, end: float, progress: float) -> float:
    return end + (begin - end) * (1.0 + math.cos(math.pi * progress)) / 2.0
