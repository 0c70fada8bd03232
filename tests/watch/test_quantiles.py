import numpy as np
import pytest
from scipy import stats

from lightning_invert.watch.quantiles import quantile_ranks, student_quantile, wilson_interval


@pytest.mark.parametrize("total", [1, 7, 256])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.999])
def test_the_interval_of_a_share_is_scipys(total, confidence):
    for count in {0, 1, total // 2, total - 1, total}:
        expected = stats.binomtest(count, total).proportion_ci(confidence, method="wilson")
        found = wilson_interval(count / total, total, confidence=confidence)
        assert found == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_nothing_is_known_of_the_share_of_no_points():
    assert wilson_interval(0.0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("total", [1, 5, 100, 5000])
@pytest.mark.parametrize("q", [0.05, 0.5, 0.95])
def test_the_interval_of_a_quantile_is_scipys(total, q):
    expected = stats.quantile_test(np.arange(total), p=q).confidence_interval(0.95)
    low, high = quantile_ranks(total, q)
    assert np.nan if low is None else low == pytest.approx(expected.low, nan_ok=True)
    assert np.nan if high is None else high == pytest.approx(expected.high, nan_ok=True)
    assert (low is None, high is None) == (np.isnan(expected.low), np.isnan(expected.high))


def test_the_quantile_is_as_often_in_the_interval_as_is_promised():
    rng = np.random.default_rng(0)
    low, high = quantile_ranks(100, 0.95)
    samples = np.sort(rng.uniform(size=(20_000, 100)), axis=1)
    inside = np.mean((samples[:, low] <= 0.95) & (samples[:, high] >= 0.95))
    assert inside == pytest.approx(0.9826, abs=0.005)  # at least 0.95


def test_no_points_have_no_quantile():
    assert quantile_ranks(0, 0.5) == (None, None)


@pytest.mark.parametrize("freedom", [1, 2, 3, 30, 101])
@pytest.mark.parametrize("share", [0.5, 0.9, 0.95, 0.999])
def test_a_quantile_of_students_t_is_scipys(share, freedom):
    expected = stats.t.ppf(share, freedom)  # of the oldest SciPy, right to 5e-9
    assert student_quantile(share, freedom) == pytest.approx(expected, rel=1e-8, abs=1e-9)
