import numpy as np
import pytest
import torch
from scipy import stats

from lightning_invert.watch.history import QUANTILES, record
from lightning_invert.watch.observation import Observation


def observed(sigma, *, shape=None):
    sigma = torch.as_tensor(sigma, dtype=torch.float64)
    return Observation.of(sigma, name="f", shape=shape)


def remember(one, epoch=0):
    return record(one, epoch=epoch, step=7)


def test_what_is_kept_is_numpys_and_plain():
    generator = np.random.default_rng(0)
    sigma = np.sort(10 ** generator.uniform(-9, 1, size=(200, 3)))[:, ::-1].copy()
    look = remember(observed(sigma), epoch=4)
    rank = (sigma > 1e-5).sum(1)
    assert look["rank_shares"] == pytest.approx([np.mean(rank == r) for r in (3, 2, 1, 0)])
    log10_cond = np.log10(sigma[:, 0] / sigma[:, -1])
    assert look["log10_cond"] == pytest.approx(np.quantile(log10_cond, QUANTILES))
    assert (look["epoch"], look["step"], look["num_points"]) == (4, 7, 200)
    ends = stats.quantile_test(log10_cond, p=0.95).confidence_interval(0.95)
    assert look["p95_interval"] == pytest.approx([ends.low, ends.high])
    kinds = {
        type(v) for value in look.values() for v in (value if isinstance(value, list) else [value])
    }
    assert kinds <= {int, float}


def test_the_last_share_of_a_wide_map_stands_for_all_lower_ranks():
    sigma = np.ones((10, 64))
    sigma[:3, 10:] = 0.0
    assert remember(observed(sigma), 0)["rank_shares"] == pytest.approx([0.7, 0, 0, 0, 0.3])


def test_infinity_is_kept_as_sixteen():
    look = remember(observed([[1.0, 0.0], [1.0, 0.0]]), 0)
    assert look["log10_cond"] == [16.0] * 7


def test_no_finite_point_is_the_worst_there_is():
    look = remember(observed(np.ones((0, 2))), 0)
    assert look["num_points"] == 0
    assert look["rank_shares"] == [0, 0, 0]
    assert look["log10_cond"] == [16.0] * 7
