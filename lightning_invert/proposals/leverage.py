r"""Tell how little the training points say of a point.

The leverage of x on random Fourier features of the training points is

.. math:: v(x) = \varphi(x)^T (\Phi^T \Phi + r I)^{-1} \varphi(x)

with :math:`\varphi(x) = (1, x, \sin x W, \cos x W)` in standard units and :math:`\Phi` its rows at the
training points. Up to a factor it is the variance that a Gaussian process has left after it has seen
them: A. Rahimi and B. Recht, *Random features for large-scale kernel machines* (NeurIPS 2007).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Leverage"]

FREQUENCIES = 64

LENGTH = 2.0
"""Length scale of the features in standard units, times the root of the number of inputs."""


@dataclass(frozen=True)
class Leverage:
    """Leverage on training points, in standard units and float64."""

    frequencies: Tensor  # (n, F): W
    factor: Tensor  # (P, P), lower: L⁻¹ with L Lᵀ = ΦᵀΦ + r I and P = 1 + n + 2 F

    @classmethod
    def fit(cls, points: Tensor, ridge: float) -> Leverage:
        """Fit to training points (K, n); ``ridge``: r, relative to the mean of the diagonal."""
        generator = torch.Generator().manual_seed(0)
        shape = points.shape[1], FREQUENCIES
        normal = torch.randn(shape, generator=generator, dtype=torch.float64).to(points)
        frequencies = normal / (LENGTH * math.sqrt(points.shape[1]))
        features = _features(points, frequencies)
        gram = features.T @ features
        gram.diagonal().add_(ridge * gram.diagonal().mean())
        eye = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
        factor = torch.linalg.solve_triangular(torch.linalg.cholesky(gram), eye, upper=False)
        return cls(frequencies, factor)

    def at(self, points: Tensor) -> Tensor:
        """Return the leverage of points (N, n), (N,)."""
        leverage: Tensor = (_features(points, self.frequencies) @ self.factor.T).square().sum(1)
        return leverage


def _features(points: Tensor, frequencies: Tensor) -> Tensor:
    """Return the features of points (N, n), (N, P)."""
    phase = points @ frequencies
    return torch.cat([torch.ones_like(points[:, :1]), points, phase.sin(), phase.cos()], 1)
