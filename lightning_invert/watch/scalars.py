"""The table of scalars: one row per scalar, with its formula, its sense, and how it is made and shown.

A scalar is a statistic (a mean, a quantile) of a *quantity*, which is an array with a number for each
point and NaN where the number is not known. :meth:`Observation.quantities
<lightning_invert.watch.observation.Observation.quantities>` has the quantities.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from lightning_invert.jacobians.thresholds import MAX_LOG10_COND
from lightning_invert.watch.quantiles import quantile_ranks, quantiles, wilson_interval

__all__ = ["SCALARS", "Array", "Scalar", "scalar_named", "scalar_names", "scalars_of", "summarise"]

Array = npt.NDArray[Any]

Statistic = Literal["mean", "root mean square", "p05", "median", "p95", "its own"]

_SHARES = {"p05": 0.05, "median": 0.5, "p95": 0.95}
_SHARE_ENDS, _LOG10_ENDS = (0.0, 1.0), (0.0, MAX_LOG10_COND)
_ENDS = ("_low", "_high")


@dataclass(frozen=True)
class Scalar:
    """A number that is logged of a map."""

    name: str  # the last part of its tag
    of: tuple[str, ...]  # who reports it: "spectrum", or the key of a finding
    quantity: str  # the quantity whose statistic it is
    statistic: Statistic  # "its own": the finding computes it from several quantities
    better: Literal["larger", "smaller"]
    empty: float  # where it is known at no point: the worst value, or NaN if that claims too much
    formula: str  # at one point
    doc: str  # the statistic, and what else a reader needs, in a line
    essential: bool = False  # whether every logger gets it
    # Title of its chart. TensorBoard gives all curves of a run in a chart one colour: a chart has one
    # curve, or two that cross only where all is lost.
    chart: str = ""
    # Ends of its 95 % interval where the points are too few to tell; None: it has no interval.
    interval: tuple[float, float] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Its name, and those of the ends of its interval."""
        ends = () if self.interval is None else tuple(f"{self.name}{end}" for end in _ENDS)
        return (self.name, *ends)

    @property
    def pooled(self) -> bool:
        """Whether sums over pieces of the points give it for all; else it is that of a sample."""
        return self.statistic in ("mean", "root mean square")

    def sum_of(self, values: Array) -> tuple[float, int]:
        """Return the sum and the count that a pooled scalar is made of."""
        numbers = values[~np.isnan(values)]
        squared = self.statistic == "root mean square"
        return float((numbers**2 if squared else numbers).sum()), len(numbers)

    def of_sum(self, total: float, count: int) -> dict[str, float]:
        """Return a pooled scalar, and the ends of its interval, of sums over all pieces."""
        value = total / count if count else self.empty
        if count and self.statistic == "root mean square":
            value = math.sqrt(value)
        ends = () if self.interval is None else wilson_interval(value, count)
        return dict(zip(self.names, (value, *ends), strict=True))

    def of_ordered(self, ordered: Array) -> dict[str, float]:
        """Return a quantile of ascending values, and the ends of its interval."""
        share = _SHARES[self.statistic]
        (value,) = quantiles(ordered, (share,), empty=self.empty)
        ends: list[float] = []
        if self.interval is not None:
            ranks = quantile_ranks(len(ordered), share)
            ends = [
                end if rank is None else float(ordered[rank])
                for rank, end in zip(ranks, self.interval, strict=True)
            ]
        return dict(zip(self.names, (value, *ends), strict=True))


_SPECTRUM, _PROBES, _BOTH = ("spectrum",), ("probes",), ("spectrum", "probes")
_ACCURACY = ("accuracy",)
_TRUTH, _RUNS, _REACH, _ROUND_TRIP = ("truth",), ("runs",), ("reach",), ("round_trip",)

