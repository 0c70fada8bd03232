r"""How the learning rate goes over a fit."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

__all__ = ["one_cycle", "one_cycle_over"]

RISING = 0.3
"""Share of the fit in which the rate rises."""

FIRST, LAST = 1 / 25, 1 / 250_000
"""Where it begins and ends, as a share of the highest."""


def one_cycle(progress: float) -> float:
    r"""Return the learning rate at a point of a fit, as a share of the highest.

    It rises along half a cosine from 1/25 to 1 in the first 30 % of the fit and falls along another
    to nearly nothing: L. N. Smith and N. Topin, *Super-convergence*, arXiv:1708.07120 (2017), with
    the numbers of :class:`torch.optim.lr_scheduler.OneCycleLR`. Unlike that class it goes on where a
    fit is made longer.

    Args:
        progress: From 0 at the beginning to 1 at the end; beyond, it stays at the end.

    Example:
        >>> [round(one_cycle(progress), 3) for progress in (0.0, 0.15, 0.3, 0.65, 1.0)]
        [0.04, 0.52, 1.0, 0.5, 0.0]
    """
    if progress < RISING:
        return _between(FIRST, 1.0, progress / RISING)
    return _between(1.0, LAST, min(1.0, (progress - RISING) / (1.0 - RISING)))


def one_cycle_over(optimizer: Optimizer, steps: Callable[[], float]) -> LambdaLR:
    """Return a scheduler of one cycle.

    Args:
        optimizer: Whose rate it is.
        steps: Returns how many steps the fit has; it is asked from the second step on. Where that is
            infinite, the rate is constant.
    """

    def share(step: int) -> float:
        if step == 0:
            return FIRST
        return one_cycle(step / max(1, steps() - 1)) if math.isfinite(steps()) else 1.0

    return LambdaLR(optimizer, share)


def _between(begin: float, end: float, progress: float) -> float:
    return end + (begin - end) * (1.0 + math.cos(math.pi * progress)) / 2.0
