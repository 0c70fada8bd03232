r"""Correct a surrogate where rows that were tried show a bias.

The errors of F at the tried points are modelled, output by output, as a Gaussian process and noise:

.. math:: y - F(x) = c(x) + \varepsilon, \qquad
          \mathrm{cov}\big(c(x), c(x')\big) = \tau^2 e^{-|x - x'|^2 / 2 \ell^2}, \qquad
          \mathrm{var}(\varepsilon) = \lambda \tau^2

(C. E. Rasmussen and C. K. I. Williams, *Gaussian processes for machine learning*, 2006: 2.2 for the
mean, 5.4.1 for the likelihood, 5.4.2 for rows left out). The correction is the mean of c given the
rows. It is smooth, and 0 where no tried point is near: unlike a fit of features, it says nothing of what
it has not seen. :math:`\tau^2` has a closed form; :math:`\lambda` and :math:`\ell` are those of
greatest likelihood, of the tried rows and, as long as the process has not changed, of the validation
rows: a bias in one place is not carried to another where F was right. An output is corrected only if it
pays by the criterion of G. Schwarz.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["MAX_ROWS", "Correction"]

MAX_ROWS = 256
"""Rows that a correction rests on, the last ones."""

LENGTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Length scales in standard units, times the root of the number of inputs."""

NOISES = torch.logspace(-12, 2, 29, dtype=torch.float64)
"""Variances of the noise, as shares of that of c."""

NUM_CHOSEN = 2
"""Numbers of each output that the likelihood chooses beside the scale."""


@dataclass(frozen=True)
class Correction:
    """The bias of F as known from K tried rows; in standard units and float64."""

    points: Tensor  # (K, n)
    length: float
    coefficients: Tensor  # (K, m), 0 for an output that is not corrected
    directions: Tensor  # (K, K): eigenvectors of the kernel's matrix
    precisions: Tensor  # (K, m): 1 / (eigenvalue + λ)
    variance: Tensor  # (m,): τ², 0 for an output that is not corrected
    left_out: Tensor  # (K, m): what is left of each row's error if the others correct it

    @classmethod
    def fit(
        cls, points: Tensor, errors: Tensor, judged: tuple[Tensor, Tensor] | None = None
    ) -> Correction | None:
        """Fit to y - F(x), (K, m), at tried points (K, n); None if no output is to be corrected.

        ``judged`` are points and errors of validation rows, unless the process has changed since.
        """
        others = judged or (points[:0], errors[:0])
        none, none_of_others = _loss(errors), _loss(others[1])
        penalty = NUM_CHOSEN * math.log(len(points) + 1)
        best = None
        for length in LENGTHS if len(points) else ():
            spectrum = _Spectrum.of(points, errors, length * math.sqrt(points.shape[1]))
            own, of_others = spectrum.losses() + penalty, spectrum.losses_at(*others)  # (L, m)
            loss, which = (own + of_others).min(0)
            pays = (loss < none + none_of_others) & (own.gather(0, which[None])[0] < none)
            pays &= errors.any(0)
            total = float(torch.where(pays, loss, none + none_of_others).sum())
            if pays.any() and (best is None or total < best[0]):
                best = total, spectrum, which, pays
        if best is None:
            return None
        _, spectrum, which, pays = best
        return spectrum.correction(NOISES.to(points)[which], pays, errors)

    def to(self, device: torch.device) -> Correction:
        """Return it on a device."""
        parts = {name: p.to(device) for name, p in vars(self).items() if isinstance(p, Tensor)}
        return Correction(length=self.length, **parts)

    @property
    def corrected(self) -> Tensor:
        """Which outputs are corrected, (m,)."""
        return self.variance > 0

    def at(self, points: Tensor) -> Tensor:
        """Return the correction at points (N, n), (N, m); differentiable."""
        return _kernel(points, self.points, self.length) @ self.coefficients

    def doubt(self, points: Tensor) -> Tensor:
        """Return the standard deviation of the bias that is left at points (N, n), (N, m)."""
        kernel = _kernel(points, self.points, self.length) @ self.directions
        left = 1 - kernel.square() @ self.precisions
        return (self.variance * left.clamp(min=0)).sqrt()


@dataclass(frozen=True)
class _Spectrum:
    """The kernel's matrix of K points for one length, decomposed, with the errors along its directions."""

    points: Tensor
    length: float
    values: Tensor  # (K,)
    directions: Tensor  # (K, K)
    errors: Tensor  # (K, m), along the directions

    @classmethod
    def of(cls, points: Tensor, errors: Tensor, length: float) -> _Spectrum:
        values, directions = torch.linalg.eigh(_kernel(points, points, length))
        return cls(points, length, values.clamp(min=0), directions, directions.T @ errors)

    def losses(self) -> Tensor:
        """Return -2 log likelihood of the rows, less a constant, for each noise and output, (L, m)."""
        total = self.values + NOISES.to(self.values)[:, None]  # (L, K)
        variance = _least((self.errors.square() / total[:, :, None]).mean(1))
        return len(self.values) * variance.log() + total.log().sum(1, keepdim=True)

    def losses_at(self, points: Tensor, errors: Tensor) -> Tensor:
        """Return that of what the correction leaves of the errors (V, m) at other points."""
        kernel = _kernel(points, self.points, self.length) @ self.directions
        total = self.values + NOISES.to(self.values)[:, None]
        return _loss(errors - kernel @ (self.errors / total[:, :, None]))

    def correction(self, noise: Tensor, pays: Tensor, errors: Tensor) -> Correction:
        """Return the correction with these noises (m,), of the outputs for which it pays."""
        precisions = 1 / (self.values[:, None] + noise)
        coefficients = self.directions @ (self.errors * precisions)
        left_out = coefficients / (self.directions.square() @ precisions)
        return Correction(
            points=self.points,
            length=self.length,
            coefficients=coefficients * pays,
            directions=self.directions,
            precisions=precisions,
            variance=_least((self.errors.square() * precisions).mean(0)) * pays,
            left_out=torch.where(pays, left_out, errors),
        )


def _kernel(points: Tensor, known: Tensor, length: float) -> Tensor:
    """Return the kernel between points (N, n) and (K, n), (N, K)."""
    squares = points.square().sum(1, keepdim=True) + known.square().sum(1)
    return (-(squares - 2 * points @ known.T) / (2 * length**2)).exp()


def _loss(errors: Tensor) -> Tensor:
    r"""Return -2 log likelihood of errors (\*, K, m) as noise alone, less a constant, (\*, m)."""
    count = errors.shape[-2]
    return count * _least(errors.square().sum(-2) / max(count, 1)).log()


def _least(variance: Tensor) -> Tensor:
    """Keep a variance above what rounding leaves of 0."""
    return variance.clamp(min=torch.finfo(variance.dtype).eps ** 2)
