"""What is known of a map by the truth: how far off its Jacobian is, which fragile points it knows."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from lightning_invert.jacobians.thresholds import Thresholds
from lightning_invert.watch.correlation import rank_correlation
from lightning_invert.watch.maps import MapError, WatchedMap
from lightning_invert.watch.quantities import capped_log10, to_numpy
from lightning_invert.watch.roughness import MAX_NUMBERS_CAST
from lightning_invert.watch.scalars import Array, scalars_of

if TYPE_CHECKING:
    from lightning_invert.jacobians.comparison import Comparison
    from lightning_invert.watch.points import Points

__all__ = ["Fragile", "fragile", "reference_of", "truth_quantities", "truth_scalars"]

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


def truth_quantities(
    condition: Tensor, truth: Comparison, thresholds: Thresholds
) -> dict[str, Array]:
    """Return the error of the Jacobians, shape (N,), where both condition numbers are known."""
    true = thresholds.condition(truth.singular_values)
    known = ~(condition.isnan() | true.isnan())
    return {"jacobian_error": to_numpy(truth.error.where(known, torch.nan))}


def truth_scalars(condition: Tensor, truth: Comparison, thresholds: Thresholds) -> dict[str, float]:
    """Return the rank correlation of the condition numbers, and which fragile points are found."""
    count = fragile(condition, truth, thresholds)
    if not count.compared:
        return {row.name: row.empty for row in scalars_of("truth") if not row.quantity}
    true = thresholds.condition(truth.singular_values)
    known = ~(condition.isnan() | true.isnan())
    log10 = (capped_log10(to_numpy(kappa[known])) for kappa in (condition, true))
    reported = count.found + count.false_alarms
    return {
        "cond_rank_correlation": rank_correlation(*log10, tie=TIE),
        "fragile_precision": count.found / reported if reported else 1.0,
        "fragile_recall": count.found / count.true if count.true else 1.0,
    }
