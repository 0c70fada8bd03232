import numpy as np
import pytest
from scipy import stats

from lightning_invert.report.figures.points import (
    best_single,
    correlation_ratio,
    quantile_cells,
)

RNG = np.random.default_rng(5)


def test_the_correlation_ratio_is_that_of_an_analysis_of_variance():
    cell, values = RNG.integers(0, 4, size=300), RNG.normal(size=300)
    values += cell
    f = stats.f_oneway(*(values[cell == c] for c in range(4))).statistic
    # F = (eta^2 / (groups - 1)) / ((1 - eta^2) / (N - groups))
    expected = 3 * f / (3 * f + 296)
    assert correlation_ratio(cell, values) == pytest.approx(expected)


@pytest.mark.parametrize("values", [np.zeros(10), np.full(10, 3.0)])
def test_values_that_do_not_vary_are_not_explained(values):
    assert correlation_ratio(np.arange(10) % 2, values) == 0


def test_parts_hold_about_as_many_points():
    counts = np.bincount(quantile_cells(RNG.exponential(size=1000)))
    assert len(counts) == 4
    assert counts.min() > 240


def test_the_inputs_are_in_their_order():
    x = RNG.uniform(size=(500, 5))
    assert best_single([quantile_cells(c) for c in x.T], 3 * x[:, 4] + x[:, 1], 2) == [1, 4]
