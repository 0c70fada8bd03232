"""How far two quantities rise together."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["rank_correlation"]


def rank_correlation(a: npt.NDArray[Any], b: npt.NDArray[Any], *, tie: float = 0.0) -> float:
    r"""Return Spearman's :math:`\rho`, the correlation of the ranks; those of equal values are their mean.

    (C. Spearman, *The proof and measurement of association between two things*, 1904.)

    Args:
        a: Shape (N,), without NaN; inf is the largest value.
        b: Likewise.
        tie: A quantity that varies by no more than this over all points counts as constant.

    Returns:
        A number in [-1, 1]. Where one of the two is constant there is nothing to be ordered: 1 if
        the other is so, too, and else 0.

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
