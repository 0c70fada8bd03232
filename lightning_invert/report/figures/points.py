"""The points that can be drawn, and which of their inputs explain the condition number most."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from lightning_invert.report.figures import Array, style
from lightning_invert.report.worst_points import MAX_INPUTS_SHOWN
from lightning_invert.watch.history import Record
from lightning_invert.watch.observation import Observation
from lightning_invert.watch.quantities import capped_log10, to_numpy

__all__ = [
    "best_pair",
    "best_single",
    "correlation_ratio",
    "drawable",
    "has_few_inputs",
    "quantile_cells",
]

MAX_PAIRED = 12
"""Inputs of which pairs are made: those that explain most by themselves."""

PARTS = 4
"""Cells along each of two inputs: one of theirs holds about a sixteenth of the points."""


class Points(NamedTuple):
    """Points that can be drawn, and the facts about their number."""

    inputs: Array  # (N, n)
    condition: Array  # (N,)
    log10: Array  # (N,), of the condition numbers, from 0 to 16
    deficient: Array  # (N,), bool
    names: list[str]
    facts: list[str]


def has_few_inputs(observation: Observation, history: Sequence[Record] = ()) -> bool:
    """Tell whether a figure can show where: not in an image, say."""
    return len(observation.input_names) <= MAX_INPUTS_SHOWN


def drawable(observation: Observation) -> Points:
    """Leave out the points that are not finite, and count them."""
    inputs = observation.inputs.flatten(1).double().numpy()
    condition = observation.condition.double().numpy()
    finite = ~np.isnan(condition) & np.isfinite(inputs).all(1)
    return Points(
        inputs[finite],
        condition[finite],
        capped_log10(to_numpy(observation.condition))[finite],
        observation.rank.numpy()[finite] < observation.full_rank,
        list(observation.input_names),
        style.count_facts(int(finite.sum()), len(finite)),
    )


def quantile_cells(x: Array, parts: int = PARTS) -> Array:
    """Return which quantile of its distribution each value is in, as integers from 0."""
    inner = np.unique(np.quantile(x, np.linspace(0, 1, parts + 1)[1:-1]))
    return np.asarray(np.searchsorted(inner, x, side="right"))


def correlation_ratio(cell: Array, values: Array) -> float:
    r"""Return :math:`\eta^2`, the share of the values' variance that is between cells.

    (K. Pearson, *On the general theory of skew correlation and non-linear regression*, 1905.)
    """
    deviation = values - values.mean()
    total = float((deviation**2).sum())
    sums, counts = np.bincount(cell, deviation), np.bincount(cell)
    return float((sums**2 / np.maximum(counts, 1)).sum()) / total if total > 0 else 0.0


def best_single(cells: Sequence[Array], values: Array, most: int) -> list[int]:
    """Return the inputs by whose cells the values vary most, in the order of the inputs."""
    if len(cells) <= most:
        return list(range(len(cells)))
    ratios = [correlation_ratio(cell, values) for cell in cells]
    return sorted(np.argsort(ratios)[-most:].tolist())


def best_pair(inputs: Array, values: Array) -> tuple[int, int, float]:
    """Return the two inputs by whose common cells the values vary most, and the correlation ratio."""
    cells = [quantile_cells(x) for x in inputs.T]
    ratios = [
        (correlation_ratio(PARTS * cells[i] + cells[j], values), i, j)
        for i, j in combinations(best_single(cells, values, MAX_PAIRED), 2)
    ]
    ratio, i, j = max(ratios, key=lambda pair: pair[0])
    return i, j, ratio
