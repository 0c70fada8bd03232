import math

import pytest
import torch

from lightning_invert import InvertibilityMetric
from tests.watch.reference import summary_in_numpy


def spectra(count=200, k=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    sigma = 10 ** (-14 * torch.rand(count, k, generator=generator, dtype=torch.float64) ** 3)
    return sigma.sort(descending=True).values


def summary(*batches, **options):
    metric = InvertibilityMetric()
    metric.update(torch.ones(5, batches[0].shape[1]))
    metric.reset()
    for sigma in batches:
        metric.update(sigma, **options)
    return {name: value.item() for name, value in metric.compute().items()}


@pytest.mark.parametrize("nonfinite", [0, 50])
@pytest.mark.parametrize("size", [37, 200])
def test_the_summary_is_numpys_over_the_finite_points_of_all_batches(size, nonfinite):
    sigma = spectra()
    sigma[:nonfinite] = torch.nan
    expected = summary_in_numpy(sigma[nonfinite:]) | {"nonfinite_fraction": nonfinite / 200}
    assert summary(*sigma.split(size), condition_limit=1e6) == pytest.approx(expected, rel=1e-6)


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
def test_a_condition_number_at_a_limit_is_in_one_band(cond, band):
    scalars = summary(torch.tensor([[1.0, 1.0 / cond]], dtype=torch.float64))
    bands = ("moderate", "ill_conditioned", "singular")
    assert {name: scalars[f"{name}_fraction"] for name in bands} == {n: n == band for n in bands}
    assert scalars["fragile_fraction"] == (band in bands)


@pytest.mark.parametrize("sigma", [torch.zeros(5, 3), torch.full((5, 3), torch.nan)])
def test_what_is_monitored_is_finite_even_if_everything_is_singular_or_nan(sigma):
    scalars = summary(sigma)
    assert all(scalars[f"log10_cond_{q}"] == 16 for q in ("median", "p05", "p95"))
    assert scalars["full_rank_fraction"] == 0
    assert scalars["cond_p95"] == math.inf
    assert not any(map(math.isnan, scalars.values()))


def test_half_singular_gives_an_infinite_percentile_and_no_nan():
    scalars = summary(torch.tensor([[1.0, 1.0], [1.0, 0.0]]))
    assert (scalars["cond_median"], scalars["log10_cond_median"]) == (math.inf, 8)


def test_refuses_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match="`singular_values`"):
        InvertibilityMetric().update(torch.ones(3))


def test_processes_agree_on_the_summary_of_all_points():
    # Uneven shards, as a distributed sampler leaves them.
    mine, theirs = (
        {2: spectra()[:70], 0: torch.tensor(1e6)},
        {2: spectra()[70:], 0: torch.tensor(1e7)},
    )
    metric = InvertibilityMetric(
        dist_sync_fn=lambda value, group: [value, theirs[value.ndim].to(value)],
        distributed_available_fn=lambda: True,
    )
    metric.update(mine[2], condition_limit=mine[0].item())
    expected = summary_in_numpy(spectra())
    found = {name: value.item() for name, value in metric.compute().items()}
    assert found == pytest.approx(expected, rel=1e-6)
