"""Rank correlation of two quantities."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["MIN_POINTS", "rank_correlation"]

MIN_POINTS = 5
"""By chance alone, N points are in the same or in the opposite order with probability 2 / N!. That is
8 % for four and below 5 % from five on: of fewer, not even a correlation of 1 says anything."""


def rank_correlation(a: npt.NDArray[Any], b: npt.NDArray[Any], *, tie: float = 0.0) -> float:
    r"""Return Spearman's :math:`\rho` of two arrays (N,); equal values share their mean rank.

    (C. Spearman, *The proof and measurement of association between two things*, 1904.) A quantity that
    varies by no more than ``tie`` is constant; then the result is 1 if both are constant, else 0. Points
    at which either is NaN are left out. The result is NaN where there are fewer than
    :data:`MIN_POINTS`, and 0 where so few of them are known.
    """
    if len(a) < MIN_POINTS:
        return math.nan
    known = ~(np.isnan(a) | np.isnan(b))
    a, b = a[known], b[known]
    if len(a) < MIN_POINTS:
        return 0.0
    constant = [bool(x.max() == x.min() or np.ptp(x) <= tie) for x in (a, b)]
    if any(constant):
        return float(all(constant))
    x, y = (_ranks(values) for values in (a, b))
    x, y = x - x.mean(), y - y.mean()
    return float((x @ y) / np.sqrt((x @ x) * (y @ y)))


def _ranks(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((count.cumsum() - (count - 1) / 2)[place])
