"""Histograms as counts, in the time of a look."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Counts", "count"]


class Counts(NamedTuple):
    """A histogram: how many values there are between edges, and their moments."""

    counts: npt.NDArray[np.int64]  # (B,)
    edges: npt.NDArray[np.float64]  # (B + 1,)
    least: float
    most: float
    total: float
    squares: float


def count(
    values: npt.ArrayLike, low: float | None = None, high: float | None = None, *, bins: int = 64
) -> Counts:
    """Count finite values in bins of equal width, by default between their extremes.

    Values beyond the ends are counted in the nearest bin. TensorBoard's own ``add_histogram`` would
    take fifteen hundred bins, and a hundred times as long.

    Example:
        >>> count([0, 2, 2], -0.5, 2.5, bins=3).counts.tolist()
        [1, 0, 2]
    """
    array = np.asarray(values, dtype=np.float64)
    least, most = float(array.min()), float(array.max())
    low, high = least if low is None else low, most if high is None else high
    if not low < high:
        high = low + 1.0
    edges = np.linspace(low, high, bins + 1)
    # As numpy.histogram has it, the last bin being closed; that takes several times as long.
    inside = np.searchsorted(edges, array, side="right") - 1
    counts = np.bincount(inside.clip(0, bins - 1), minlength=bins)
    return Counts(counts, edges, least, most, float(array.sum()), float((array**2).sum()))
