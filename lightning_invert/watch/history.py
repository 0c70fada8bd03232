"""History of a map: what is kept of each look."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

import numpy as np

from lightning_invert.jacobians.thresholds import MAX_LOG10_COND
from lightning_invert.watch.quantiles import quantiles
from lightning_invert.watch.quantities import capped_log10, to_numpy

if TYPE_CHECKING:
    from lightning_invert.watch.observation import Observation

__all__ = ["MAX_LOOKS", "MAX_RANKS", "QUANTILES", "Record", "record", "remember"]

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
"""Of log10 of the condition numbers."""

MAX_LOOKS = 512
"""Of a map. What lies between two looks that are kept is, at an even pace, one look or at most 3.1 % of
their distance to the latest after 3 000 looks, and 5.3 % after a million: see :func:`remember`."""

MAX_RANKS = 5
"""Full rank, one less, ...; the last stands for all that are lower."""


class Record(TypedDict):
    """What is kept of a look at a map, in plain numbers, for checkpoints.

    ``rank_shares``: shares of the points at rank k, k - 1, ..., the last with all lower ones.
    ``log10_cond``: the quantiles :data:`QUANTILES`, inf as 16. Intervals are ends of 95 % intervals.
    """

    epoch: int
    step: int
    num_points: int
    rank_shares: list[float]
    log10_cond: list[float]
    full_rank_interval: list[float]
    median_interval: list[float]
    p95_interval: list[float]


def record(observation: Observation, *, epoch: int, step: int) -> Record:
    """Return what is kept of an observation; of a Jacobian that was not formed, only the epoch."""
    scalars, observation = observation.scalars, observation.finite()
    formed, k = observation.formed, observation.full_rank
    lost = k - observation.rank.numpy()
    shares = np.bincount(lost.clip(max=MAX_RANKS - 1), minlength=min(k + 1, MAX_RANKS))
    log10_cond = np.sort(capped_log10(to_numpy(observation.condition)))

    def interval(name: str) -> list[float]:
        return [scalars[f"{name}_low"], scalars[f"{name}_high"]] if formed else []

    return Record(
        epoch=epoch,
        step=step,
        num_points=len(lost),
        rank_shares=(shares / max(len(lost), 1)).tolist() if formed else [],
        log10_cond=quantiles(log10_cond, QUANTILES, empty=MAX_LOG10_COND) if formed else [],
        full_rank_interval=interval("full_rank_fraction"),
        median_interval=interval("log10_cond_median"),
        p95_interval=interval("log10_cond_p95"),
    )


def remember(looks: list[Record], look: Record) -> None:
    """Append a look. Beyond :data:`MAX_LOOKS`, forget the one whose absence leaves the smallest gap.

    A gap is measured in steps, against the distance of its beginning to the latest look: recent looks
    stay dense, older ones become sparser. The first and the last stay. What is forgotten follows from
    what is kept alone, so that an interrupted fit forgets the same.

    A gap is one between two looks that followed each other, or at most :math:`1 - n^{-1/m}` of the
    distance of its beginning to the latest look, with m = (MAX_LOOKS - 1) // 2 and n the steps so far
    over the smallest distance of two looks. For if every second look but the last left a larger
    one, the distances to the latest look, of which the first is the steps so far, would shrink by
    more than :math:`n^{-1/m}` from each to the next but one: after m such, to less than the
    smallest distance.
    """
    looks.append(look)
    while len(looks) > MAX_LOOKS:
        step = np.array([look["step"] for look in looks], dtype=float)
        gap, distance = step[2:] - step[:-2], step[-1] - step[:-2]
        del looks[1 + int(np.argmin(gap / np.maximum(distance, 1.0)))]
