import pickle

import numpy as np
import pytest
import torch
from scipy import stats

from lightning_invert.watch.history import MAX_LOOKS, QUANTILES, record, remember
from lightning_invert.watch.observation import Observation


def noted(sigma, epoch=0):
    sigma = torch.as_tensor(sigma, dtype=torch.float64)
    return record(Observation.of(sigma), epoch=epoch, step=7)


def test_what_is_kept_is_numpys_and_plain():
    generator = np.random.default_rng(0)
    sigma = np.sort(10 ** generator.uniform(-9, 1, size=(200, 3)))[:, ::-1].copy()
    look = noted(sigma, epoch=4)
    rank = (sigma > 1e-5).sum(1)
    assert look["rank_shares"] == pytest.approx([np.mean(rank == r) for r in (3, 2, 1, 0)])
    log10_cond = np.log10(sigma[:, 0] / sigma[:, -1])
    kept = [look[f"log10_cond_{name}"] for name in QUANTILES]
    assert kept == pytest.approx(np.quantile(log10_cond, [*QUANTILES.values()]))
    assert (look["epoch"], look["step"], look["num_points"]) == (4, 7, 200)
    ends = stats.quantile_test(log10_cond, p=0.95).confidence_interval(0.95)
    kept = [look[f"log10_cond_p95_{end}"] for end in ("low", "high")]
    assert kept == pytest.approx([ends.low, ends.high])
    kinds = {
        type(v) for value in look.values() for v in (value if isinstance(value, list) else [value])
    }
    assert kinds <= {int, float}


def test_the_last_share_of_a_wide_map_stands_for_all_lower_ranks():
    sigma = np.ones((10, 64))
    sigma[:3, 10:] = 0.0
    assert noted(sigma)["rank_shares"] == pytest.approx([0.7, 0, 0, 0, 0.3])


@pytest.mark.parametrize("sigma", [np.array([[1.0, 0.0], [1.0, 0.0]]), np.ones((0, 2))])
def test_infinity_and_no_finite_point_are_kept_as_sixteen(sigma):
    look = noted(sigma)
    assert look["num_points"] == len(sigma)
    assert {look[f"log10_cond_{name}"] for name in QUANTILES} == {16.0}
    assert look["rank_shares"] == ([0, 1, 0] if len(sigma) else [0, 0, 0])


def paces(number, pace):
    if pace == "even":
        return 7 * np.arange(number)
    generator = np.random.default_rng(number)
    return np.cumsum(generator.integers(1, 20, size=number))


def kept_of(steps, kept=()):
    kept = list(kept)
    for step in steps:
        remember(kept, {"step": int(step)})
    return kept


@pytest.mark.parametrize("pace", ["even", "uneven"])
@pytest.mark.parametrize("number", [1, 2, MAX_LOOKS, MAX_LOOKS + 1, 5000])
def test_looks_are_bounded_dense_at_the_end_and_without_a_gap_beyond_the_stated(number, pace):
    steps = paces(number, pace)
    kept = np.array([look["step"] for look in kept_of(steps)])
    assert len(kept) == min(number, MAX_LOOKS)
    assert (kept[0], kept[-1]) == (steps[0], steps[-1])
    assert set(kept) <= set(steps)
    if number == 1:
        return
    gaps, distance = np.diff(kept), kept[-1] - kept[:-1]
    followed = np.diff(np.searchsorted(steps, kept)) == 1
    n = (steps[-1] - steps[0]) / np.diff(steps).min()
    share = 1 - n ** (-1 / ((MAX_LOOKS - 1) // 2))
    assert (followed | (gaps <= share * distance * (1 + 1e-12))).all()
    assert followed[-10:].all()


def test_a_gap_is_as_small_as_the_constant_says():
    kept = np.array([look["step"] for look in kept_of(range(3000))])
    assert np.max(np.diff(kept) / np.maximum(kept[-1] - kept[:-1], 1 / 0.031)) <= 0.031


@pytest.mark.parametrize("at", [400, MAX_LOOKS, 777])
def test_what_is_forgotten_does_not_depend_on_an_interruption(at):
    steps = paces(1600, "uneven")
    saved = pickle.loads(pickle.dumps(kept_of(steps[:at])))
    assert kept_of(steps[at:], saved) == kept_of(steps)


def test_looks_at_one_step_and_more_than_are_kept_are_no_matter():
    kept = kept_of([5] * 700)
    assert len(kept) == MAX_LOOKS
    assert len(kept_of([9], [{"step": i} for i in range(900)])) == MAX_LOOKS
