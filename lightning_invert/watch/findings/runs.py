"""How far the condition numbers of several runs of the same map spread: an error bar without a truth."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from lightning_invert.jacobians.evaluation import with_context
from lightning_invert.jacobians.independence import check_independence
from lightning_invert.jacobians.spectrum import Effort, measure_spectrum
from lightning_invert.watch.correlation import rank_correlation
from lightning_invert.watch.finding import Finding, Measurement, Observed, Question
from lightning_invert.watch.findings.truth import Truth
from lightning_invert.watch.maps import WatchedMap
from lightning_invert.watch.numerals import percent
from lightning_invert.watch.quantiles import student_quantile
from lightning_invert.watch.quantities import capped_log10, to_numpy
from lightning_invert.watch.scalars import Array

__all__ = ["COVERAGE", "OverRuns", "Runs"]

COVERAGE = 0.9
"""How often the error bar of a point holds a further run's condition number, if the logarithms of all
are draws from one normal law."""


@dataclass(frozen=True, repr=False)
class Runs(Finding):
    r"""log10 :math:`\kappa` (inf as 16) over a map and the same map of other runs, at N points."""

    key = "runs"

    mean: Tensor  # (N,), float64; NaN where a Jacobian was not finite
    std: Tensor  # likewise
    count: int  # of runs, the map itself included

    @property
    def half_width(self) -> Tensor:
        r"""Half of the prediction interval :math:`t\,s \sqrt{1 + 1/M}`, Student's t of M - 1 for 90 %."""
        t = student_quantile(0.5 + COVERAGE / 2, self.count - 1)
        return self.std * (t * math.sqrt(1 + 1 / self.count))

    def quantities(self, observation: Observed) -> dict[str, Array]:
        """Return the spread, and with a truth whether it is inside the error bar."""
        quantities = {"log10_cond_spread": to_numpy(self.std)}
        error = self._error(observation)
        if error is None:
            return quantities
        covered = error <= to_numpy(self.half_width) + 1e-12
        return quantities | {"log10_cond_covered": np.where(np.isnan(error), np.nan, covered)}

    def scalars(self, observation: Observed) -> dict[str, float]:
        """Return, with a truth, how much of the error the spread tells."""
        error = self._error(observation)
        if error is None:
            return {}
        return {"spread_error_correlation": rank_correlation(to_numpy(self.std), error)}

    def words(self, observation: Observed) -> str:
        """Say how far the condition numbers spread, and how much of their error that tells."""
        scalars, truth = observation.scalars, observation.findings.get("truth")
        words = (
            f"over {self.count} runs: log10 κ spreads by {scalars['log10_cond_spread_median']:.2g} "
            "(standard deviation, median of the points)"
        )
        if isinstance(truth, Truth):
            words += (
                f"; {truth.name} inside the {100 * COVERAGE:.0f} % error bar at "
                f"{percent(scalars['log10_cond_coverage'])} of the points"
            )
            if not math.isnan(rho := scalars["spread_error_correlation"]):
                words += f", rank correlation of spread and error {rho:.2g}"
        return f"{words}."

    def columns(self, observation: Observed) -> dict[str, Array]:
        """Return mean and standard deviation."""
        return {"log10_cond_mean": to_numpy(self.mean), "log10_cond_std": to_numpy(self.std)}

    def _error(self, observation: Observed) -> Array | None:
        """Return how far the mean is from the truth, NaN where it or the spread is not known."""
        truth = observation.findings.get("truth")
        if not isinstance(truth, Truth):
            return None
        true = capped_log10(to_numpy(truth.condition(observation)))
        error = np.abs(to_numpy(self.mean) - true)
        return np.where(np.isfinite(to_numpy(self.std)), error, np.nan)


@dataclass(frozen=True)
class OverRuns(Question):
    """How far do the condition numbers spread over other runs of the same map, at least one?"""

    key = "runs"

    runs: tuple[WatchedMap, ...]

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """The modules of the other runs."""
        return tuple(run.owner for run in self.runs)

    def measure(self, measurement: Measurement) -> Runs | None:
        """Measure the other runs at the same points, in the same scale and precision."""
        spectrum, points = measurement.spectrum, measurement.points
        if not spectrum.formed:
            return None
        sigmas = [spectrum.singular_values]
        for run in self.runs:
            function = points.call(run.in_float64() if measurement.double else run)
            check_independence(with_context(function, points.context), points.inputs, run.name)
            other = measure_spectrum(
                function,
                points.inputs,
                context=points.context,
                stds=measurement.unit_stds,
                effort=Effort(formed=True),
                check=False,
            )
            if other.shape != spectrum.shape:
                raise ValueError(
                    f"Expected argument `runs` to be the same map {spectrum.shape[1]} → "
                    f"{spectrum.shape[0]} of other runs, but got {run.name!r}: {other.shape[1]} → "
                    f"{other.shape[0]}."
                )
            sigmas.append(other.singular_values)
        condition = measurement.thresholds.condition(torch.stack(sigmas))
        log10 = torch.as_tensor(capped_log10(to_numpy(condition)))
        return Runs(log10.mean(0), log10.std(0), len(sigmas))
