r"""Model a surrogate's errors by known points, to tell how far to rely on a proposal.

The variance of the error of F at x is modelled, output by output, as

.. math:: \sigma^2(x) = c_0 + c_1\, e^2_5(x) + c_2\, s^2(x)\, d(x) + c_3\, d^4(x)

with :math:`e^2_5` the squared error at the five nearest known points (weighted by nearness),
:math:`s^2` the variance over F's members, where it has several, and d the Mahalanobis distance from
the known points. :math:`s^2` is the mean over the outputs: of three members, that of one output alone
is little better than a guess. Only :math:`e^2_5` and the c differ between outputs.

The c are not negative. They maximise the likelihood of a normal law at validation points, each judged
by its neighbours alone. A term is left out unless it pays, over all outputs, by the information
criterion of G. Schwarz (*Estimating the dimension of a model*, Annals of Statistics 6, 1978). Where
the data have no noise, the neighbours tell nearly all. Where noise hides what they know, the terms of
the members and of the distance get at least a hundredth of the variance each: too little to matter
near noisy data, but it orders the proposals and grows far from them. docs/explanations/bands_and_trust.md has the measurements.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, is_dataclass, replace
from itertools import compress, product
from typing import Any

import torch
from torch import Tensor

from lightning_invert.doorway import Shown
from lightning_invert.proposals.band import COVERAGE, MAX_NUMBERS_AT_ONCE, Band
from lightning_invert.proposals.likelihood import maximise_likelihood
from lightning_invert.solver.whitening import whitening_of

__all__ = ["MIN_POINTS", "Reliability"]

NEIGHBOURS = 5

MIN_POINTS = 30
"""Least number of validation points: of fewer, the 90 % quantile is a guess."""

ACCURATE = 0.9
"""Share of the validation points whose errors lie within the accuracy."""

MIN_SHARE = 0.01
"""Share of the mean squared error that the members and the distance have at least, where noise hides
it. With 0.03 or 0.05 trust tells less about proposals near the data; without any it tells nothing."""


@dataclass(frozen=True, repr=False)
class Reliability(Shown):
    """The errors of a surrogate, as known from K points; in standard units and float64."""

    points: Tensor  # (K, n), less their centre
    squared_errors: Tensor  # (K, m), of F there
    centre: Tensor  # (n,), mean of the known points
    whitening: Tensor  # (n, n): W with d = ‖W (x - centre)‖
    weights: Tensor  # (4, m): c of the terms
    band: Band
    accuracy: Tensor
    """A with Σ A_j² the squared error that 90 % of the validation points do not exceed, (m,)."""
    log_mean: float  # of log(‖error‖ / ‖σ‖) at the validation points
    log_std: float
    seen_low: Tensor  # (m,), least known outcomes, in physical units
    seen_high: Tensor  # (m,), greatest ones

    @classmethod
    def fit(
        cls,
        points: Tensor,
        errors: Tensor,
        *,
        num_judged: int,
        outcomes: Tensor,
        spread: Tensor | None = None,
    ) -> Reliability:
        """Fit the model to known points (K, n), errors of F and outcomes (K, m), float64.

        The first ``num_judged`` points, at least :data:`MIN_POINTS`, are validation points, on which F
        was not trained. Outcomes are in physical units,
        ``spread`` (K, m) is the standard deviation over F's members, if it has several.
        """
        centre = points.mean(0)
        centred, squared_errors = points - centre, errors.square()
        whitening = whitening_of(centred)
        # An error of exactly 0 would leave no variance to divide by.
        squares = squared_errors[:num_judged].clamp(min=torch.finfo(errors.dtype).eps ** 2)
        terms = _terms(
            centred[:num_judged],
            None if spread is None else spread[:num_judged],
            (centred, squared_errors, whitening),
            own=torch.arange(num_judged, device=points.device),
        )
        weights = _weights(terms, squares)
        variance = (terms * weights[:, None]).sum(0)
        total = squares.sum(1)
        scale = total.quantile(ACCURATE) / squares.mean(0).sum()
        logs = 0.5 * (total / variance.sum(1)).log()
        return cls(
            points=centred,
            squared_errors=squared_errors,
            centre=centre,
            whitening=whitening,
            weights=weights,
            band=Band.fit(centred[num_judged:], centred[:num_judged], squares, variance.sqrt()),
            accuracy=(scale * squares.mean(0)).sqrt(),
            log_mean=float(logs.mean()),
            log_std=max(float(logs.std()), 1e-3),
            seen_low=outcomes.amin(0),
            seen_high=outcomes.amax(0),
        )

    def to(self, device: torch.device) -> Reliability:
        """Return the model on a device."""
        moved: Reliability = _moved(self, device)
        return moved

    def sigma(self, points: Tensor, spread: Tensor | None = None) -> Tensor:
        """Return σ at points (N, n), shape (N, m).

        ``spread`` (N, m) is the standard deviation over F's members, if it has several.
        """
        # Distances between numbers far from 0 would be rounded away.
        known = (self.points, self.squared_errors, self.whitening)
        terms = _terms(points - self.centre, spread, known)
        sigma: Tensor = (terms * self.weights[:, None]).sum(0).sqrt()
        return sigma

    def half_width(
        self, points: Tensor, sigma: Tensor, coverage: float = COVERAGE, *, joint: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Return half the width of the band at points (N, n), and what passes the limits: see Band.at."""
        return self.band.at(points - self.centre, sigma, coverage, joint=joint)

    def expected_error(self, sigma: Tensor, residual: Tensor, constrained: Tensor) -> Tensor:
        r"""Return the expected distance of the outcome from the target, the median, (N,).

        .. math:: e^\mu \sqrt{r^2 + \sum_j \sigma_j^2}

        over the outputs that have a target (``constrained``, (N, m)), with r the residual (N,), σ of
        shape (N, m) and \mu that of the validation points.
        """
        square = residual.square() + (sigma.square() * constrained).sum(1)
        return square.sqrt() * math.exp(self.log_mean)

    def trust(self, expected_error: Tensor, constrained: Tensor) -> Tensor:
        r"""Return the probability that the outcome is as near to the target as F is accurate, (N,).

        F is accurate to the error A of 90 % of the validation points. The error is taken to be
        log-normal about the expected one, e: :math:`\Phi((\ln A - \ln e) / s)`.
        """
        log_accuracy = 0.5 * (self.accuracy.square() * constrained).sum(1).log()
        deviations = (log_accuracy - expected_error.log()) / self.log_std
        # By its logarithm: `ndtr` is 0 from -8.3 on, and would not tell bad from worse.
        probability: Tensor = torch.special.log_ndtr(deviations).exp()
        return probability


