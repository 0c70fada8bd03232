"""History of a map: what is kept of each look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from lightning_invert.jacobians.thresholds import MAX_LOG10_COND
from lightning_invert.watch.quantiles import quantiles
from lightning_invert.watch.quantities import capped_log10, to_numpy

if TYPE_CHECKING:
    from lightning_invert.watch.observation import Observation

__all__ = [
    "INTERVALS",
    "MAX_LOOKS",
    "MAX_RANKS",
    "QUANTILES",
    "History",
    "Record",
    "record",
    "remember",
]

QUANTILES = {
    "min": 0.0,
    "p05": 0.05,
    "p25": 0.25,
    "median": 0.5,
    "p75": 0.75,
    "p95": 0.95,
    "max": 1.0,
}
"""Of log10 of the condition numbers, by their names."""

INTERVALS = ("full_rank_fraction", "log10_cond_median", "log10_cond_p95")
"""Scalars whose 95 % intervals are kept, under their names with ``_low`` and ``_high``."""

MAX_LOOKS = 512
"""Of a map. What lies between two looks that are kept is, at an even pace, one look or at most 3.1 % of
their distance to the latest after 3 000 looks, and 5.3 % after a million: see :func:`remember`."""

MAX_RANKS = 5
"""Full rank, one less, ...; the last stands for all that are lower."""


Record: TypeAlias = dict[str, Any]
"""What is kept of a look at a map, in plain numbers: a row of a data frame, ``DataFrame(history["forward"])``.

``epoch``, ``step``, ``num_points``; ``full_rank_fraction`` and ``rank_shares``, those of the points at rank
k, k - 1, ..., the last with all lower ones; ``log10_cond_min``, ``_p05``, ``_p25``, ``_median``, ``_p75``,
``_p95``, ``_max``, where infinity is 16; and the ends of :data:`INTERVALS`.
"""


class History(dict[str, "list[Record]"]):
    """Label of a map -> its looks; typed alone it tells how many, not all that is in them."""

    def __repr__(self) -> str:
        of_maps = [f"{len(looks)} of {label!r}" for label, looks in self.items()]
        return f"History of looks: {', '.join(of_maps) or 'none yet'}"


def record(observation: Observation, *, epoch: int, step: int) -> Record:
    """Return what is kept of an observation; of a Jacobian that was not formed, only the epoch."""
    scalars, observation = observation.scalars, observation.finite()
    look: Record = {"epoch": epoch, "step": step, "num_points": len(observation.rank)}
    if not observation.formed:
        return look
    lost = observation.full_rank - observation.rank.numpy()
    counts = np.bincount(
        lost.clip(max=MAX_RANKS - 1), minlength=min(observation.full_rank + 1, MAX_RANKS)
    )
    shares = (counts / max(len(lost), 1)).tolist()
    log10_cond = np.sort(capped_log10(to_numpy(observation.condition)))
    values = quantiles(log10_cond, [*QUANTILES.values()], empty=MAX_LOG10_COND)
    look |= {"full_rank_fraction": shares[0], "rank_shares": shares}
    look |= {f"log10_cond_{name}": v for name, v in zip(QUANTILES, values, strict=True)}
    ends = [f"{name}_{end}" for name in INTERVALS for end in ("low", "high")]
    return look | {name: scalars[name] for name in ends}


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
