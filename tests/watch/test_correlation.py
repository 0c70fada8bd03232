import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from lightning_invert.watch.correlation import MIN_POINTS, rank_correlation

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("levels", [2, 5, 1000], ids=["mostly ties", "ties", "few ties"])
def test_it_is_what_scipy_finds(levels):
    a = RNG.integers(levels, size=200).astype(float)
    b = a + RNG.integers(levels, size=200)
    assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert rank_correlation(-a, b) == pytest.approx(-spearmanr(a, b).statistic)


def test_infinite_values_are_the_largest():
    a, b = np.array([1, 2, 3, np.inf, np.inf]), np.array([0, 3, 2, 4, np.inf])
    assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b).statistic)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([1] * 5, [2] * 5, 1),
        ([1] * 5, [1, 2, 3, 4, 5], 0),
        ([np.inf] * 5, [np.inf] * 5, 1),
        ([1, 1, 1, 1, 1 + 1e-6], [1 + 1e-6, 1, 1, 1, 1], 1),
    ],
)
def test_where_nothing_varies_there_is_nothing_to_be_ordered(a, b, expected):
    assert rank_correlation(np.array(a, float), np.array(b, float), tie=1e-5) == expected


def test_from_as_many_points_on_as_are_in_order_by_chance_once_in_twenty_times_it_says_something():
    chances = {n: 2 / math.factorial(n) for n in range(1, 9)}
    assert min(n for n, chance in chances.items() if chance < 0.05) == MIN_POINTS
    for n in range(9):
        rho = rank_correlation(np.arange(n), -np.arange(n))
        assert math.isnan(rho) if n < MIN_POINTS else rho == pytest.approx(-1)


@pytest.mark.parametrize("known", [0, 1, 4, 5, 50])
def test_points_without_a_number_are_left_out_and_too_few_that_have_one_are_the_worst(known):
    a, b = RNG.random((2, 60))
    a[: (60 - known) // 2], b[-((61 - known) // 2) or 60 :] = np.nan, np.nan
    expected = spearmanr(a, b, nan_policy="omit").statistic if known >= MIN_POINTS else 0.0
    assert rank_correlation(a, b) == pytest.approx(expected)
