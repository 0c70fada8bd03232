"""The quantities of a spectrum: a number for each point, NaN where the Jacobian is not finite."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from lightning_invert.jacobians.singular_values import effective_rank
from lightning_invert.jacobians.thresholds import MAX_LOG10_COND
from lightning_invert.watch.scalars import Array

__all__ = ["capped_log10", "spectrum_quantities", "to_numpy"]


def spectrum_quantities(
    singular_values: Tensor,
    condition: Tensor,
    rank: Tensor,
    bands: tuple[float, float],
    limit: float,
) -> dict[str, Array]:
    """Return the quantities (N,) of singular values (N, k), condition numbers (N,) and ranks (N,).

    Condition numbers beyond ``limit`` are unresolved.
    """
    # NumPy, not torch: for some hundred numbers its operations cost a fraction.
    sigma, cond = to_numpy(singular_values), to_numpy(condition)
    finite = np.isfinite(sigma).all(1)
    stable, ill = bands
    singular = np.isinf(cond)
    quantities = {
        "deficient": rank.cpu().numpy() < sigma.shape[1],
        "fragile": cond >= stable,
        "full_rank": rank.cpu().numpy() == sigma.shape[1],
        "moderate": (cond >= stable) & (cond <= ill),
        "ill_conditioned": (cond > ill) & ~singular,
        "singular": singular,
        "unresolved": cond > limit,
        "log10_cond": capped_log10(cond),
        "cond": cond,
        "sigma_min": sigma[:, -1],
        "sigma_max": sigma[:, 0],
        "effective_rank": to_numpy(effective_rank(singular_values.double())),
    }
    finite_only = {name: np.where(finite, values, np.nan) for name, values in quantities.items()}
    return {"nonfinite": (~finite).astype(float), **finite_only}


def to_numpy(values: Tensor) -> Array:
    """Return the values in float64."""
    return values.detach().cpu().double().numpy()


def capped_log10(condition: Array) -> Array:
    """Return log10 of condition numbers, capped at 16; NaN stays NaN."""
    with np.errstate(divide="ignore"):
        return np.minimum(np.log10(condition), MAX_LOG10_COND)
