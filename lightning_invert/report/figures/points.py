"""Points with what was found there, and which of their inputs tell most about it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lightning_invert.report.figures import style
from lightning_invert.report.figures.style import Array

if TYPE_CHECKING:
    from lightning_invert.watch.observation import Observation

__all__ = ["Points", "correlation_ratio", "drawable", "most_telling", "most_telling_pair", "parted"]

MAX_PAIRED = 12
PARTS = 4
"""Of each of two inputs: a cell holds about a sixteenth of the points."""


class Points(NamedTuple):
    """Points that can be drawn."""

    inputs: Array  # (N, n)
    condition: Array  # (N,)
    deficient: Array  # (N,), bool
    names: list[str]
    facts: list[str]


def drawable(one: Observation) -> Points:
    """Leave out the points that are not finite, and count them."""
    inputs, condition = one.inputs.flatten(1).double().numpy(), one.condition.double().numpy()
    kept = ~np.isnan(condition) & np.isfinite(inputs).all(1)
    facts = [style.points(int(kept.sum())), style.left_out(int((~kept).sum()))]
    deficient = one.rank.numpy()[kept] < one.full_rank
    return Points(inputs[kept], condition[kept], deficient, list(one.input_names), facts)


def parted(x: Array, parts: int = PARTS) -> Array:
    """Return which quantile of its distribution each value is in, as integers from 0."""
    inner = np.unique(np.quantile(x, np.linspace(0, 1, parts + 1)[1:-1]))
    return np.asarray(np.searchsorted(inner, x, side="right"))


def correlation_ratio(cell: Array, values: Array) -> float:
    r"""Return :math:`\eta^2`, the share of the values' variance that is between cells.

    (K. Pearson, *On the general theory of skew correlation and non-linear regression*, 1905.)

    Example:
        >>> correlation_ratio(np.array([0, 0, 1, 1]), np.array([1.0, 1.0, 3.0, 3.0]))
        1.0
    """
    deviation = values - values.mean()
    total = float((deviation**2).sum())
    sums, counts = np.bincount(cell, deviation), np.bincount(cell)
    return float((sums**2 / np.maximum(counts, 1)).sum()) / total if total > 0 else 0.0


def most_telling(cells: Sequence[Array], values: Array, most: int) -> list[int]:
    """Return the inputs by whose cells the values vary most, in the order of the inputs."""
    if len(cells) <= most:
        return list(range(len(cells)))
    ratios = [correlation_ratio(cell, values) for cell in cells]
    return sorted(np.argsort(ratios)[-most:].tolist())


def most_telling_pair(inputs: Array, values: Array) -> tuple[int, int, float]:
    """Return the two inputs by whose common cells the values vary most, and the correlation ratio.

    Of more than twelve inputs, pairs are made of the twelve that tell most by themselves.
    """
    cells = [parted(x) for x in inputs.T]
    candidates = most_telling(cells, values, MAX_PAIRED)
    found = [
        (correlation_ratio(PARTS * cells[i] + cells[j], values), i, j)
        for i, j in combinations(candidates, 2)
    ]
    ratio, i, j = max(found, key=lambda pair: pair[0])
    return i, j, ratio
