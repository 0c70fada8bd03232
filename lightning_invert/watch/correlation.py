"""Rank correlation of two quantities."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["rank_correlation"]


def rank_correlation(a: npt.NDArray[Any], b: npt.NDArray[Any], *, tie: float = 0.0) -> float:
    r"""Return Spearman's :math:`\rho` of two arrays (N,) without NaN; equal values share their mean rank.

    (C. Spearman, *The proof and measurement of association between two things*, 1904.) A quantity that
    varies by no more than ``tie`` is constant; then the result is 1 if both are constant, else 0.
    """
    constant = [len(x) < 2 or bool(x.max() == x.min() or np.ptp(x) <= tie) for x in (a, b)]
    if any(constant):
        return float(all(constant))
    x, y = (_ranks(values) for values in (a, b))
    x, y = x - x.mean(), y - y.mean()
    return float((x @ y) / np.sqrt((x @ x) * (y @ y)))


def _ranks(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((count.cumsum() - (count - 1) / 2)[place])
