"""How far the condition numbers of several runs of the same map spread: an error bar where no truth is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Self

from lightning_invert.jacobians.spectrum import Effort, Spectrum, measure_spectrum
from lightning_invert.jacobians.thresholds import MAX_LOG10_COND, Thresholds
from lightning_invert.watch.correlation import rank_correlation
from lightning_invert.watch.quantiles import student_quantile
from lightning_invert.watch.quantities import capped_log10, to_numpy
from lightning_invert.watch.scalars import Array

if TYPE_CHECKING:
    from lightning_invert.jacobians.comparison import Comparison
    from lightning_invert.watch.maps import WatchedMap
    from lightning_invert.watch.points import Points

__all__ = ["COVERAGE", "Members", "members_quantities", "members_scalars", "spread_over"]

COVERAGE = 0.9
"""How often the error bar of a point holds a further run's condition number, if the logarithms of all
are draws from one normal law."""


class Members(NamedTuple):
    r"""log10 :math:`\kappa` over a map and the same map of other runs, at N points.

    Attributes:
        mean: Shape (N,), float64, :math:`\kappa = \infty` as 16; NaN where a Jacobian was not finite.
        std: The standard deviation, likewise.
        runs: Of how many runs, the map itself included.
    """

    mean: Tensor
    std: Tensor
    runs: int

    def at(self, rows: Tensor) -> Self:
        """Return the same at some of the points."""
        return self._replace(mean=self.mean[rows], std=self.std[rows])

    @property
    def half_width(self) -> Tensor:
        r"""Half of the error bar, which is a prediction interval: :math:`t\,s \sqrt{1 + 1/M}`.

        With Student's t for 90 % and M - 1 degrees of freedom, M = ``runs``.
        """
        t = student_quantile(0.5 + COVERAGE / 2, self.runs - 1)
        return self.std * (t * math.sqrt(1 + 1 / self.runs))


def spread_over(
    others: Sequence[WatchedMap],
    points: Points,
    spectrum: Spectrum,
    stds: tuple[Tensor, Tensor] | None,
    thresholds: Thresholds,
) -> Members:
    """Look at the same map of other runs at the same points, in the same scale.

    Args:
        others: The other runs' maps, at least one.
        points: The points at which the map itself was looked at.
        spectrum: What was found of it.
        stds: What inputs and outputs were standardised by.
        thresholds: Which say what is singular.

    Raises:
        ValueError: If another's Jacobian is of another shape.
    """
    sigmas = [spectrum.singular_values]
    for other in others:
        found = measure_spectrum(
            points.call(other),
            points.inputs,
            context=points.context,
            stds=stds,
            effort=Effort(formed=True),
            check=False,
        )
        if found.shape != spectrum.shape:
            raise ValueError(
                f"Expected argument `members` to be the same map {spectrum.shape[1]} → "
                f"{spectrum.shape[0]} of other runs, but got {other.name!r}: {found.shape[1]} → "
                f"{found.shape[0]}."
            )
        sigmas.append(found.singular_values)
    log10 = torch.stack([thresholds.condition(sigma).log10() for sigma in sigmas])
    log10 = log10.clamp(max=MAX_LOG10_COND)
    return Members(log10.mean(0), log10.std(0), len(sigmas))


def members_quantities(
    members: Members, truth: Comparison | None, thresholds: Thresholds
) -> dict[str, Array]:
    """Return the spread, and with a truth whether it is inside the error bar, each of shape (N,)."""
    quantities = {"log10_cond_spread": to_numpy(members.std)}
    if truth is None:
        return quantities
    off = _off(members, truth, thresholds)
    covered = np.where(np.isnan(off), np.nan, off <= to_numpy(members.half_width) + 1e-12)
    return quantities | {"log10_cond_covered": covered}


def members_scalars(
    members: Members, truth: Comparison | None, thresholds: Thresholds
) -> dict[str, float]:
    """Return, with a truth, how much of the error the spread tells."""
    if truth is None:
        return {}
    off = _off(members, truth, thresholds)
    known = ~np.isnan(off)
    correlation = rank_correlation(to_numpy(members.std)[known], off[known]) if known.any() else 0.0
    return {"spread_error_correlation": correlation}


def _off(members: Members, truth: Comparison, thresholds: Thresholds) -> Array:
    """Return how far the mean is from the truth; NaN where either, or the spread, is not known."""
    true = capped_log10(to_numpy(thresholds.condition(truth.singular_values)))
    off = np.abs(to_numpy(members.mean) - true)
    return np.where(np.isfinite(to_numpy(members.std)), off, np.nan)
