"""What is kept of each look at a map, so that one can see how it evolved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from lightning_invert.jacobians.thresholds import MAX_LOG10_COND

if TYPE_CHECKING:
    from lightning_invert.watch.observation import Observation

__all__ = ["QUANTILES", "RANKS_KEPT", "Look", "remember"]

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
"""Of log10 of the condition numbers."""

RANKS_KEPT = 5
"""Full rank, one less, ...; the last stands for all that are lower."""


class Look(TypedDict):
    """One look at a map, in plain numbers: a checkpoint holds them.

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


def remember(one: Observation, epoch: int) -> Look:
    """Return what is kept of an observation."""
    scalars = one.report.scalars
    k = one.full_rank
    rank = k - one.rank.numpy()
    shares = np.bincount(rank.clip(max=RANKS_KEPT - 1), minlength=min(k + 1, RANKS_KEPT))
    log10_cond = one.condition.log10().clamp(max=MAX_LOG10_COND).numpy()
    quantiles = np.quantile(log10_cond, QUANTILES) if len(rank) else np.full(7, MAX_LOG10_COND)
    return Look(
        epoch=epoch,
        step=one.step,
        num_points=len(rank),
        rank_shares=(shares / max(len(rank), 1)).tolist(),
        log10_cond=quantiles.tolist(),
        full_rank_interval=_interval(scalars, "full_rank_fraction"),
        median_interval=_interval(scalars, "log10_cond_median"),
        p95_interval=_interval(scalars, "log10_cond_p95"),
    )


def _interval(scalars: Mapping[str, float], name: str) -> list[float]:
    return [scalars[f"{name}_low"], scalars[f"{name}_high"]]