def _moved(part: Any, device: torch.device) -> Any:
    """Return a tensor, or a dataclass with all its tensors, on a device."""
    if isinstance(part, Tensor):
        return part.to(device)
    if is_dataclass(part) and not isinstance(part, type):
        return replace(part, **{name: _moved(own, device) for name, own in vars(part).items()})
    return part


def _terms(
    points: Tensor,
    spread: Tensor | None,
    known: tuple[Tensor, Tensor, Tensor],
    own: Tensor | None = None,
) -> Tensor:
    """Return the terms of the variance, (4, N, m).

    ``known`` are points, squared errors and W. ``own`` (N,) are the indices of the points among the
    known ones: no point is its own neighbour. All points are less the centre.
    """
    known_points, squared_errors, whitening = known
    chunk = max(1, MAX_NUMBERS_AT_ONCE // len(known_points))
    local = []
    for begin in range(0, len(points), chunk):
        rows = slice(begin, begin + chunk)
        apart = torch.cdist(points[rows], known_points)
        if own is not None:
            apart.scatter_(1, own[rows, None], torch.inf)
        near, which = apart.topk(min(NEIGHBOURS, apart.shape[1] - 1), largest=False)
        share = 1 / near.clamp(min=1e-9)
        share = share / share.sum(1, keepdim=True)
        local.append((share[:, :, None] * squared_errors[which]).sum(1))
    away = (points @ whitening.T).norm(dim=1)[:, None]
    neighbours = torch.cat(local)
    members = torch.zeros_like(away)
    if spread is not None:
        members = spread.square().mean(1, keepdim=True) * away
    terms = (torch.ones_like(neighbours), neighbours, members, away**4)
    return torch.stack([term.expand_as(neighbours) for term in terms])


def _weights(terms: Tensor, squares: Tensor) -> Tensor:
    """Return the weights c, (4, m), at least MIN_SHARE where the neighbours do not pay."""
    weights = _select_weights(terms, squares)
    if not weights[1].any():
        least = MIN_SHARE * squares.mean(0) / terms[2:].mean(1)
        weights[2:] = torch.where(least.isfinite(), weights[2:].maximum(least), 0.0)
    return weights


def _select_weights(terms: Tensor, squares: Tensor) -> Tensor:
    """Return the weights of the terms, (T, m), that explain the squares (N, m) best.

    The first term is always used; the others only if they pay, over all outputs together.
    """
    best, weights = math.inf, squares.new_zeros(len(terms), squares.shape[1])
    varies = [bool(term.any()) for term in terms[1:]]
    for chosen in product(*((False, True) if term else (False,) for term in varies)):
        used = torch.tensor([0, *compress(range(1, len(terms)), chosen)])
        likeliest, loss = maximise_likelihood(terms[used], squares)
        penalty = math.log(len(squares)) / len(squares) * len(used)
        cost = float((loss + penalty).sum())
        if cost < best:
            best, weights = cost, torch.zeros_like(weights)
            weights[used] = likeliest
    return weights
