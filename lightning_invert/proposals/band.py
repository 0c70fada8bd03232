r"""Bands that hold the measured outcomes of a proposal, all of them at once.

The solver goes where F predicts the target, and a cost drives it into corners. Such points are unlike
the validation points, and F errs more there. Half the width of the band of output j at x is

.. math:: Q(x)\, q_j\, \sigma_j(x), \qquad \sigma_j^2(x) = w_{0j} + w_{1j} v(x)

with v the :class:`.Leverage` on the training points, the weights w of greatest likelihood at the
validation points, and q the 90 % quantile of :math:`|e_j| / \sigma_j` there. The score of a validation
point is :math:`\max_j |e_j| / (q_j \sigma_j)`. Q(x) is the quantile of the scores of the validation
points that are most like x: in the leverage and the error at their neighbours, or in that error alone,
whichever is larger. The leverage tells where data are missing, the neighbours tell where F errs
among data. docs/explanations/bands_and_trust.md has the measurements.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_invert.proposals.leverage import Leverage
from lightning_invert.proposals.likelihood import maximise_likelihood

__all__ = ["COVERAGE", "MAX_NUMBERS_AT_ONCE", "Band", "band_words"]

COVERAGE = 0.9
"""How often a band holds what is measured, unless another share is asked for."""

RIDGES = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3)

SCALED = 0.9
"""Quantile of the errors that makes those of all outputs comparable."""

MARGIN = 0.8
"""Share of the allowed misses that the quantile of the validation points uses: of 10 %, 8 %."""

ALIKE_LEAST, ALIKE_SHARE = 40, 0.05
"""How many validation points a proposal is compared with: a twentieth of them, at least 40."""

LIKE_SHARE = 0.99
"""Share of the validation points that count as like the others, in leverage and in error."""

MAX_FITTED = 1000
"""Validation points that the weights are fitted to."""

MAX_NUMBERS_AT_ONCE = 2**23
"""Bound on the distances that are computed at once."""

FEW_ROWS = 200
"""Of fewer validation rows the words of a band tell the number: see the table in docs/explanations/bands_and_trust.md."""

NUMBERS = [
    *("no", "one", "two", "three", "four", "five", "six"),
    *("seven", "eight", "nine", "ten", "eleven", "twelve"),
]


def band_words(
    num_outputs: int, coverage: float, *, joint: bool, num_rows: int | None = None
) -> str:
    """Say what a band of this coverage holds, known from a number of validation rows.

    Example:
        >>> band_words(4, 0.9, joint=True), band_words(4, 0.95, joint=False)
        ('all four outcomes lie inside nine times out of ten', 'each outcome by itself lies inside in 95 % of the cases')
    """
    count = NUMBERS[num_outputs] if num_outputs < len(NUMBERS) else str(num_outputs)
    whose = {1: "the outcome lies", 2: "both outcomes lie"}.get(
        num_outputs, f"all {count} outcomes lie"
    )
    if num_outputs > 1 and not joint:
        whose = "each outcome by itself lies"
    tenths = round(10 * coverage, 9)
    often = f"in {100 * coverage:.6g} % of the cases"
    if tenths in range(2, 10):
        often = f"{NUMBERS[int(tenths)]} times out of ten"
    few = num_rows is not None and num_rows < FEW_ROWS
    return f"{whose} inside {often}" + f", as far as {num_rows} validation rows tell" * few


@dataclass(frozen=True)
class Band:
    """The band about a prediction, as known from K validation points; in standard units and float64."""

    leverage: Leverage
    weights: Tensor  # (2, m): w
    quantiles: Tensor  # (m,): q
    scores: Tensor  # (K, m): |error| / (q σ) at the validation points
    places: Tensor  # (K, 2): logarithms of error and leverage there, in units of `scale`
    scale: Tensor  # (2, 2): mean and standard deviation of these logarithms
    limits: Tensor  # (2,), of the places: beyond them a point is unlike the validation points

    @classmethod
    def fit(cls, train: Tensor, judged: Tensor, squares: Tensor, sigma: Tensor) -> Band:
        """Fit to training points and validation points with squared errors (K, m).

        ``sigma`` (K, m) is the error by the neighbours of the validation points.
        """
        fits = []
        for ridge in RIDGES:
            leverage = Leverage.fit(train, ridge)
            terms = _terms(leverage.at(judged), squares)
            weights, loss = maximise_likelihood(terms[:, :MAX_FITTED], squares[:MAX_FITTED])
            fits.append((float(loss.sum()), leverage, terms, weights))
        _, leverage, terms, weights = min(fits, key=lambda fit: fit[0])
        ratios = (squares / (terms * weights[:, None]).sum(0)).sqrt()
        quantiles = ratios.kthvalue(_rank(len(ratios), SCALED), dim=0).values
        places = _places(terms, sigma)
        scale = torch.stack([places.mean(0), places.std(0).clamp(min=1e-9)])
        places = (places - scale[0]) / scale[1]
        limits = places.quantile(LIKE_SHARE, dim=0)
        return cls(leverage, weights, quantiles, ratios / quantiles, places, scale, limits)

    def at(
        self, points: Tensor, sigma: Tensor, coverage: float, *, joint: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Return half the width of the band, (N, m), and by how much a point passes the limits, (N, 2).

        ``sigma`` (N, m) is the error by the neighbours of the points. ``joint``: all outputs lie in
        the band with this coverage; else each of them does.
        """
        terms = _terms(self.leverage.at(points), sigma)
        places = (_places(terms, sigma) - self.scale[0]) / self.scale[1]
        scores = self.scores.amax(1, keepdim=True) if joint else self.scores
        chunk = max(1, MAX_NUMBERS_AT_ONCE // len(scores))
        rank = self.rank(coverage)
        factors = torch.cat([self._quantile(mine, scores, rank) for mine in places.split(chunk)])
        spread = (terms * self.weights[:, None]).sum(0).sqrt()
        return factors * self.quantiles * spread, places - self.limits

    @property
    def num_alike(self) -> int:
        """With how many validation points a proposal is compared."""
        return min(len(self.scores), max(ALIKE_LEAST, int(ALIKE_SHARE * len(self.scores))))

    def rank(self, coverage: float) -> int:
        """Return the rank of Q among the scores of the points that are alike."""
        return _rank(self.num_alike, 1 - MARGIN * (1 - coverage))

    def _quantile(self, places: Tensor, scores: Tensor, rank: int) -> Tensor:
        """Return Q at places (N, 2) for scores (K, S), shape (N, S)."""
        quantiles = []
        for axes in (slice(2), slice(1)):
            apart = torch.cdist(places[:, axes], self.places[:, axes])
            alike = scores[apart.topk(self.num_alike, largest=False).indices]
            quantiles.append(alike.kthvalue(rank, dim=1).values)
        return torch.maximum(*quantiles)


def _places(terms: Tensor, sigma: Tensor) -> Tensor:
    """Return the logarithms of the error by the neighbours and of the leverage, (N, 2)."""
    return torch.stack([sigma.norm(dim=1).log(), terms[1, :, 0].log()], 1)


def _terms(leverage: Tensor, like: Tensor) -> Tensor:
    """Return the terms of the variance, (2, N, m), with N and m those of ``like``."""
    return torch.stack([torch.ones_like(like), leverage[:, None].expand_as(like)])


def _rank(count: int, share: float) -> int:
    """Return the rank of a quantile with the finite-sample correction of split conformal prediction."""
    return min(math.ceil((count + 1) * share), count)
