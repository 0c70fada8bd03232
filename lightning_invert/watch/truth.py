"""What is known of a map by the truth: how far off its Jacobian is, which fragile points it knows."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lightning_invert.jacobians.thresholds import MAX_LOG10_COND, Thresholds
from lightning_invert.watch.correlation import rank_correlation
from lightning_invert.watch.maps import MapError, WatchedMap
from lightning_invert.watch.quantiles import quantiles
from lightning_invert.watch.roughness import MAX_NUMBERS_CAST

if TYPE_CHECKING:
    from lightning_invert.jacobians.comparison import Comparison
    from lightning_invert.watch.points import Points

__all__ = ["SCALARS_OF_TRUTH", "Fragile", "fragile", "log10_of", "reference_of", "summarise_truth"]

SCALARS_OF_TRUTH = (
    "jacobian_error_median",
    "jacobian_error_p95",
    "cond_rank_correlation",
    "fragile_precision",
    "fragile_recall",
)
"""What is known besides where the true map is."""

TIE = 1e-4
"""Of log10 of a condition number: what varies by less, as that of a linear map does by rounding, does
not vary."""


class Fragile(NamedTuple):
    r"""How many points are fragile, :math:`\kappa` beyond the first band, by the truth and by the map.

    Attributes:
        compared: At how many points both condition numbers are known.
        true: At how many of these the truth is fragile.
        found: At how many of those the map is, too.
        false_alarms: At how many it is where the truth is not.
    """

    compared: int
    true: int
    found: int
    false_alarms: int


def reference_of(watched: WatchedMap, points: Points) -> Callable[..., Tensor]:
    """Return the truth of a map as a function of its points in float64.

    Parameters are cast, but of a large module only if it does not follow without. What insists on a
    dtype of its own, or has weights that are sharded over processes, is evaluated in the dtype of
    the points.

    Raises:
        MapError: When it is called, if the truth fails.
    """
    truth = watched.truth
    assert truth is not None
    device = "cpu" if points.inputs.device.type == "mps" else None
    double = points.to(device, torch.float64)
    cast: Callable[[], WatchedMap] = lambda: truth.in_float64(device)
    as_it_is: Callable[[], WatchedMap] = lambda: truth
    # A formula's owner is the whole project, which may be too large to be copied for nothing.
    large = sum(p.numel() for p in truth.owner.parameters()) > MAX_NUMBERS_CAST
    ways = (as_it_is, cast) if large else (cast, as_it_is)

    def reference(*rows: Tensor) -> Tensor:
        for way in ways:
            with suppress(ValueError, MapError):
                y = double.call(way())(*rows)
                if y.dtype == torch.float64:
                    return y  # type: ignore[no-any-return]
        native = [row.to(like) for row, like in zip(rows, points.rows, strict=True)]
        try:
            return points.call(truth)(*native)  # type: ignore[no-any-return]
        except MapError as error:
            raise MapError(watched.name, "truth", error.why) from error.__cause__

    return reference


def log10_of(condition: Tensor) -> npt.NDArray[np.float64]:
    """Return log10 of condition numbers, capped at 16."""
    return np.asarray(condition.double().log10().clamp(max=MAX_LOG10_COND))


def fragile(condition: Tensor, truth: Comparison, thresholds: Thresholds) -> Fragile:
    r"""Count which truly fragile points a map knows.

    Args:
        condition: What the map's condition numbers are, shape (N,).
        truth: What it was held against.
        thresholds: Which say where the first band ends, and what is singular.

    Example:
        >>> from lightning_invert.jacobians.comparison import Comparison
        >>> truth = Comparison(torch.zeros(3), torch.tensor([[1.0, 1e-3], [1.0, 1e-3], [1.0, 1.0]]))
        >>> fragile(torch.tensor([200.0, 50.0, 300.0]), truth, Thresholds())
        Fragile(compared=3, true=2, found=1, false_alarms=1)
    """
    true = thresholds.condition(truth.singular_values)
    known = ~(condition.isnan() | true.isnan())
    reported, true = (kappa[known] >= thresholds.bands[0] for kappa in (condition, true))
    return Fragile(
        int(known.sum()),
        int(true.sum()),
        int((true & reported).sum()),
        int((reported & ~true).sum()),
    )


def summarise_truth(
    condition: Tensor, truth: Comparison, thresholds: Thresholds
) -> dict[str, float]:
    r"""Return how true the reported Jacobians are, over the points where both are known.

    Args:
        condition: What the map's condition numbers are, shape (N,).
        truth: What it was held against.
        thresholds: Which say where the first band ends, and what is singular.

    Returns:
        ``jacobian_error_median`` and ``jacobian_error_p95``, of
        :math:`\|J - J^*\|_F / \|J^*\|_F`; ``cond_rank_correlation``, Spearman's, of the condition
        numbers (1 where neither varies, 0 where one alone does); ``fragile_precision``, the share
        of the points reported as fragile (:math:`\kappa` not below the first band's end) that truly
        are, and ``fragile_recall``, the share of the truly fragile ones that are reported: 1 where
        none is reported, or none is fragile. Where nothing is known of any point, the worst there
        is: inf, inf, 0, 0, 0.
    """
    true = thresholds.condition(truth.singular_values)
    known = ~(condition.isnan() | true.isnan())
    error = np.sort(truth.error[known].double().numpy())
    median, p95 = quantiles(error, (0.5, 0.95), empty=math.inf)
    count = fragile(condition, truth, thresholds)
    reported = count.found + count.false_alarms
    some = float(count.compared > 0)
    correlation = rank_correlation(log10_of(condition[known]), log10_of(true[known]), tie=TIE)
    return {
        "jacobian_error_median": median,
        "jacobian_error_p95": p95,
        "cond_rank_correlation": correlation * some,
        "fragile_precision": count.found / reported if reported else some,
        "fragile_recall": count.found / count.true if count.true else some,
    }
