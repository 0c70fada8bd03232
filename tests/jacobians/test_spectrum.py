import numpy as np
import pytest
import torch
from torch import nn

from lightning_invert import analyze, batched_jacobian
from lightning_invert.callbacks import InvertibilityCallback
from lightning_invert.jacobians.spectrum import measure_spectrum
from tests.projects import Foreign, loader, quiet_trainer

OF_LARGE_MAPS = {"condition_histogram", "fragile_zones", "zone_map", "worst_points"}


@pytest.fixture
def _large_from_two(monkeypatch):
    monkeypatch.setattr("lightning_invert.jacobians.spectrum.MAX_SINGULAR_VALUES", 2)


def network(n=6, m=5):
    return nn.Sequential(nn.Linear(n, 20), nn.Tanh(), nn.Linear(20, m)).double()


STDS = (torch.tensor([1.0, 2, 3, 4, 5, 6]), torch.tensor([5.0, 4, 3, 2, 1]))


@pytest.mark.parametrize("stds", [None, STDS])
def test_spectra_and_directions_are_numpys_of_the_jacobian_in_these_units(stds):
    net, x = network(), torch.randn(9, 6, dtype=torch.float64)
    found = measure_spectrum(net, x, stds=stds, directions=True)
    jacobian = batched_jacobian(net, x).numpy()
    if stds is not None:
        jacobian = jacobian * stds[0].numpy() / stds[1].numpy()[:, None]
    u, sigma, vh = np.linalg.svd(jacobian, full_matrices=False)
    np.testing.assert_allclose(found.singular_values, sigma)
    np.testing.assert_allclose(np.abs((found.weakest.inputs.numpy() * vh[:, -1]).sum(1)), 1)
    np.testing.assert_allclose(np.abs((found.weakest.outputs.numpy() * u[:, :, -1]).sum(1)), 1)
    assert found.complete


@pytest.mark.usefixtures("_large_from_two")
@pytest.mark.parametrize("stds", [None, STDS])
def test_without_the_jacobian_the_same_is_found_where_the_space_is_exhausted(stds, monkeypatch):
    net, x = network(), torch.randn(9, 6, dtype=torch.float64)
    found = measure_spectrum(net, x, stds=stds, directions=True)
    assert found.complete
    monkeypatch.setattr("lightning_invert.jacobians.spectrum.MAX_SINGULAR_VALUES", 1000)
    expected = measure_spectrum(net, x, stds=stds, directions=True)
    torch.testing.assert_close(found.singular_values, expected.singular_values)
    for now, then in zip(found.weakest[1:], expected.weakest[1:], strict=True):
        torch.testing.assert_close((now * then).sum(1).abs(), torch.ones(9, dtype=torch.float64))


def test_units_in_float64_do_not_make_a_jacobian_in_float32_more_precise():
    net, x = network().float(), torch.randn(9, 6)
    stds = tuple(scale.double() for scale in STDS)
    assert measure_spectrum(net, x, stds=stds).condition_limit < 1e7


def test_chunks_change_nothing(monkeypatch):
    net, x = network(), torch.randn(9, 6, dtype=torch.float64)
    whole = measure_spectrum(net, x, directions=True)
    monkeypatch.setattr("lightning_invert.jacobians.spectrum.MAX_ENTRIES_AT_ONCE", 60)
    parts = measure_spectrum(net, x, directions=True)
    torch.testing.assert_close(parts.singular_values, whole.singular_values)
    torch.testing.assert_close(parts.weakest.outputs, whole.weakest.outputs)


def test_an_image_autoencoder_is_measured_without_its_jacobian():
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.SiLU(),
        nn.ConvTranspose2d(8, 3, 4, stride=2, padding=1),
    ).eval()
    found = measure_spectrum(net, torch.randn(2, 3, 64, 64))
    assert not found.complete
    assert found.shape == (12288, 12288)
    assert (found.extremes.largest_error < 1e-2 * found.extremes.largest).all()


def large(n=40):
    module = Foreign(n, n)
    module.encoder = nn.Sequential(nn.Linear(n, n), nn.Tanh(), nn.Linear(n, n))
    return module


@pytest.mark.usefixtures("_large_from_two")
def test_the_callback_logs_bounds_and_nothing_that_it_cannot_know(tmp_path, capsys):
    module = large()
    watch = InvertibilityCallback(figures=True, save_figures=tmp_path / "figures")
    trainer = quiet_trainer(tmp_path, callbacks=[watch])
    trainer.fit(module, loader(40, 40), loader(40, 40))
    logged = trainer.callback_metrics
    assert "invertibility/forward/effective_rank" not in logged
    x = torch.cat([x for x, _ in loader(40, 40)])
    sigma = np.linalg.svd(batched_jacobian(module.eval(), x).numpy(), compute_uv=False)
    exact = np.median(sigma[:, 0] / sigma[:, -1])
    assert 1 < logged["invertibility/forward/cond_median"] <= exact
    np.testing.assert_allclose(
        logged["invertibility/forward/sigma_max_median"], np.median(sigma[:, 0]), rtol=1e-4
    )
    text = capsys.readouterr().out
    assert "not shown to lose rank at any point (95th percentile of κ at least" in text
    names = {path.stem for path in (tmp_path / "figures").glob("*.png")}
    assert names == {f"forward_{name}" for name in OF_LARGE_MAPS}


@pytest.mark.usefixtures("_large_from_two")
def test_the_table_has_bounds_and_their_errors(tmp_path):
    import polars

    net, x = large().encoder, torch.randn(20, 40)
    found = analyze(net, x, table=tmp_path / "points.parquet", directions=True)
    table = polars.read_parquet(found.table)
    sigma = np.linalg.svd(batched_jacobian(net, x).numpy(), compute_uv=False)
    assert "sigma_1" not in table.columns
    np.testing.assert_allclose(table["sigma_max"], sigma[:, 0], rtol=1e-4)
    assert (table["sigma_min"].to_numpy() >= 0.999 * sigma[:, -1]).all()
    nearest = np.abs(sigma - table["sigma_min"].to_numpy()[:, None]).min(1)
    assert (nearest <= table["sigma_min_error"].to_numpy() + 1e-6).all()
    assert (table["rank_at_least"] == 32).all()
    assert "effective_rank" not in found.scalars
    assert set(found.figures()) == OF_LARGE_MAPS
