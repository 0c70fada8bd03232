"""References: autograd's Jacobian of each point alone; scalars of a look by NumPy and SciPy."""

import numpy as np
from scipy import stats
from torch.autograd.functional import jacobian as autograd_jacobian


def jacobians_point_by_point(function, points):
    """Compute the Jacobians (N, m, n) of a function of batches, in float64."""
    return np.stack(
        [autograd_jacobian(lambda x: function(x[None])[0], x).double().numpy() for x in points]
    )


def spectra_point_by_point(function, points):
    """Compute their singular values (N, k)."""
    return np.linalg.svd(jacobians_point_by_point(function, points), compute_uv=False)


def summary_in_numpy(sigma):
    """Compute every scalar of singular values (N, k), sorted."""
    sigma = np.asarray(sigma)
    largest, smallest = sigma[:, 0], sigma[:, -1]
    cond = np.where(smallest < 1e-12, np.inf, largest / np.maximum(smallest, 1e-300))
    log10_cond = np.minimum(np.log10(cond), 16)
    huge = np.where(np.isinf(cond), 1e300, cond)  # NumPy interpolates inf to NaN

    def quantile_of_cond(q):
        quantile = np.quantile(huge, q)
        return np.inf if quantile > 1e290 else quantile

    def interval(q):
        ends = stats.quantile_test(log10_cond, p=q).confidence_interval(0.95)
        return np.nan_to_num(ends.low, nan=0.0), np.nan_to_num(ends.high, nan=16.0)

    share = sigma / sigma.sum(1, keepdims=True)
    full_rank = (sigma > 1e-5).sum(1) == sigma.shape[1]
    wilson = stats.binomtest(int(full_rank.sum()), len(sigma)).proportion_ci(method="wilson")
    ends = {
        "full_rank_fraction": (wilson.low, wilson.high),
        "log10_cond_median": interval(0.5),
        "log10_cond_p95": interval(0.95),
    }
    return {
        "full_rank_fraction": np.mean(full_rank),
        **{f"{name}_low": low for name, (low, _) in ends.items()},
        **{f"{name}_high": high for name, (_, high) in ends.items()},
        "deficient_fraction": 1 - np.mean(full_rank),
        "fragile_fraction": np.mean(cond >= 100),
        "moderate_fraction": np.mean((cond >= 100) & (cond <= 1e4)),
        "ill_conditioned_fraction": np.mean((cond > 1e4) & np.isfinite(cond)),
        "singular_fraction": np.mean(np.isinf(cond)),
        "unresolved_fraction": np.mean(cond > 1e6),
        "nonfinite_fraction": 0.0,
        "log10_cond_median": np.quantile(log10_cond, 0.5),
        "log10_cond_p05": np.quantile(log10_cond, 0.05),
        "log10_cond_p95": np.quantile(log10_cond, 0.95),
        "cond_median": quantile_of_cond(0.5),
        "cond_p95": quantile_of_cond(0.95),
        "sigma_min_median": np.median(smallest),
        "sigma_max_median": np.median(largest),
        "effective_rank": np.mean(np.exp(-(share * np.log(share)).sum(1))),
    }
