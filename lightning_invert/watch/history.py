"""What is kept of each look at a map, so that one can see how it evolved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from lightning_invert.jacobians.thresholds import MAX_LOG10_COND
from lightning_invert.watch.quantiles import quantiles

if TYPE_CHECKING:
    from lightning_invert.watch.observation import Observation

__all__ = ["MAX_RANKS", "QUANTILES", "Record", "record"]

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
"""Of log10 of the condition numbers."""

MAX_RANKS = 5
"""Full rank, one less, ...; the last stands for all that are lower."""


class Record(TypedDict):
    """What is kept of a look at a map, in plain numbers: a checkpoint holds them.

    ``rank_shares``: shares of the points at rank k, k - 1, ..., the last with all that are lower.
    ``log10_cond``: the quantiles of :data:`QUANTILES`, infinite ones as 16. The others: ends of 95 %
    intervals.
    """

    epoch: int
    step: int
    num_points: int
    rank_shares: list[float]
    log10_cond: list[float]
    full_rank_interval: list[float]
    median_interval: list[float]
    p95_interval: list[float]


def record(one: Observation, *, epoch: int, step: int) -> Record:
    """Return what is kept of an observation: of a Jacobian that was not formed, only when it was."""
    scalars, one = one.scalars, one.finite()
    if not one.formed:
        none: list[float] = []
        return Record(
            epoch=epoch,
            step=step,
            num_points=len(one.rank),
            rank_shares=none,
            log10_cond=none,
            full_rank_interval=none,
            median_interval=none,
            p95_interval=none,
        )
    k = one.full_rank
    rank = k - one.rank.numpy()
    shares = np.bincount(rank.clip(max=MAX_RANKS - 1), minlength=min(k + 1, MAX_RANKS))
    log10_cond = np.sort(one.condition.log10().clamp(max=MAX_LOG10_COND).numpy())
    return Record(
        epoch=epoch,
        step=step,
        num_points=len(rank),
        rank_shares=(shares / max(len(rank), 1)).tolist(),
        log10_cond=quantiles(log10_cond, QUANTILES, empty=MAX_LOG10_COND),
        full_rank_interval=_interval(scalars, "full_rank_fraction"),
        median_interval=_interval(scalars, "log10_cond_median"),
        p95_interval=_interval(scalars, "log10_cond_p95"),
    )


def _interval(scalars: Mapping[str, float], name: str) -> list[float]:
    return [scalars[f"{name}_low"], scalars[f"{name}_high"]]
