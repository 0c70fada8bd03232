"""Bounds and estimates of the spectrum of Jacobians that were not formed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor
from typing_extensions import Self

from lightning_invert.jacobians.lanczos import Probes
from lightning_invert.jacobians.thresholds import MAX_LOG10_COND
from lightning_invert.watch.finding import Finding, Measurement, Observed, Question
from lightning_invert.watch.numerals import percent
from lightning_invert.watch.quantities import capped_log10, to_numpy
from lightning_invert.watch.scalars import Array

__all__ = ["ProbeQuestion", "SpectrumProbes"]


@dataclass(frozen=True, repr=False)
class SpectrumProbes(Finding):
    """What is known of Jacobians that were not formed; nothing is known of their rank or bands."""

    key = "probes"

    probes: Probes

    def rows(self) -> dict[str, Tensor]:
        """Return the bounds and estimates."""
        values = self.probes._asdict()
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}

    def with_rows(self, rows: Mapping[str, Tensor]) -> Self:
        """Return the same with other bounds and estimates."""
        changes: dict[str, Any] = dict(rows)
        return replace(self, probes=self.probes._replace(**changes))

    def quantities(self, observation: Observed) -> dict[str, Array]:
        """Return the bounds and estimates, and log10 of the bound of the condition number."""
        columns = self.columns(observation)
        return columns | {
            "nonfinite": np.isnan(columns["sigma_max"]).astype(float),
            "log10_cond_lower_bound": capped_log10(columns["cond_lower_bound"]),
        }

    def columns(self, observation: Observed) -> dict[str, Array]:
        """Return the bounds and estimates."""
        return {name: to_numpy(values) for name, values in self.rows().items()}

    def verdict(self, observation: Observed) -> str:
        """Return a sentence on what is known of the map, and no more."""
        scalars, full_rank = observation.scalars, min(observation.shape)
        if scalars["nonfinite_fraction"] > 0:
            share = percent(scalars["nonfinite_fraction"])
            return f"{share} of the points have a NaN or inf in their Jacobian: look there first."
        bound = scalars["log10_cond_lower_bound_median"]
        kappa = "∞" if bound >= MAX_LOG10_COND else f"at least {10**bound:.3g}"
        rank = f"{scalars['stable_rank_median']:.3g} ± {scalars['stable_rank_error']:.2g}"
        return (
            f"its Jacobian is too large to be formed; at the median point σ₁ {scalars['sigma_max_median']:.3g}, κ "
            f"{kappa}, stable rank {rank} of {full_rank}. Whether it has full rank is not known."
        )


class ProbeQuestion(Question):
    """What is known where the Jacobian is not formed? Every map is asked."""

    key = "probes"

    def measure(self, measurement: Measurement) -> SpectrumProbes | None:
        """Take what the spectrum has."""
        probes = measurement.spectrum.probes
        return None if probes is None else SpectrumProbes(probes)
