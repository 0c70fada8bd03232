r"""Tell whether outcomes miss their bands more often than they may, with a stated rate of false alarms.

The claim is that a row misses with probability :math:`p_0` at most, whatever came before. A bet on
misses of probability p that begins at row k multiplies its capital by :math:`p / p_0` at a miss and by
:math:`(1 - p) / (1 - p_0)` at any other row. The bets at row k, one for each p, share
:math:`1 / (k (k + 1))` of the capital 1. While the claim holds, the total is a supermartingale: with a
probability of :math:`1 - \alpha` it never reaches :math:`1 / \alpha`, over any number of rows
(J. Ville, 1939; G. Shafer, *Testing by betting*, JRSS A 184, 2021). A change may come at any row: a
bet from the first row on alone would have lost its capital by then. The row since which outcomes miss
is that of the largest cumulative sum: E. S. Page, *Continuous inspection schemes*, Biometrika 41 (1954).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from lightning_invert.proposals.band import COVERAGE

__all__ = ["FALSE_ALARMS", "Drift"]

ALLOWED = 1 - COVERAGE

FALSE_ALARMS = 0.05
"""Probability of an alarm, over any number of rows, if the process never changes."""

MISSES = (0.2, 0.4, 0.6, 0.8, 0.99)
"""Probabilities of a miss that are bet on."""


class Drift(NamedTuple):
    """What a sequence of misses says of a change of the process."""

    alarm: int | None = None  # the row that raised the alarm, from 0 on
    since: int = 0  # the row from which on outcomes miss; rows before are of the former process
    capital: float = 1.0  # of the bets; an alarm is raised at 1 / FALSE_ALARMS

    @classmethod
    def of(cls, misses: Iterable[bool]) -> Drift:
        """Read the misses in the order of their rows, until an alarm is raised."""
        bets, capital = [_Bet(probability) for probability in MISSES], 1.0
        for row, missed in enumerate(misses):
            stake = 1 / ((row + 1) * (row + 2))
            for bet in bets:
                bet.take(row, stake / len(bets), missed=missed)
            capital = 1 / (row + 2) + sum(bet.capital for bet in bets)
            if capital >= 1 / FALSE_ALARMS:
                return cls(row, max(bets, key=lambda bet: bet.log_sum).since, capital)
        return cls(capital=capital)


class _Bet:
    """Bets on misses of one probability: their capital, and the cumulative sum of their logarithms."""

    def __init__(self, probability: float) -> None:
        self.capital, self.log_sum, self.since = 0.0, 0.0, 0
        self._factors = (1 - probability) / (1 - ALLOWED), probability / ALLOWED

    def take(self, row: int, stake: float, *, missed: bool) -> None:
        factor = self._factors[bool(missed)]
        self.capital = (self.capital + stake) * factor
        if self.log_sum <= 0:
            self.log_sum, self.since = 0.0, row
        self.log_sum += math.log(factor)
