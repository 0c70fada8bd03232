"""Units in which known points have the variance 1 in every direction."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lightning_invert.arrays import Placement, read_tensor

__all__ = ["read_points", "whitened", "whitening_of"]


def read_points(argument: str, kind: str, points: Any, n: int, placement: Placement) -> Tensor:
    """Read the ``points`` of an argument of this kind, known inputs (K, n)."""
    if points is None:
        raise ValueError(
            f"Expected argument `{argument}.points` to be known settings, shape (K, n), but got None: write "
            f"`{kind}(points=x)`."
        )
    read = read_tensor(f"{argument}.points", points, placement)
    if read.ndim != 2 or read.shape[1] != n or len(read) < 2 or not read.isfinite().all():
        raise ValueError(
            f"Expected argument `{argument}.points` to be at least 2 finite rows of {n} settings, but got "
            f"shape {tuple(read.shape)}."
        )
    return read


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
