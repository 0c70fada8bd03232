import copy
import pickle
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch import nn

from lightning_invert import ForwardInverseModule, LinearDecayAlpha
from lightning_invert.callbacks import InvertibilityCallback
from lightning_invert.watch.scalars import scalar_names
from tests.events import events_of
from tests.projects import Foreign, Smooth, fit_project, loader, quiet_trainer
from tests.scripts import run_script
from tests.watch.reference import jacobians_point_by_point, spectra_point_by_point, summary_in_numpy

FIGURES = (
    "rank_histogram",
    "condition_histogram",
    "singular_spectrum",
    "fragile_zones",
    "zone_map",
    "worst_points",
)


def assert_logged(trainer, name, expected):
    logged = {k: trainer.callback_metrics[f"invertibility/{name}/{k}"].item() for k in expected}
    assert logged == pytest.approx(expected, rel=1e-3)


def test_logged_numbers_equal_those_computed_point_by_point(tmp_path):
    watch, module = InvertibilityCallback(num_points=40), Foreign()
    trainer = fit_project(tmp_path, watch, module=module)
    (observation,) = watch.observations
    sigma = spectra_point_by_point(module.eval(), observation.inputs)
    assert_logged(trainer, "forward", summary_in_numpy(sigma))


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fitted")
    torch.manual_seed(0)
    watch = InvertibilityCallback(num_points=40, figures=True, save_figures=True, scalars="all")
    loggers = [TensorBoardLogger(folder, "tb", ""), CSVLogger(folder, "csv", "")]
    module, data = ForwardInverseModule(alpha=LinearDecayAlpha()), (Smooth(),)
    trainer = fit_project(folder, watch, module=module, data=data, max_epochs=2, logger=loggers)
    return SimpleNamespace(folder=folder, module=module, trainer=trainer, watch=watch)


@pytest.mark.slow
def test_logged_numbers_of_a_pair_equal_those_in_standardised_units(fitted):
    module, trainer = fitted.module.eval(), fitted.trainer
    points = {observation.name: observation.inputs for observation in fitted.watch.observations}
    f, i = module.forward_net, module.inverse_net
    for name, function, scale in (
        ("forward", f, module.scale_x),
        ("inverse", i, module.scale_y),
        ("round_trip", lambda v: f(i(v)), module.scale_y),
    ):
        standard = scale(points[name]).float()
        sigma = spectra_point_by_point(function, standard)
        assert_logged(trainer, name, summary_in_numpy(sigma))
    v = module.scale_y(points["round_trip"]).float()
    off = jacobians_point_by_point(lambda v: f(i(v)), v) - np.eye(2)
    expected = {
        "jacobian_consistency_error": np.sqrt((off**2).sum((1, 2)).mean() / 2),
        "consistency_error": (f(i(v)) - v).square().mean().sqrt().item(),
    }
    assert_logged(trainer, "round_trip", expected)


def test_every_logger_holds_every_tag_at_the_step_of_the_users_own_curves(fitted):
    events = events_of(fitted.folder / "tb")
    header = (fitted.folder / "csv" / "metrics.csv").read_text().splitlines()[0]
    steps = [event.step for event in events.Scalars("val/loss")]
    assert steps == [9, 19]  # 160 rows in batches of 16; Lightning counts steps from 0
    for name in ("forward", "inverse", "round_trip"):
        more = scalar_names("round_trip") if name == "round_trip" else []
        for scalar in (*scalar_names("spectrum"), *more):
            tag = f"invertibility/{name}/{scalar}"
            assert [event.step for event in events.Scalars(tag)] == steps, tag
            assert tag in header
        for histogram in ("rank", "log10_cond", "sigma"):
            found = events.Histograms(f"invertibility_histograms/{name}/{histogram}")
            assert [event.step for event in found] == steps, histogram
        assert found[-1].histogram_value.num == 40 * 2
        for figure in FIGURES:
            found = events.Images(f"invertibility_figures/{name}/{figure}")
            assert [event.step for event in found] == steps, figure
            assert list(fitted.folder.rglob(f"{name}_{figure}.png"))


def test_end_of_fit_sums_up_with_a_verdict_for_each_map(tmp_path, caplog):
    module, data = ForwardInverseModule(), (Smooth(),)
    fit_project(tmp_path, InvertibilityCallback(), module=module, data=data)
    kinds = {
        "forward": "right-invertible",
        "inverse": "left-invertible",
        "round_trip": "invertible",
    }
    for name, kind in kinds.items():
        assert re.search(rf"\n{name} \(standardized\): .* \(locally {kind}\)", caplog.text)


@pytest.mark.parametrize("figures", ["auto", "all", False])
def test_figures_draws_a_short_fit_once_after_its_last_epoch(tmp_path, figures):
    folder = tmp_path / "figures"
    watch = InvertibilityCallback(figures=figures, save_figures=folder)
    logger = TensorBoardLogger(tmp_path, name="", version="run")
    fit_project(tmp_path, watch, max_epochs=5, logger=logger)
    events = events_of(tmp_path / "run")
    if figures is False:
        assert not events.Tags()["images"]
        assert not list(folder.glob("*.png"))
        return
    drawn = events.Images("invertibility_figures/forward/fragile_zones")
    assert [event.step for event in drawn] == [19]
    expected = {"evolution", "fragile_zones", *(FIGURES if figures == "all" else ())}
    assert {path.name for path in folder.glob("*.png")} == {f"forward_{f}.png" for f in expected}