_ROWS = (
    # First, also in the alphabet, by which TensorBoard orders: what is 0 while all is well. It draws a
    # fall from 1 badly, and leaves a short one out as outliers; a rise from 0 is seen in any case.
    Scalar("deficient_fraction", _SPECTRUM, "deficient", "mean", "smaller", 1.0,
        "rank(J) < k", "share of points that lack full rank; 0 while all is well",
        essential=True, chart="share without full rank"),
    Scalar("fragile_fraction", _SPECTRUM, "fragile", "mean", "smaller", 1.0,
        "κ ≥ bands[0]", "share of points beyond the first band of κ; 0 while all is well",
        essential=True, chart="share fragile and, above, at full rank"),
    Scalar("full_rank_fraction", _SPECTRUM, "full_rank", "mean", "larger", 0.0,
        "rank(J) = k", "share of points whose numerical rank is k = min(m, n)",
        # Beside the share above, so that the axis is from 0 to 1 also where some points are fragile.
        essential=True, chart="share fragile and, above, at full rank", interval=_SHARE_ENDS),
    Scalar("moderate_fraction", _SPECTRUM, "moderate", "mean", "smaller", 0.0,
        "bands[0] ≤ κ ≤ bands[1]", "share of points in the second band"),
    Scalar("ill_conditioned_fraction", _SPECTRUM, "ill_conditioned", "mean", "smaller", 0.0,
        "bands[1] < κ < ∞", "share of points in the third band"),
    Scalar("singular_fraction", _SPECTRUM, "singular", "mean", "smaller", 0.0,
        "κ = ∞", "share of points in the last band; the shares of bands two to four add up to `fragile_fraction`"),
    Scalar("unresolved_fraction", _SPECTRUM, "unresolved", "mean", "smaller", 0.0,
        "κ > 1 / (ε max(m, n))", "share of points whose κ is beyond what the arithmetic resolves"),
    Scalar("nonfinite_fraction", _BOTH, "nonfinite", "mean", "smaller", 1.0,
        "J has a NaN or inf", "share of points; all other scalars leave them out"),
    Scalar("log10_cond_median", _SPECTRUM, "log10_cond", "median", "smaller", MAX_LOG10_COND,
        "min(log₁₀ κ, 16)", "median; always finite",
        essential=True, chart="log10 κ: median and, above, 95 %",
        interval=_LOG10_ENDS),
    Scalar("log10_cond_p05", _SPECTRUM, "log10_cond", "p05", "smaller", MAX_LOG10_COND,
        "min(log₁₀ κ, 16)", "5th percentile"),
    Scalar("log10_cond_p95", _SPECTRUM, "log10_cond", "p95", "smaller", MAX_LOG10_COND,
        "min(log₁₀ κ, 16)", "95th percentile",
        essential=True, chart="log10 κ: median and, above, 95 %",
        interval=_LOG10_ENDS),
    Scalar("cond_median", _SPECTRUM, "cond", "median", "smaller", math.inf,
        "κ = σ₁ / σₖ", "median; may be inf"),
    Scalar("cond_p95", _SPECTRUM, "cond", "p95", "smaller", math.inf,
        "κ = σ₁ / σₖ", "95th percentile; may be inf"),
    Scalar("sigma_min_median", _SPECTRUM, "sigma_min", "median", "larger", 0.0,
        "σₖ", "median", essential=True, chart="smallest singular value: median"),
    Scalar("sigma_max_median", _BOTH, "sigma_max", "median", "smaller", 0.0, "σ₁", "median"),
    Scalar("effective_rank", _SPECTRUM, "effective_rank", "mean", "larger", 0.0,
        "exp(entropy of σ / Σσ)", "mean; how many directions count, without a threshold"),
    Scalar("log10_cond_lower_bound_median", _PROBES, "log10_cond_lower_bound", "median", "smaller",
        MAX_LOG10_COND, "log₁₀ of a lower bound of κ", "median, capped at 16",
        essential=True, chart="log10 of a lower bound of κ: median"),
    Scalar("log10_cond_lower_bound_p95", _PROBES, "log10_cond_lower_bound", "p95", "smaller",
        MAX_LOG10_COND, "log₁₀ of a lower bound of κ", "95th percentile, capped at 16"),
    Scalar("stable_rank_median", _PROBES, "stable_rank", "median", "larger", 0.0,
        "‖J‖²_F / σ₁²", "median of an estimate",
        essential=True, chart="stable rank: median"),
    Scalar("stable_rank_error", _PROBES, "stable_rank_error", "median", "smaller", 0.0,
        "standard error of the stable rank", "median"),
    Scalar("participation_ratio_median", _PROBES, "participation_ratio", "median", "larger", 0.0,
        "(Σσ²)² / Σσ⁴", "median of an estimate: about how many singular values make up ‖J‖_F",
        essential=True),
    Scalar("participation_ratio_error", _PROBES, "participation_ratio_error", "median", "smaller", 0.0,
        "standard error of the participation ratio", "median"),
    Scalar("r2_mean", _ACCURACY, "", "its own", "larger", -math.inf,
        "1 − Σ(F(x) − y)² / Σ(y − ȳ)²", "mean over the outputs that vary",
        essential=True, chart="R²: mean and, below, the worst output"),
    Scalar("r2_min", _ACCURACY, "", "its own", "larger", -math.inf,
        "1 − Σ(F(x) − y)² / Σ(y − ȳ)²", "the worst output",
        essential=True, chart="R²: mean and, below, the worst output"),
    Scalar("consistency_error", _ROUND_TRIP, "consistency_error", "root mean square", "smaller",
        math.inf, "‖F(I(y)) − y‖ / √m", "root mean square, in standard units",
        essential=True, chart="round trip: error"),
    Scalar("jacobian_consistency_error", _ROUND_TRIP, "jacobian_consistency_error",
        "root mean square", "smaller", math.inf,
        "‖J − 1‖_F / √m", "root mean square; J is the Jacobian of the round trip",
        essential=True, chart="round trip: error of the slope"),
    Scalar("jacobian_error_median", _TRUTH, "jacobian_error", "median", "smaller", math.inf,
        "‖J − J*‖_F / ‖J*‖_F", "median; J* is the true Jacobian",
        essential=True, chart="error of the Jacobian: median"),
    Scalar("jacobian_error_p95", _TRUTH, "jacobian_error", "p95", "smaller", math.inf,
        "‖J − J*‖_F / ‖J*‖_F", "95th percentile"),
    Scalar("cond_rank_correlation", _TRUTH, "", "its own", "larger", 0.0,
        "Spearman's ρ of κ and κ*",
        "from five points on; 1 where neither varies, 0 where only one does"),
    Scalar("fragile_precision", _TRUTH, "", "its own", "larger", math.nan,
        "share of κ ≥ bands[0] with κ* ≥ bands[0]",
        "of the points reported as fragile, the share that truly is; NaN where none is reported"),
    Scalar("fragile_recall", _TRUTH, "", "its own", "larger", math.nan,
        "share of κ* ≥ bands[0] with κ ≥ bands[0]",
        "of the truly fragile points, the share that is reported; NaN where none is fragile",
        essential=True, chart="share of the truly fragile points that is found"),
    Scalar("log10_cond_spread_median", _RUNS, "log10_cond_spread", "median", "smaller", math.inf,
        "standard deviation of log₁₀ κ over the runs", "median"),
    Scalar("log10_cond_coverage", _RUNS, "log10_cond_covered", "mean", "larger", 0.0,
        "κ* in the 90 % error bar of κ", "share of points, with a truth"),
    Scalar("spread_error_correlation", _RUNS, "", "its own", "larger", 0.0,
        "Spearman's ρ of the spread and the error of log₁₀ κ", "with a truth; from five points on"),
    Scalar("reachable_fraction", _REACH, "reached", "mean", "larger", 0.0,
        "‖F(x) − y‖ ≤ 0.01",
        "share of the outcomes y that the solver reaches from the inverse's proposals",
        essential=True, chart="share of the outcomes that is reached from the proposals",
        interval=_SHARE_ENDS),
)  # fmt: skip

