import math

import pytest
import torch
from torch.multiprocessing import spawn

from lightning_invert import InvertibilityMetric
from tests.watch.reference import summary_in_numpy


def spectra(count=200, k=4, seed=0):
    """Sorted singular values over many decades, some of them zero."""
    generator = torch.Generator().manual_seed(seed)
    sigma = 10 ** (-14 * torch.rand(count, k, generator=generator, dtype=torch.float64) ** 3)
    return sigma.sort(descending=True).values


def test_summary_equals_numpys():
    sigma = spectra()
    metric = InvertibilityMetric()
    metric.update(sigma, condition_limit=1e6)
    found = {name: value.item() for name, value in metric.compute().items()}
    assert found == pytest.approx(summary_in_numpy(sigma), rel=1e-6)


def test_batches_add_up():
    metric = InvertibilityMetric()
    for part in spectra().split(37):
        metric.update(part, condition_limit=1e6)
    found = {name: value.item() for name, value in metric.compute().items()}
    assert found == pytest.approx(summary_in_numpy(spectra()), rel=1e-6)


def test_the_four_bands_add_up_to_one():
    metric = InvertibilityMetric()
    metric.update(spectra())
    summary = metric.compute()
    bands = ("stable", "moderate", "ill_conditioned", "singular")
    assert sum(summary[f"{band}_fraction"] for band in bands).item() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("cond", "band"),
    [
        (99.99, "stable"),
        (100.0, "moderate"),
        (1e4, "moderate"),
        (1.0001e4, "ill_conditioned"),
        (1e11, "ill_conditioned"),
        (1e13, "singular"),
    ],
)
def test_a_condition_number_at_a_limit_is_in_the_band_that_owns_it(cond, band):
    metric = InvertibilityMetric()
    metric.update(torch.tensor([[1.0, 1.0 / cond]], dtype=torch.float64))
    assert metric.compute()[f"{band}_fraction"] == 1


def test_points_with_a_nan_are_counted_and_left_out():
    sigma = spectra()
    sigma[:50] = torch.nan
    metric = InvertibilityMetric()
    metric.update(sigma, condition_limit=1e6)
    found = {name: value.item() for name, value in metric.compute().items()}
    assert found == pytest.approx(
        {**summary_in_numpy(sigma[50:]), "nonfinite_fraction": 0.25}, rel=1e-6
    )


def test_what_is_monitored_is_finite_even_if_everything_is_singular_or_nan():
    for sigma in (torch.zeros(5, 3), torch.full((5, 3), torch.nan)):
        metric = InvertibilityMetric()
        metric.update(sigma)
        summary = metric.compute()
        assert all(summary[f"log10_cond_{q}"] == 16 for q in ("median", "p05", "p95"))
        assert summary["full_rank_fraction"] == 0
        assert summary["cond_p95"] == math.inf
        assert not any(value.isnan() for value in summary.values())


def test_half_singular_gives_an_infinite_percentile_and_no_nan():
    metric = InvertibilityMetric()
    metric.update(torch.tensor([[1.0, 1.0], [1.0, 0.0]]))
    summary = metric.compute()
    assert summary["cond_median"] == math.inf
    assert summary["log10_cond_median"] == 8


def test_reset_forgets():
    metric = InvertibilityMetric()
    metric.update(torch.zeros(5, 2))
    metric.reset()
    metric.update(torch.ones(5, 2))
    assert metric.compute()["full_rank_fraction"] == 1


def test_refuses_shapes_that_do_not_fit():
    metric = InvertibilityMetric()
    with pytest.raises(ValueError, match="`singular_values`"):
        metric.update(torch.ones(3))


def _one_process(rank, port, world_size):
    import os

    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.distributed.init_process_group("gloo", rank=rank, world_size=world_size)
    metric = InvertibilityMetric()
    # Uneven shards, as a distributed sampler leaves them.
    metric.update(
        spectra()[:70] if rank == 0 else spectra()[70:], condition_limit=10.0 ** (6 + rank)
    )
    found = {name: value.item() for name, value in metric.compute().items()}
    assert found == pytest.approx(summary_in_numpy(spectra()), rel=1e-6)
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_agree_on_the_summary_of_all_points(free_port):
    spawn(_one_process, args=(free_port, 2), nprocs=2)
