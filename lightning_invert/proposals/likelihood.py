"""The weights that explain squared errors best, as a sum of terms."""

from __future__ import annotations

from torch import Tensor

__all__ = ["maximise_likelihood"]

ITERATIONS = 300


def maximise_likelihood(terms: Tensor, squares: Tensor) -> tuple[Tensor, Tensor]:
    """Return weights (T, m) of greatest likelihood, and -2 log of it per point, (m,).

    Multiplicative updates keep them positive: C. Fevotte, N. Bertin and J.-L. Durrieu,
    *Nonnegative matrix factorization with the Itakura-Saito divergence*, Neural Computation 21
    (2009), for one factor.
    """
    size = terms.mean(1).clamp(min=1e-300)
    scaled = terms / size[:, None]
    weights = squares.mean(0).expand(len(terms), -1) / len(terms)
    for _ in range(ITERATIONS):
        variance = (scaled * weights[:, None]).sum(0)
        slope = (scaled * (squares / variance.square())).sum(1) / (scaled / variance).sum(1)
        weights = weights * slope.sqrt()
    variance = (scaled * weights[:, None]).sum(0)
    return weights / size, (variance.log() + squares / variance).mean(0)
