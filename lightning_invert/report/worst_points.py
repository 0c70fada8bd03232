"""The points at which a map is the hardest to invert."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from lightning_invert.jacobians.thresholds import BAND_NAMES, Thresholds

__all__ = ["to_csv", "worst_first", "worst_table"]

MOST_SIGMAS = 16


def worst_first(condition: Any, smallest: Any) -> np.ndarray[Any, Any]:
    r"""Return the points' indices, the worst first.

    Args:
        condition: Condition numbers, shape (N,); where several are infinite, the smallest singular
            value decides.
        smallest: :math:`\sigma_k`, shape (N,).

    Example:
        >>> worst_first([3.0, np.inf, np.inf], [1.0, 1e-14, 0.0]).tolist()
        [2, 1, 0]
    """
    return np.lexsort((np.asarray(smallest), -np.asarray(condition)))


def worst_table(
    singular_values: Tensor,
    condition: Tensor,
    rank: Tensor,
    inputs: Tensor | None = None,
    names: Sequence[str] | None = None,
    *,
    bands: tuple[float, float] = (100.0, 1e4),
    rows: int = 20,
) -> dict[str, list[Any]]:
    r"""Tabulate the worst points.

    Args:
        singular_values: Shape (N, k), descending, finite. With more than 16, only the largest and
            the smallest get a column.
        condition: Condition numbers, shape (N,).
        rank: Shape (N,).
        inputs: The points, shape (N, n), in the units of the data.
        names: Of the inputs, with units; ``x0``, ``x1``, ... by default.
        bands: Where *stable* ends and *ill-conditioned* begins.
        rows: How many at most.

    Returns:
        Name of a column -> its values, the worst point first.

    Example:
        >>> import torch
        >>> sigma, x = torch.tensor([[2.0, 1.0], [3.0, 0.02]]), torch.tensor([[0.5], [0.25]])
        >>> table = worst_table(sigma, sigma[:, 0] / sigma[:, 1], torch.tensor([2, 2]), x, ["heat"])
        >>> table["input/heat"], table["band"]
        ([0.25, 0.5], ['moderate', 'stable'])
    """
    k = singular_values.shape[1]
    worst = worst_first(condition, singular_values[:, -1])[:rows].tolist()
    columns: dict[str, list[Any]] = {}
    if inputs is not None:
        names = names or [f"x{j}" for j in range(inputs.shape[1])]
        values = inputs[worst].double().T.tolist()
        columns |= {f"input/{name}": column for name, column in zip(names, values, strict=True)}
    columns["rank"] = rank[worst].tolist()
    columns["condition_number"] = condition[worst].tolist()
    columns["band"] = [
        BAND_NAMES[i] for i in Thresholds(bands=bands).band(condition[worst]).tolist()
    ]
    kept = {f"sigma_{i + 1}": i for i in range(k)} if k <= MOST_SIGMAS else {}
    for name, i in (kept or {"sigma_max": 0, "sigma_min": k - 1}).items():
        columns[name] = singular_values[worst, i].tolist()
    return columns


def to_csv(columns: Mapping[str, Sequence[Any]]) -> str:
    r"""Write a table as CSV.

    Example:
        >>> to_csv({"heat [K]": [1.5, 2.0], "band": ["stable", "stable"]})
        'heat [K],band\n1.5,stable\n2.0,stable\n'
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue()
