r"""How far off a surrogate may be at settings that a solver proposes, told by points that are known.

The variance of what F misses at x, output by output, is modelled as

.. math:: \sigma^2(x) = c_0 + c_1\, e^2_5(x) + c_2\, s^2(x)\, d(x) + c_3\, d^4(x)

with :math:`e^2_5` the squared error at the five nearest known points (weighted by nearness),
:math:`s^2` the variance of F's members, where it has several, and d the Mahalanobis distance from the
known points. :math:`s^2` is the mean over the outputs: of three members that of one output alone is
little better than a guess. Only :math:`e^2_5` and the c differ between outputs.
The c are not negative and maximise the likelihood of a normal law at validation points, each judged
by its neighbours alone; a term is left out unless it pays, over all outputs, by the information
criterion of G. Schwarz (*Estimating the dimension of a model*, Annals of Statistics 6, 1978). Where
the data have no noise the neighbours tell nearly all. Where noise hides what they know, the terms of
the members and of the distance have at least a hundredth of the variance each: so little is not to be
seen in noisy data, but it orders the proposals, and grows far from them. docs/solve.md has what was
measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import compress, product

import torch
from torch import Tensor

__all__ = ["MIN_POINTS", "Calibration"]

NEIGHBOURS = 5

MIN_POINTS = 30
"""Validation points that a calibration takes: of fewer, the 90 % quantile is a guess."""

FAR_SHARE = 0.99
"""Nearer to their neighbours than what counts as far are so many of the validation points."""

MIN_SHARE = 0.01
"""Of the mean squared error: what the members and the distance have at least, where noise hides it.
With 0.03 or 0.05 trust tells less of proposals near the data; without any it tells nothing."""

ITERATIONS = 300

MAX_NUMBERS_AT_ONCE = 2**23
"""Distances that are computed at once."""


@dataclass(frozen=True)
class Calibration:
    """What is known of a surrogate's errors, all in standard units and in float64.

    Attributes:
        inputs: Known points, less their centre, shape (K, n).
        squares: Squared errors of F there, shape (K, m).
        centre: Of the known points, shape (n,).
        whitening: W with d = ‖W (x − centre)‖, shape (n, n).
        weights: c of the terms, shape (4, m).
        quantile: Of |error| / σ, for each output: what ``confidence`` of the validation points do
            not exceed, with the correction for finite samples of split conformal prediction.
        accuracy: A_j with Σ A_j² the squared error that 90 % of the validation points do not exceed,
            shape (m,).
        log_mean: Mean of log(‖error‖ / ‖σ‖) ...
        log_std: ... and its standard deviation.
        far: Mean distance to the nearest known points beyond which a point is far.
        seen_low: The least known outcomes, shape (m,), in physical units.
        seen_high: The greatest.
    """

    inputs: Tensor
    squares: Tensor
    centre: Tensor
    whitening: Tensor
    weights: Tensor
    quantile: Tensor
    accuracy: Tensor
    log_mean: float
    log_std: float
    far: float
    seen_low: Tensor
    seen_high: Tensor

    @classmethod
    def of(
        cls,
        inputs: Tensor,
        errors: Tensor,
        spread: Tensor | None,
        num_judged: int,
        outcomes: Tensor,
        confidence: float = 0.9,
    ) -> Calibration:
        """Calibrate on known points, of which the first ones were not trained on.

        Args:
            inputs: Known points in standard units, shape (K, n), float64.
            errors: Of F, its outputs minus the known ones, in standard units, shape (K, m).
            spread: Standard deviation over F's members, shape (K, m); ``None`` if F is one network.
            num_judged: How many of the points, the first ones, are validation points: at least
                :data:`MIN_POINTS`.
            outcomes: The known outcomes, shape (K, m), in physical units.
            confidence: What share of validation points the bands hold.
        """
        squares = errors.square()
        centre = inputs.mean(0)
        centred = inputs - centre
        whitening = _whitening(centred)
        blank = torch.zeros(0, dtype=torch.float64)
        seen = outcomes.amin(0), outcomes.amax(0)
        plain = cls(centred, squares, centre, whitening, blank, blank, blank, 0.0, 1.0, 0.0, *seen)
        judged, missed = torch.arange(num_judged), squares[:num_judged]
        # What never fails to the last digit would have no variance to divide by.
        missed = missed.clamp(min=torch.finfo(missed.dtype).eps ** 2)
        terms, distance = plain._terms(
            inputs[judged], None if spread is None else spread[judged], judged
        )
        weights = _fitted(terms, missed)
        if not weights[1].any():
            least = MIN_SHARE * missed.mean(0) / terms[2:].mean(1)
            weights[2:] = torch.where(least.isfinite(), weights[2:].maximum(least), 0.0)
        variance = (terms * weights[:, None]).sum(0)
        rank = min(math.ceil((num_judged + 1) * confidence), num_judged)
        ratio = (missed / variance).sqrt()
        total = missed.sum(1)
        scale = total.quantile(0.9) / missed.mean(0).sum()
        logs = 0.5 * (total / variance.sum(1)).log()
        return replace(
            plain,
            weights=weights,
            quantile=ratio.kthvalue(rank, dim=0).values,
            accuracy=(scale * missed.mean(0)).sqrt(),
            log_mean=float(logs.mean()),
            log_std=max(float(logs.std()), 1e-3),
            far=float(distance.quantile(FAR_SHARE)),
        )

    def sigma(self, inputs: Tensor, spread: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return how far off F may be at points, and how far these are from what is known.

        Args:
            inputs: In standard units, shape (N, n), float64.
            spread: Over F's members, shape (N, m), if it has several.

        Returns:
            σ of each output, shape (N, m), and the mean distance to the nearest known points, (N,).
        """
        terms, distance = self._terms(inputs, spread)
        return (terms * self.weights[:, None]).sum(0).sqrt(), distance

    def expected_error(self, sigma: Tensor, residual: Tensor, wanted: Tensor) -> Tensor:
        r"""Return how far the outcome is expected to be from the target: the median.

        .. math:: e^\mu \sqrt{r^2 + \sum_j \sigma_j^2}

        over the outputs of which something is wanted, with \mu that of the validation points.

        Args:
            sigma: Shape (N, m).
            residual: r, the distance of F from the target, shape (N,).
            wanted: Shape (N, m).

        Returns:
            Shape (N,).
        """
        square = residual.square() + (sigma.square() * wanted).sum(1)
        return square.sqrt() * math.exp(self.log_mean)

    def trust(self, expected_error: Tensor, wanted: Tensor) -> Tensor:
        r"""Return how probable it is that the outcome is as near to the target as F is accurate.

        Accurate is the error A of F at 90 % of the validation points. The error is taken to be
        log-normal about the expected one: :math:`\Phi((\ln A - \ln e) / s)`.

        Args:
            expected_error: e, shape (N,).
            wanted: Of which outputs something is wanted, shape (N, m).

        Returns:
            Shape (N,), between 0 and 1.
        """
        log_accuracy = 0.5 * (self.accuracy.square() * wanted).sum(1).log()
        deviations = (log_accuracy - expected_error.log()) / self.log_std
        # By its logarithm, as `ndtr` is 0 from -8.3 on, and would not tell bad from worse.
        probable: Tensor = torch.special.log_ndtr(deviations).exp()
        return probable

    def _terms(
        self, inputs: Tensor, spread: Tensor | None, own: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the terms of the variance, (4, N, m), and the distance to the neighbours, (N,).

        Args:
            inputs: Shape (N, n).
            spread: Shape (N, m).
            own: Which of the known points each is itself, and so is no neighbour.
        """
        # Distances between numbers far from 0 would be rounded away.
        inputs = inputs - self.centre
        some = max(1, MAX_NUMBERS_AT_ONCE // len(self.inputs))
        local, distance = [], []
        for begin in range(0, len(inputs), some):
            rows = slice(begin, begin + some)
            apart = torch.cdist(inputs[rows], self.inputs)
            if own is not None:
                apart.scatter_(1, own[rows, None], torch.inf)
            near, which = apart.topk(min(NEIGHBOURS, apart.shape[1] - 1), largest=False)
            share = 1 / near.clamp(min=1e-9)
            share = share / share.sum(1, keepdim=True)
            local.append((share[:, :, None] * self.squares[which]).sum(1))
            distance.append(near.mean(1))
        away = (inputs @ self.whitening.T).norm(dim=1)[:, None]
        neighbours = torch.cat(local)
        members = torch.zeros_like(away)
        if spread is not None:
            members = spread.square().mean(1, keepdim=True) * away
        terms = (torch.ones_like(neighbours), neighbours, members, away**4)
        return torch.stack([term.expand_as(neighbours) for term in terms]), torch.cat(distance)


def _whitening(centred: Tensor) -> Tensor:
    """Return W with cov(W x) = 1; a direction in which nothing varies counts as the least that does."""
    variance, directions = torch.linalg.eigh(centred.T @ centred / max(1, len(centred) - 1))
    least = float(variance.max()) * 1e-6
    whitening: Tensor = directions.T / variance.clamp(min=max(least, 1e-300)).sqrt()[:, None]
    return whitening


def _fitted(terms: Tensor, squares: Tensor) -> Tensor:
    """Return the weights of the terms, (T, m), that explain the squares, (N, m), best.

    The first term is always there; of the others those that pay, over all outputs together.
    """
    best, weights = math.inf, torch.zeros(len(terms), squares.shape[1], dtype=torch.float64)
    optional = [bool(term.any()) for term in terms[1:]]
    for chosen in product(*((False, True) if there else (False,) for there in optional)):
        used = torch.tensor([0, *compress(range(1, len(terms)), chosen)])
        found, loss = _most_likely(terms[used], squares)
        penalty = math.log(len(squares)) / len(squares) * len(used)
        cost = float((loss + penalty).sum())
        if cost < best:
            best, weights = cost, torch.zeros_like(weights)
            weights[used] = found
    return weights


def _most_likely(terms: Tensor, squares: Tensor) -> tuple[Tensor, Tensor]:
    """Return weights (T, m) of greatest likelihood, and twice the negative of its log, (m,), a point.

    By multiplicative updates, which keep them positive: C. Fevotte, N. Bertin and J.-L. Durrieu,
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