SCALARS = {row.name: row for row in _ROWS}
"""Name -> scalar, in the order of charts and tables."""


def scalars_of(source: str) -> list[Scalar]:
    """Return the rows of the spectrum or of a finding."""
    return [row for row in SCALARS.values() if source in row.of]


def scalar_named(name: str) -> Scalar | None:
    """Return the row of a scalar, or of the scalar whose interval ends there."""
    return next((row for row in SCALARS.values() if name in row.names), None)


def scalar_names(source: str | None = None) -> list[str]:
    """Return all names that are logged, or those of the spectrum or of a finding."""
    rows = SCALARS.values() if source is None else scalars_of(source)
    return [name for row in rows for name in row.names]


def summarise(quantities: Mapping[str, Array]) -> dict[str, float]:
    """Return the scalars that are a statistic of one of the quantities, each of shape (N,)."""
    ordered: dict[str, Array] = {}
    scalars: dict[str, float] = {}
    for row in SCALARS.values():
        if row.quantity not in quantities:
            continue
        values = quantities[row.quantity]
        if row.pooled:
            scalars |= row.of_sum(*row.sum_of(values))
            continue
        if row.quantity not in ordered:
            ordered[row.quantity] = np.sort(values[~np.isnan(values)])
        scalars |= row.of_ordered(ordered[row.quantity])
    return scalars
