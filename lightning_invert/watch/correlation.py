"""Rank correlation of two quantities."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["rank_correlation"]


def rank_correlation(a: npt.NDArray[Any], b: npt.NDArray[Any], *, tie: float = 0.0) -> float:
    r"""Return Spearman's :math:`\rho`, the correlation of the ranks; those of equal values are their mean.

    (C. Spearman, *The proof and measurement of association between two things*, 1904.)

    Both are of shape (N,), without NaN; inf is the largest value. A quantity that varies by no more
    than ``tie`` counts as constant. With a constant it is 1 if both are constant, else 0.

    Example:
        >>> rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([5.0, 9.0, np.inf]))
        1.0
        >>> rank_correlation(np.ones(3), np.arange(3.0))
        0.0
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
