"""From the singular values at many points to the numbers that are logged."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from lightning_invert.jacobians.thresholds import MAX_LOG10_COND, Thresholds
from lightning_invert.watch.quantiles import quantile_ranks, quantiles, wilson_interval

if TYPE_CHECKING:
    from lightning_invert.jacobians.lanczos import Probes

__all__ = ["INTERVALS", "SCALARS", "SCALARS_OF_PROBES", "summarise", "summarise_probes"]

Array = npt.NDArray[Any]


SCALARS = (
    "full_rank_fraction",
    "stable_fraction",
    "moderate_fraction",
    "ill_conditioned_fraction",
    "singular_fraction",
    "unresolved_fraction",
    "nonfinite_fraction",
    "log10_cond_median",
    "log10_cond_p05",
    "log10_cond_p95",
    "cond_median",
    "cond_p95",
    "sigma_min_median",
    "sigma_max_median",
    "effective_rank",
)
"""What is known of a map whose Jacobian is formed, and the ends of three intervals besides."""

INTERVALS = ("full_rank_fraction", "log10_cond_median", "log10_cond_p95")

SCALARS_OF_PROBES = (
    "sigma_max_median",
    "log10_cond_lower_bound_median",
    "log10_cond_lower_bound_p95",
    "stable_rank_median",
    "stable_rank_error",
    "participation_ratio_median",
    "participation_ratio_error",
    "nonfinite_fraction",
)
"""What is known where it is not."""


def summarise(
    singular_values: Tensor,
    condition: Tensor,
    rank: Tensor,
    *,
    bands: tuple[float, float] = Thresholds.bands,
    condition_limit: float = math.inf,
) -> dict[str, float]:
    r"""Return the scalars of :class:`~lightning_invert.InvertibilityMetric`.

    Args:
        singular_values: Shape (N, k), descending; NaN where the Jacobian was not finite.
        condition: Condition numbers, shape (N,).
        rank: Shape (N,).
        bands: Where *stable* ends and *ill-conditioned* begins.
        condition_limit: The largest condition number that the arithmetic can tell, see
            :func:`~lightning_invert.jacobians.thresholds.condition_limit`.

    Returns:
        Name -> value.

    Example:
        >>> import torch
        >>> sigma = torch.tensor([[2.0, 1.0], [3.0, 0.02]])
        >>> summarise(sigma, sigma[:, 0] / sigma[:, 1], torch.tensor([2, 2]))["stable_fraction"]
        0.5
    """
    # NumPy, not torch: for some hundred numbers its operations cost a fraction.
    sigma = singular_values.detach().cpu().double().numpy()
    finite = np.isfinite(sigma).all(1)
    sigma, cond, rank_ = (
        part[finite]
        for part in (sigma, condition.detach().cpu().double().numpy(), rank.cpu().numpy())
    )
    total, k = len(sigma), sigma.shape[1]
    count = max(total, 1)
    stable, ill = bands
    infinite = np.isinf(cond)
    ordered = np.sort(cond)
    with np.errstate(divide="ignore"):
        log10 = np.minimum(np.log10(ordered), MAX_LOG10_COND)
    _, median, p95 = quantiles(ordered, (0.05, 0.5, 0.95), empty=math.inf)
    low, log10_median, high = quantiles(log10, (0.05, 0.5, 0.95), empty=MAX_LOG10_COND)
    full_rank = float((rank_ == k).sum()) / count
    summary = {
        "full_rank_fraction": full_rank,
        "stable_fraction": float((cond < stable).sum()) / count,
        "moderate_fraction": float(((cond >= stable) & (cond <= ill)).sum()) / count,
        "ill_conditioned_fraction": float(((cond > ill) & ~infinite).sum()) / count,
        "singular_fraction": float(infinite.sum()) / count,
        "unresolved_fraction": float((cond > condition_limit).sum()) / count,
        "nonfinite_fraction": 1.0 - total / max(len(finite), 1),
        "log10_cond_median": log10_median,
        "log10_cond_p05": low,
        "log10_cond_p95": high,
        "cond_median": median,
        "cond_p95": p95,
        "sigma_min_median": float(np.median(sigma[:, -1])) if total else 0.0,
        "sigma_max_median": float(np.median(sigma[:, 0])) if total else 0.0,
    }
    summary["effective_rank"] = float(_effective_ranks(sigma).sum()) / count
    for name, (begin, end) in {
        "full_rank_fraction": wilson_interval(full_rank, total),
        "log10_cond_median": _interval(log10, 0.5),
        "log10_cond_p95": _interval(log10, 0.95),
    }.items():
        summary |= {f"{name}_low": begin, f"{name}_high": end}
    return summary


def summarise_probes(probes: Probes) -> dict[str, float]:
    r"""Return what is known of Jacobians that were not formed.

    Args:
        probes: What was found of them.

    Returns:
        ``sigma_max_median``; ``log10_cond_lower_bound_median`` and ``_p95``, quantiles of what
        :math:`\kappa` is at least, capped at 16; ``stable_rank_median`` and
        ``participation_ratio_median``, each with the median of its standard error
        (``stable_rank_error``, ``participation_ratio_error``); and ``nonfinite_fraction``.
    """
    known = probes.sigma_max.isfinite().cpu().numpy()
    column = {
        name: np.sort(value.detach().cpu().double().numpy()[known])
        for name, value in probes._asdict().items()
        if isinstance(value, Tensor)
    }
    with np.errstate(divide="ignore"):
        log10 = np.minimum(np.log10(column["cond_lower_bound"]), MAX_LOG10_COND)
    log10_median, log10_p95 = quantiles(log10, (0.5, 0.95), empty=MAX_LOG10_COND)

    def median(name: str) -> float:
        return quantiles(column[name], (0.5,), empty=0.0)[0]

    return {
        "sigma_max_median": median("sigma_max"),
        "log10_cond_lower_bound_median": log10_median,
        "log10_cond_lower_bound_p95": log10_p95,
        "stable_rank_median": median("stable_rank"),
        "stable_rank_error": median("stable_rank_error"),
        "participation_ratio_median": median("participation_ratio"),
        "participation_ratio_error": median("participation_ratio_error"),
        "nonfinite_fraction": 1.0 - float(known.mean()) if len(known) else 0.0,
    }


def _effective_ranks(sigma: Array) -> Array:
    """Return exp of the entropy, as :func:`~lightning_invert.effective_rank` has it."""
    total = sigma.sum(1, keepdims=True)
    share = sigma / np.where(total == 0, 1.0, total)
    entropy = -(share * np.log(np.where(share == 0, 1.0, share))).sum(1)
    return np.where(total[:, 0] == 0, 0.0, np.exp(entropy))


def _interval(log10: Array, q: float) -> tuple[float, float]:
    """Return the ends of the 95 % interval of a quantile of ordered values."""
    low, high = quantile_ranks(len(log10), q)
    return (
        0.0 if low is None else float(log10[low]),
        MAX_LOG10_COND if high is None else float(log10[high]),
    )
