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
from lightning_invert.watch.truth import log10_of

if TYPE_CHECKING:
    from lightning_invert.jacobians.comparison import Comparison
    from lightning_invert.watch.maps import WatchedMap
    from lightning_invert.watch.points import Points

__all__ = ["COVERAGE", "Members", "spread_over", "summarise_members"]

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


def summarise_members(
    members: Members, truth: Comparison | None, thresholds: Thresholds
) -> dict[str, float]:
    r"""Return how far the condition numbers spread, and how much of their error that tells.

    Args:
        members: What was found over several runs.
        truth: What the map was held against, if a truth is known.
        thresholds: Which say what is singular.

    Returns:
        ``log10_cond_spread_median``, the median over the points of the standard deviation of log10
        :math:`\kappa`. With a truth also ``log10_cond_coverage``, at which share of the points it
        is inside the error bar, and ``spread_error_correlation``, Spearman's, of the spread with
        the distance of the mean from the truth. NaN where nothing is known of any point.
    """
    known = members.std.isfinite()
    std = members.std[known].numpy()
    found = {"log10_cond_spread_median": float(np.median(std)) if len(std) else float("nan")}
    if truth is None:
        return found
    true = torch.as_tensor(log10_of(thresholds.condition(truth.singular_values)))
    known &= true.isfinite()
    off = (members.mean - true).abs()[known]
    inside = (off <= members.half_width[known] + 1e-12).double()
    return found | {
        "log10_cond_coverage": float(inside.mean()),
        "spread_error_correlation": rank_correlation(members.std[known].numpy(), off.numpy()),
    }