@pytest.mark.parametrize("stage", ["validate", "test"])
def test_it_works_outside_fit(tmp_path, caplog, stage):
    trainer = quiet_trainer(tmp_path, callbacks=[InvertibilityCallback()])
    (logged,) = getattr(trainer, stage)(Foreign(), loader(), verbose=False)
    assert "invertibility/forward/full_rank_fraction" in {k.removeprefix("test/") for k in logged}
    assert "right-invertible" in caplog.text


def test_a_pair_without_statistics_is_judged_in_its_own_units(tmp_path, caplog):
    pair = ForwardInverseModule(nn.Linear(5, 3), nn.Linear(3, 5))
    quiet_trainer(tmp_path, callbacks=[InvertibilityCallback()]).validate(pair, loader())
    assert "forward (physical)" in caplog.text


def test_scale_and_precision_overrule_those_of_the_module(tmp_path):
    watch = InvertibilityCallback(scale="standardized", precision="float64", num_points=100)
    module = Foreign()
    quiet_trainer(tmp_path, callbacks=[watch]).validate(module, loader(), verbose=False)
    (observation,) = watch.observations
    x = observation.inputs.double()
    jacobians = jacobians_point_by_point(module.eval().double(), x)
    spread = np.std(observation.outputs.double().numpy(), 0, ddof=1)
    expected = np.linalg.svd(jacobians * x.numpy().std(0, ddof=1) / spread[:, None])[1]
    np.testing.assert_allclose(observation.singular_values, expected, rtol=1e-9)


def test_the_sanity_check_looks_at_few_points(tmp_path, capfd):
    class Counts(Foreign):
        def watched(self, x):
            if self.trainer.sanity_checking:
                print("points:", len(x))  # what it keeps is put back
            return self.encoder(x)

    module = Counts()
    watch = InvertibilityCallback({"f": module.watched}, num_points=64)
    fit_project(tmp_path, watch, module=module)
    sizes = re.findall(r"points: (\d+)", capfd.readouterr().out)
    assert max(map(int, sizes)) <= 4  # two points, and a copy of one or the other


def test_fewer_points_than_asked_are_used_and_said_once(tmp_path, caplog):
    with caplog.at_level("INFO"):
        fit_project(tmp_path, InvertibilityCallback(num_points=101), max_epochs=3)
    assert caplog.text.count("there are only 100 points, fewer than num_points=101") == 1


@pytest.mark.slow
def test_it_serves_a_project_that_uses_pytorch_lightning(tmp_path):
    project = """
        import pytorch_lightning as pl, torch
        from pytorch_lightning.demos.boring_classes import BoringModel
        from pytorch_lightning.cli import LightningCLI
        from lightning_invert.callbacks import ConditioningEarlyStopping, InvertibilityCallback

        logger = pl.loggers.TensorBoardLogger(".")
        stop = ConditioningEarlyStopping(stopping_threshold=16.0, patience=2)
        trainer = pl.Trainer(
            accelerator="cpu", max_epochs=5, logger=logger, callbacks=[InvertibilityCallback(), stop],
            enable_progress_bar=False, limit_val_batches=8, limit_train_batches=2,
        )
        trainer.fit(BoringModel())
        assert "invertibility/forward/full_rank_fraction" in trainer.callback_metrics
        assert stop.stopped_epoch == 1, stop.stopped_epoch
        cli = LightningCLI(BoringModel, run=False, args=[
            "--trainer.callbacks+=lightning_invert.callbacks.InvertibilityCallback",
            "--trainer.callbacks.num_points=16", "--trainer.logger=false",
        ])
        assert any(isinstance(c, InvertibilityCallback) for c in cli.trainer.callbacks)
    """
    assert "right-invertible" in run_script(tmp_path, project)
    events = events_of(next(tmp_path.glob("lightning_logs/version_*")))
    assert "invertibility_histograms/forward/rank" in events.Tags()["histograms"]


def test_it_can_be_pickled_after_a_fit_and_in_the_midst_of_a_look(tmp_path):
    class Copying(Callback):
        def on_validation_batch_end(self, *_):
            copies[:] = pickle.loads(pickle.dumps(watch)), copy.deepcopy(watch)

    module, copies = Foreign(), []
    module.cannot_be_pickled = lambda: None
    watch = InvertibilityCallback(num_points=16)
    fit_project(tmp_path, watch, Copying(), module=module, max_epochs=2)
    for again in (pickle.loads(pickle.dumps(watch)), *copies):
        assert again.history["forward"][0] == watch.history["forward"][0]
        fit_project(tmp_path, again)
        assert len(again.history["forward"]) == 1


def test_a_first_look_that_takes_much_of_an_epoch_is_said(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("lightning_invert.callbacks.invertibility.MUCH_SECONDS", 0.0)
    monkeypatch.setattr("lightning_invert.callbacks.invertibility.MUCH_OF_AN_EPOCH", 0.0)
    fit_project(tmp_path, InvertibilityCallback(), max_epochs=3)
    assert caplog.text.count("the first look took") == 1
