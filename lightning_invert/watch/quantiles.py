"""Quantiles, and intervals of shares and quantiles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

__all__ = ["quantile_ranks", "quantiles", "student_quantile", "wilson_interval"]


def quantiles(
    ordered: npt.NDArray[np.float64], shares: Sequence[float], *, empty: float = math.nan
) -> list[float]:
    """Interpolate linearly like ``numpy.quantile``, but let inf be inf rather than NaN.

    The values are ascending, shape (N,), without NaN; each quantile is ``empty`` if N = 0.

    Example:
        >>> quantiles(np.array([1.0, 2.0, np.inf, np.inf]), (0.0, 0.5, 1.0))
        [1.0, inf, inf]
    """
    values = []
    for share in shares if len(ordered) else ():
        position = share * (len(ordered) - 1)
        low, high = ordered[math.floor(position)], ordered[math.ceil(position)]
        values.append(float(low if low == high else low + (high - low) * (position % 1.0)))
    return values or [empty] * len(shares)


def wilson_interval(share: float, total: int, *, confidence: float = 0.95) -> tuple[float, float]:
    r"""Return Wilson's score interval of a share of N = ``total``; without points it is (0, 1).

    .. math:: \frac{p + z^2 / 2N \pm z \sqrt{p (1 - p) / N + z^2 / 4N^2}}{1 + z^2 / N}

    The usual :math:`p \pm z \sqrt{p (1 - p) / N}` shrinks to nothing at 0 and 1, where the share of
    points at full rank mostly is. (E. B. Wilson, *Probable inference, the law of succession, and
    statistical inference*, JASA 22, 1927.)
    """
    if total == 0:
        return 0.0, 1.0
    z2 = NormalDist().inv_cdf(0.5 + confidence / 2) ** 2 / total
    middle, half = share + z2 / 2, math.sqrt(z2 * (share * (1 - share) + z2 / 4))
    low, high = (middle - half) / (1 + z2), (middle + half) / (1 + z2)
    return (max(low, 0.0) if share > 0 else 0.0), (min(high, 1.0) if share < 1 else 1.0)


@lru_cache(maxsize=256)
def quantile_ranks(
    total: int, q: float, *, confidence: float = 0.95
) -> tuple[int | None, int | None]:
    """Return the indices of two ordered values of a sample that enclose a quantile; None: too few values.

    How many of N values lie below the q-quantile follows the binomial law B(N, q), whatever the law
    of the values. (H. A. David and H. N. Nagaraja, *Order Statistics*, 3rd ed., section 7.1.)
    """
    if total == 0:
        return None, None
    k = np.arange(total)
    steps = np.log((total - k) / (k + 1)) + math.log(q / (1 - q))
    log_mass = np.concatenate([[0.0], np.cumsum(steps)])
    mass = np.exp(log_mass - log_mass.max())
    below = np.cumsum(mass) / mass.sum()
    tail = (1 - confidence) / 2
    low = int(np.searchsorted(below, tail))  # the tail's quantile of B(N, q)
    high = int(np.searchsorted(below, 1 - tail))
    return (low - 1 if low > 0 else None), (high if high < total else None)


@lru_cache(maxsize=256)
def student_quantile(share: float, freedom: int) -> float:
    r"""Return a quantile of Student's t.

    With :math:`\theta = \arctan(t / \sqrt\nu)`, the distribution function is a finite sum of
    :math:`\sin\theta \cos^j\theta`, which is inverted by bisection. (M. Abramowitz and I. A. Stegun,
    *Handbook of Mathematical Functions*, 26.7.3 and 26.7.4.)
    """

    def between(theta: float) -> float:
        """Return the probability of -t < T < t."""
        odd = freedom % 2
        term = math.cos(theta) if odd else 1.0
        total = term if freedom > 1 else 0.0
        for j in range(3 if odd else 2, freedom - 1, 2):
            term *= (j - 1) / j * math.cos(theta) ** 2
            total += term
        total *= math.sin(theta)
        return 2 / math.pi * (theta + total) if odd else total

    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if between(middle) < 2 * share - 1 else (low, middle)
    return math.sqrt(freedom) * math.tan(low)
