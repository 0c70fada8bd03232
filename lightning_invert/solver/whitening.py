"""Units in which known points have the variance 1 in every direction."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["whitened", "whitening_of"]


def whitened(points: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean of points (K, n), and W with cov(W x) = 1."""
    spread = points.std(0)
    spread = torch.where(spread > 0, spread, 1.0)
    return points.mean(0), whitening_of((points - points.mean(0)) / spread) / spread


def whitening_of(centred: Tensor) -> Tensor:
    """Return W with cov(W x) = 1; a direction without variance gets the least that counts."""
    variance, directions = torch.linalg.eigh(centred.T @ centred / max(1, len(centred) - 1))
    least = float(variance.max()) * 1e-6
    whitening: Tensor = directions.T / variance.clamp(min=max(least, 1e-300)).sqrt()[:, None]
    return whitening
