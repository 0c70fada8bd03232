import math
from itertools import product

import numpy as np
import pytest

from lightning_invert.proposals.drift import FALSE_ALARMS, MISSES, Drift


def capital(misses, allowed=0.1):
    """The sum over all rows k and probabilities p of the bets, one by one."""
    count, total = len(misses), 0.0
    for begin in range(count):
        for p in MISSES:
            factors = [p / allowed if m else (1 - p) / (1 - allowed) for m in misses[begin:]]
            total += math.prod(factors) / ((begin + 1) * (begin + 2) * len(MISSES))
    return total + 1 / (count + 1)


@pytest.mark.parametrize("seed", range(5))
def test_the_capital_is_the_sum_of_all_bets(seed):
    misses = np.random.default_rng(seed).random(30) < 0.1
    drift = Drift.of(misses)
    upto = 30 if drift.alarm is None else drift.alarm + 1
    assert drift.capital == pytest.approx(capital(misses[:upto]), rel=1e-10)


def test_the_bets_are_fair_if_one_row_in_ten_misses_and_lose_if_fewer_do():
    sequences = [*product((False, True), repeat=6)]
    for rate in (0.1, 0.05):
        weights = [math.prod(rate if m else 1 - rate for m in misses) for misses in sequences]
        total = sum(w * capital(m) for w, m in zip(weights, sequences, strict=True))
        assert total == pytest.approx(1, abs=1e-12) if rate == 0.1 else total < 1


def test_of_processes_that_never_change_the_stated_share_at_most_raises_an_alarm():
    generator = np.random.default_rng(0)
    alarms = sum(Drift.of(generator.random(500) < 0.1).alarm is not None for _ in range(300))
    # Four standard deviations of a binomial count above the rate.
    assert 0 < alarms <= 300 * FALSE_ALARMS + 4 * math.sqrt(300 * FALSE_ALARMS * (1 - FALSE_ALARMS))


@pytest.mark.parametrize(("rate", "delay"), [(0.9, 12), (0.5, 45), (0.3, 200)])
@pytest.mark.parametrize("before", [0, 200])
def test_a_change_is_found_soon_after_it_comes_and_dated(rate, delay, before):
    generator = np.random.default_rng(1)
    chances = np.r_[np.full(before, 0.05), np.full(600, rate)]
    drifts = [Drift.of(generator.random(len(chances)) < chances) for _ in range(50)]
    assert np.median([drift.alarm for drift in drifts]) - before < delay
    assert abs(np.median([drift.since for drift in drifts]) - before) <= 10


def test_nothing_is_said_of_no_rows_and_the_first_alarm_stays():
    assert Drift.of([]) == Drift()
    first = Drift.of([True] * 5)
    assert first.alarm is not None
    assert Drift.of([True] * 5 + [False] * 500 + [True] * 50) == first
