import numpy as np
import polars
import pytest
import torch
from torch import nn

from lightning_invert import analyze, batched_jacobian
from lightning_invert.callbacks import ConditioningEarlyStopping, InvertibilityCallback
from lightning_invert.jacobians.spectrum import measure_spectrum
from lightning_invert.watch.observation import observe
from lightning_invert.watch.resolution import resolve_maps
from tests.projects import Foreign, loader, quiet_trainer


@pytest.fixture
def _large_from_two(monkeypatch):
    monkeypatch.setattr("lightning_invert.jacobians.spectrum.MAX_SINGULAR_VALUES", 2)


def network(n=6, m=5):
    return nn.Sequential(nn.Linear(n, 20), nn.Tanh(), nn.Linear(20, m)).double()


STDS = (torch.tensor([1.0, 2, 3, 4, 5, 6]), torch.tensor([5.0, 4, 3, 2, 1]))


def jacobian_in_units(net, x, stds):
    jacobian = batched_jacobian(net, x).numpy()
    return jacobian if stds is None else jacobian * stds[0].numpy() / stds[1].numpy()[:, None]


@pytest.mark.parametrize("stds", [None, STDS])
def test_spectra_and_directions_are_numpys_of_the_jacobian_in_these_units(stds):
    net, x = network(), torch.randn(9, 6, dtype=torch.float64)
    found = measure_spectrum(net, x, stds=stds, directions=True)
    u, sigma, vh = np.linalg.svd(jacobian_in_units(net, x, stds), full_matrices=False)
    np.testing.assert_allclose(found.singular_values, sigma)
    np.testing.assert_allclose(np.abs((found.weakest.inputs.numpy() * vh[:, -1]).sum(1)), 1)
    np.testing.assert_allclose(np.abs((found.weakest.outputs.numpy() * u[:, :, -1]).sum(1)), 1)
    assert found.formed


@pytest.mark.usefixtures("_large_from_two")
@pytest.mark.parametrize("stds", [None, STDS])
def test_of_a_jacobian_that_is_not_formed_bounds_hold_in_these_units(stds):
    net, x = network(), torch.randn(9, 6, dtype=torch.float64)
    found = measure_spectrum(net, x, stds=stds)
    sigma = np.linalg.svd(jacobian_in_units(net, x, stds), compute_uv=False)
    assert not found.formed
    np.testing.assert_allclose(found.singular_values[:, 0], sigma[:, 0], rtol=1e-6)
    assert (found.probes.cond_lower_bound.numpy() <= sigma[:, 0] / sigma[:, -1] * 1.0001).all()
    torch.testing.assert_close(found.outputs, net(x).detach())


@pytest.mark.usefixtures("_large_from_two")
def test_a_context_stays_with_its_points_where_the_jacobian_is_not_formed(monkeypatch):
    monkeypatch.setattr("lightning_invert.jacobians.lanczos.MAX_NUMBERS_AT_ONCE", 1000)
    scale = torch.arange(1.0, 10.0, dtype=torch.float64)[:, None]
    x = torch.randn(9, 6, dtype=torch.float64)
    found = measure_spectrum(lambda x, c: x * c, x, context=[scale])
    torch.testing.assert_close(found.singular_values, scale)


def test_units_in_float64_do_not_make_a_jacobian_in_float32_more_precise():
    net, x = network().float(), torch.randn(9, 6)
    stds = tuple(scale.double() for scale in STDS)
    assert measure_spectrum(net, x, stds=stds).condition_limit < 1e7


def test_chunks_change_nothing(monkeypatch):
    net, x = network(), torch.randn(9, 6, dtype=torch.float64)
    whole = measure_spectrum(net, x, directions=True)
    monkeypatch.setattr("lightning_invert.jacobians.spectrum.MAX_ENTRIES", 60)
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
    assert not found.formed
    assert found.shape == (12288, 12288)
    assert (found.probes.sigma_max_error < 0.1 * found.probes.sigma_max).all()


