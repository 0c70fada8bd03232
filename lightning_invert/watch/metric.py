"""From the singular values at many points to the numbers that are logged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from lightning_invert.jacobians.singular_values import effective_rank
from lightning_invert.jacobians.thresholds import (
    MAX_LOG10_COND,
    Thresholds,
    condition_number,
    numerical_rank,
)
from lightning_invert.watch.intervals import quantile_ranks, wilson_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["InvertibilityMetric"]


class InvertibilityMetric(Metric):
    r"""Summarise the Jacobian spectra of a map over many points, and over all processes.

    ``compute`` returns a dictionary of scalars, all over the points with a finite Jacobian but for
    ``nonfinite_fraction``:

    ==========================  =================================================================
    ``full_rank_fraction``      share of points whose numerical rank is k = min(m, n)
    ``stable_fraction``         share with :math:`\kappa` < ``bands[0]``
    ``moderate_fraction``       share with ``bands[0]`` <= :math:`\kappa` <= ``bands[1]``
    ``ill_conditioned_fraction``  share with ``bands[1]`` < :math:`\kappa` < inf
    ``singular_fraction``       share with :math:`\kappa` = inf; the four add up to 1
    ``unresolved_fraction``     share with :math:`\kappa` above what the arithmetic can tell
    ``nonfinite_fraction``      share of all points whose Jacobian has a NaN or inf
    ``log10_cond_median``       median of log10 :math:`\kappa`, capped at 16: always finite
    ``log10_cond_p05``, ``_p95``  its 5th and 95th percentile, likewise
    ``cond_median``, ``cond_p95``  of :math:`\kappa` itself; may be inf
    ``sigma_min_median``        median of :math:`\sigma_k`
    ``sigma_max_median``        median of :math:`\sigma_1`
    ``effective_rank``          mean of the effective rank; not of incomplete spectra
    ``full_rank_fraction_low``, ``_high``  ends of its 95 % interval (Wilson's)
    ``log10_cond_median_low``, ``_high``, ``log10_cond_p95_low``, ``_high``  likewise, by the order
                                statistics; 0 or 16 where the points are too few to tell
    ==========================  =================================================================

    Where no point has a finite Jacobian, the shares (but ``nonfinite_fraction``), the singular
    values and the effective rank are 0, and the condition numbers inf: the worst there is, so that
    what monitors them is not fooled.

    Args:
        rank_atol: Absolute threshold of the numerical rank.
        rank_rtol: Threshold of the numerical rank relative to :math:`\sigma_1`.
        singular_floor: :math:`\sigma_k` below it makes :math:`\kappa` infinite.
        bands: Where *stable* ends and where *ill-conditioned* begins.
        kwargs: See :class:`torchmetrics.Metric`.

    Raises:
        ValueError: If a threshold is negative or ``bands`` are not in ascending order.

    Example:
        >>> metric = InvertibilityMetric()
        >>> metric.update(torch.tensor([[2.0, 1.0], [1.0, 0.0], [3.0, 0.02]]))
        >>> summary = metric.compute()
        >>> [round(summary[f"{band}_fraction"].item(), 2) for band in ("stable", "moderate")]
        [0.33, 0.33]
        >>> summary["cond_median"].item()
        150.0
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    singular_values: list[Tensor]
    resolvable: Tensor
    complete: Tensor

    def __init__(
        self,
        *,
        rank_atol: float = 1e-5,
        rank_rtol: float = 0.0,
        singular_floor: float = 1e-12,
        bands: tuple[float, float] = (100.0, 1e4),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        Thresholds(rank_atol, rank_rtol, singular_floor, bands)
        self.rank_atol = rank_atol
        self.rank_rtol = rank_rtol
        self.singular_floor = singular_floor
        self.bands = bands
        self.add_state("singular_values", [], dist_reduce_fx="cat")
        self.add_state("resolvable", torch.tensor(math.inf), dist_reduce_fx="min")
        self.add_state("complete", torch.tensor(1.0), dist_reduce_fx="min")

    def update(
        self,
        singular_values: Tensor,
        *,
        resolvable: float = math.inf,
        complete: bool = True,
    ) -> None:
        r"""Add the spectra of some points.

        Args:
            singular_values: Shape (N, k), descending; NaN where the Jacobian was not finite.
            resolvable: The largest condition number that the arithmetic can tell, see
                :func:`~lightning_invert.jacobians.thresholds.condition_limit`.
            complete: ``False`` if only bounds of :math:`\sigma_1` and :math:`\sigma_k` are known,
                shape (N, 2): *full rank* then means not shown to be deficient.

        Raises:
            ValueError: If the shapes do not fit.
        """
        if singular_values.ndim != 2:
            raise ValueError(
                "Expected argument `singular_values` to be of shape (N, k), but got "
                f"{tuple(singular_values.shape)}."
            )
        self.singular_values.append(singular_values)
        self.resolvable = self.resolvable.clamp(max=resolvable)
        self.complete = self.complete.clamp(max=float(complete))

    def compute(self) -> dict[str, Tensor]:
        """Return the scalars of the table above, each of shape ()."""
        sigma = dim_zero_cat(self.singular_values)
        finite = sigma.isfinite().all(-1)
        total = max(len(sigma), 1)
        nonfinite = (~finite).sum() / total
        summary = {**self._summarise(sigma[finite]), "nonfinite_fraction": nonfinite}
        if not self.complete:
            del summary["effective_rank"]
        return summary

    def _summarise(self, sigma: Tensor) -> dict[str, Tensor]:
        count = max(len(sigma), 1)
        k = sigma.shape[-1]
        stable, ill = self.bands
        rank = numerical_rank(sigma, atol=self.rank_atol, rtol=self.rank_rtol)
        cond = condition_number(sigma, floor=self.singular_floor)
        infinite = cond.isinf()
        ordered = cond.sort().values
        _, median, high = _quantiles(ordered, (0.05, 0.5, 0.95), empty=math.inf)
        log10_low, log10_median, log10_high = _quantiles(
            ordered.log10().clamp(max=MAX_LOG10_COND), (0.05, 0.5, 0.95), empty=MAX_LOG10_COND
        )
        ends = sigma[:, [0, -1]].sort(0).values
        ((largest, smallest),) = _quantiles(ends, (0.5,), empty=0.0)
        full_rank = (rank == k).sum() / count
        intervals = {
            "full_rank_fraction": wilson_interval(full_rank.item(), len(sigma)),
            "log10_cond_median": _interval(ordered, 0.5),
            "log10_cond_p95": _interval(ordered, 0.95),
        }
        return {
            "full_rank_fraction": full_rank,
            "stable_fraction": (cond < stable).sum() / count,
            "moderate_fraction": ((cond >= stable) & (cond <= ill)).sum() / count,
            "ill_conditioned_fraction": ((cond > ill) & ~infinite).sum() / count,
            "singular_fraction": infinite.sum() / count,
            "unresolved_fraction": (cond > self.resolvable).sum() / count,
            "log10_cond_median": log10_median,
            "log10_cond_p05": log10_low,
            "log10_cond_p95": log10_high,
            "cond_median": median,
            "cond_p95": high,
            "sigma_min_median": smallest,
            "sigma_max_median": largest,
            "effective_rank": effective_rank(sigma).sum() / count,
            **{
                f"{name}_{end}": sigma.new_tensor(value)
                for name, ends in intervals.items()
                for end, value in zip(("low", "high"), ends, strict=True)
            },
        }

    def plot(self) -> tuple[Figure, list[Axes]]:
        """Draw the histogram of the condition numbers seen so far, with the bands marked."""
        from lightning_invert.report.figures import condition_histogram

        cond = condition_number(dim_zero_cat(self.singular_values), floor=self.singular_floor)
        figure = condition_histogram(
            cond.cpu(), bands=self.bands, resolution=self.resolvable.item()
        )
        return figure, list(figure.axes)


def _quantiles(ordered: Tensor, shares: Sequence[float], *, empty: float) -> Tensor:
    """Interpolate linearly like ``torch.quantile``, but let inf be inf rather than NaN."""
    if len(ordered) == 0:
        return ordered.new_full((len(shares), *ordered.shape[1:]), empty)
    positions = [share * (len(ordered) - 1) for share in shares]
    low, high = ordered[[*map(math.floor, positions)]], ordered[[*map(math.ceil, positions)]]
    weight = ordered.new_tensor([position % 1.0 for position in positions])
    weight = weight.reshape(-1, *(1 for _ in ordered.shape[1:]))
    return torch.where(low == high, low, low + (high - low) * weight)


def _interval(ordered: Tensor, q: float) -> tuple[float, float]:
    """Return the ends, as log10, of the 95 % interval of a quantile of condition numbers."""
    ranks = quantile_ranks(len(ordered), q)
    low, high = (r if r is None else min(ordered[r].log10().item(), MAX_LOG10_COND) for r in ranks)
    return 0.0 if low is None else low, MAX_LOG10_COND if high is None else high
