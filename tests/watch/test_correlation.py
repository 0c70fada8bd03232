import numpy as np
import pytest
from scipy.stats import spearmanr

from lightning_invert.watch.correlation import rank_correlation

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("levels", [2, 5, 1000], ids=["mostly ties", "ties", "few ties"])
def test_it_is_what_scipy_finds(levels):
    a = RNG.integers(levels, size=200).astype(float)
    b = a + RNG.integers(levels, size=200)
    assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert rank_correlation(-a, b) == pytest.approx(-spearmanr(a, b).statistic)


def test_infinite_values_are_the_largest():
    a, b = np.array([1, 2, np.inf, np.inf]), np.array([0, 3, 4, np.inf])
    assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b).statistic)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([1, 1, 1], [2, 2, 2], 1),
        ([1, 1, 1], [1, 2, 3], 0),
        ([np.inf, np.inf], [np.inf, np.inf], 1),
        ([1], [5], 1),
        ([], [], 1),
        ([1, 1 + 1e-6], [1 + 1e-6, 1], 1),
    ],
)
def test_where_nothing_varies_there_is_nothing_to_be_ordered(a, b, expected):
    assert rank_correlation(np.array(a, float), np.array(b, float), tie=1e-5) == expected