def large(n=40):
    module = Foreign(n, n)
    module.encoder = nn.Sequential(nn.Linear(n, n), nn.Tanh(), nn.Linear(n, n))
    return module


NAMES = {
    "sigma_max_median",
    "log10_cond_lower_bound_median",
    "log10_cond_lower_bound_p95",
    "stable_rank_median",
    "stable_rank_error",
    "participation_ratio_median",
    "participation_ratio_error",
    "nonfinite_fraction",
}


@pytest.mark.usefixtures("_large_from_two")
def test_the_callback_logs_bounds_and_nothing_that_it_cannot_know(tmp_path, caplog):
    module = large()
    watch = InvertibilityCallback(max_work=None, figures=True, save_figures=tmp_path / "figures")
    trainer = quiet_trainer(tmp_path, callbacks=[watch], max_epochs=2)
    trainer.fit(module, loader(40, 40), loader(40, 40))
    logged = {
        k.rpartition("/")[2]: v for k, v in trainer.callback_metrics.items() if "/forward/" in k
    }
    assert set(logged) == NAMES
    x = torch.cat([x for x, _ in loader(40, 40)])
    sigma = np.linalg.svd(batched_jacobian(module.eval(), x).numpy(), compute_uv=False)
    exact = np.log10(np.median(sigma[:, 0] / sigma[:, -1]))
    assert 0 < logged["log10_cond_lower_bound_median"] <= exact
    np.testing.assert_allclose(logged["sigma_max_median"], np.median(sigma[:, 0]), rtol=1e-3)
    stable = np.median((sigma**2).sum(1) / sigma[:, 0] ** 2)
    assert abs(logged["stable_rank_median"] - stable) < 4 * logged["stable_rank_error"] + 0.05
    text = caplog.text
    assert "not formed" in text
    assert "Whether it has full rank is not known" in text
    assert not list((tmp_path / "figures").glob("*.png"))
    table = (tmp_path / "figures" / "forward_worst_points.csv").read_text()
    assert "cond_lower_bound,sigma_max" in table


def test_a_map_that_can_have_no_full_rank_is_not_said_to_have_it(tmp_path):
    # Its rank is at most 256 of 1200: 0.1 logged full rank 1.0 and a condition number of 378.
    net = nn.Sequential(nn.Linear(1200, 256), nn.Tanh(), nn.Linear(256, 1200))
    (watched,) = resolve_maps({"f": ""}, net)
    found = observe(watched, torch.randn(8, 1200))
    assert set(found.scalars) == NAMES
    assert found.scalars["stable_rank_median"] <= 256
    assert found.condition.isnan().all()


@pytest.mark.usefixtures("_large_from_two")
def test_an_early_stop_on_what_is_not_known_says_so_and_ends_no_fit(tmp_path):
    stop = ConditioningEarlyStopping("forward", stopping_threshold=2.0)
    callbacks = [InvertibilityCallback(max_work=None), stop]
    trainer = quiet_trainer(tmp_path, max_epochs=3, callbacks=callbacks)
    with pytest.warns(UserWarning, match="log10_cond_p95 of map 'forward' is not known") as caught:
        trainer.fit(large(), loader(40, 40), loader(40, 40))
    assert trainer.current_epoch == 3
    assert sum("is not known, so it cannot" in str(w.message) for w in caught) == 1


@pytest.mark.usefixtures("_large_from_two")
def test_the_table_has_bounds_and_their_errors(tmp_path):
    net, x = large().encoder, torch.randn(20, 40)
    found = analyze(net, x, table=tmp_path / "points.parquet")
    table = polars.read_parquet(found.table)
    sigma = np.linalg.svd(batched_jacobian(net, x).numpy(), compute_uv=False)
    assert not {"sigma_1", "rank", "condition_number", "band"} & set(table.columns)
    assert (table["sigma_max"].to_numpy() <= sigma[:, 0] * 1.0001).all()
    assert (table["cond_lower_bound"].to_numpy() <= sigma[:, 0] / sigma[:, -1] * 1.0001).all()
    assert set(found.scalars) == NAMES
    assert found.figures() == {}
