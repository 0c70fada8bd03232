"""What is logged and shown, of whatever is watched."""

import pickle
import subprocess
import sys
import textwrap
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.autograd.functional import jacobian as autograd_jacobian

from lightning_invert import ForwardInverseModule, LinearDecayAlpha, Thresholds
from lightning_invert.callbacks import InvertibilityCallback
from lightning_invert.watch.scalars import scalar_names
from tests.callbacks.fits import fit_foreign
from tests.projects import Foreign, Smooth, loader, quiet_trainer
from tests.watch.reference import summary_in_numpy

SCALARS = scalar_names("spectrum")

HISTOGRAMS = ("rank", "log10_cond", "sigma")

FIGURES = (
    "rank_histogram",
    "condition_histogram",
    "singular_spectrum",
    "fragile_zones",
    "zone_map",
    "worst_points",
)


def spectra_point_by_point(function, points):
    """The reference: autograd's Jacobian of each point alone, and NumPy's SVD in float64."""
    return np.stack(
        [
            np.linalg.svd(
                autograd_jacobian(lambda x: function(x[None])[0], x).double().numpy(),
                compute_uv=False,
            )
            for x in points
        ]
    )


def test_logged_numbers_equal_those_computed_point_by_point(tmp_path):
    callback, module = InvertibilityCallback(num_points=40), Foreign()
    trainer = fit_foreign(tmp_path, callback, module)
    (one,) = callback.observations
    expected = summary_in_numpy(spectra_point_by_point(module.eval(), one.inputs))
    del expected["unresolved_fraction"]
    for name, value in expected.items():
        found = trainer.callback_metrics[f"invertibility/forward/{name}"].item()
        assert found == pytest.approx(value, rel=1e-4), name


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A pair that was fitted with everything that can be shown."""
    folder = tmp_path_factory.mktemp("fitted")
    torch.manual_seed(0)
    watch = InvertibilityCallback(num_points=40, figures=True, save_figures=True, scalars="all")
    loggers = [TensorBoardLogger(folder, "tb", ""), CSVLogger(folder, "csv", "")]
    trainer = quiet_trainer(folder, max_epochs=2, logger=loggers, callbacks=[watch])
    trainer.fit(module := ForwardInverseModule(alpha=LinearDecayAlpha()), datamodule=Smooth())
    return SimpleNamespace(folder=folder, module=module, trainer=trainer, watch=watch)


def test_logged_numbers_of_a_pair_equal_those_in_standardised_units(fitted):
    callback, module, trainer = fitted.watch, fitted.module, fitted.trainer
    module.eval()
    points = {one.name: one.inputs for one in callback.observations}
    f, i = module.forward_net, module.inverse_net
    for name, function, scale in (
        ("forward", f, module.scale_x),
        ("inverse", i, module.scale_y),
        ("round_trip", lambda v: f(i(v)), module.scale_y),
    ):
        standard = scale(points[name]).float()
        expected = summary_in_numpy(spectra_point_by_point(function, standard))
        del expected["unresolved_fraction"]
        for scalar, value in expected.items():
            found = trainer.callback_metrics[f"invertibility/{name}/{scalar}"].item()
            assert found == pytest.approx(value, rel=1e-3), (name, scalar)
    v = module.scale_y(points["round_trip"]).float()
    slopes = [autograd_jacobian(lambda row: f(i(row[None]))[0], row) for row in v]
    off = (torch.stack(slopes) - torch.eye(2)).square().sum((1, 2)).mean() / 2
    assert trainer.callback_metrics[
        "invertibility/round_trip/jacobian_consistency_error"
    ].item() == pytest.approx(off.sqrt().item(), rel=1e-4)
    error = (f(i(v)) - v).square().mean().sqrt().item()
    assert trainer.callback_metrics[
        "invertibility/round_trip/consistency_error"
    ].item() == pytest.approx(error, rel=1e-4)


def test_every_logger_holds_every_tag_at_the_step_of_the_users_own_curves(fitted):
    size = {"images": 0, "histograms": 0}
    events = EventAccumulator(str(fitted.folder / "tb"), size_guidance=size).Reload()
    header = (fitted.folder / "csv" / "metrics.csv").read_text().splitlines()[0]
    steps = [event.step for event in events.Scalars("val/loss")]
    assert steps == [9, 19]  # 160 rows in batches of 16; Lightning counts steps from 0
    for name in ("forward", "inverse", "round_trip"):
        more = scalar_names("round_trip") if name == "round_trip" else []
        for scalar in (*SCALARS, *more):
            tag = f"invertibility/{name}/{scalar}"
            assert [event.step for event in events.Scalars(tag)] == steps, tag
            assert tag in header
        for histogram in HISTOGRAMS:
            found = events.Histograms(f"invertibility/{name}/{histogram}")
            assert [event.step for event in found] == steps, histogram
        assert found[-1].histogram_value.num == 40 * 2
        for figure in FIGURES:
            found = events.Images(f"invertibility/{name}/{figure}")
            assert [event.step for event in found] == steps, figure
            assert list(fitted.folder.rglob(f"{name}_{figure}.png"))


def test_end_of_fit_sums_up_with_a_verdict_for_each_map(tmp_path, caplog):
    trainer = quiet_trainer(tmp_path, callbacks=[InvertibilityCallback()])
    trainer.fit(ForwardInverseModule(), datamodule=Smooth())
    for verdict in (
        "forward (standardized): locally right-invertible at",
        "inverse (standardized): locally left-invertible at",
        "round_trip (standardized): locally invertible at",
    ):
        assert verdict in caplog.text


@pytest.mark.parametrize("figures", ["auto", False])
def test_figures_auto_draws_a_short_fit_once_after_its_last_epoch(tmp_path, figures):
    folder = tmp_path / "figures"
    callback = InvertibilityCallback(figures=figures, save_figures=folder)
    logger = TensorBoardLogger(tmp_path, name="", version="run")
    fit_foreign(tmp_path, callback, max_epochs=5, logger=logger)
    events = EventAccumulator(str(tmp_path / "run"), size_guidance={"images": 0}).Reload()
    if figures is False:
        assert not events.Tags()["images"]
        assert not list(folder.glob("*.png"))
        return
    drawn = events.Images("invertibility/forward/rank_histogram")
    assert [event.step for event in drawn] == [19]
    assert sorted(path.name for path in folder.glob("*.png")) == sorted(
        f"forward_{name}.png" for name in (*FIGURES, "evolution")
    )


@pytest.mark.parametrize("stage", ["validate", "test"])
def test_it_works_outside_fit(tmp_path, caplog, stage):
    trainer = quiet_trainer(tmp_path, callbacks=[InvertibilityCallback()])
    (logged,) = getattr(trainer, stage)(Foreign(), loader(), verbose=False)
    prefix = "test/" if stage == "test" else ""
    assert f"{prefix}invertibility/forward/full_rank_fraction" in logged
    assert "right-invertible" in caplog.text


def test_a_pair_without_statistics_is_judged_in_its_own_units(tmp_path, caplog):
    pair = ForwardInverseModule(nn.Linear(5, 3), nn.Linear(3, 5))
    quiet_trainer(tmp_path, callbacks=[InvertibilityCallback()]).validate(pair, loader())
    assert "forward (physical)" in caplog.text


def test_early_stopping_and_checkpoints_can_monitor_it(tmp_path):
    name = "invertibility/forward/log10_cond_p95"
    stop = EarlyStopping(name, patience=1, min_delta=1e9)
    keep = ModelCheckpoint(tmp_path, monitor=name, filename="best")
    trainer = quiet_trainer(
        tmp_path,
        max_epochs=50,
        callbacks=[InvertibilityCallback(), stop, keep],
        enable_checkpointing=True,
    )
    trainer.fit(Foreign(), loader(), loader())
    assert trainer.current_epoch < 5
    assert keep.best_model_score.isfinite()


def test_every_third_validation_and_the_last_are_watched(tmp_path):
    callback = InvertibilityCallback(every_n_validations=3)
    fit_foreign(tmp_path, callback, max_epochs=9)
    assert [look["epoch"] for look in callback.history["forward"]] == [0, 3, 6, 8]


def test_float64_tells_more_than_the_module_s_own_precision(tmp_path):
    class Collapsed(Foreign):
        """A map whose last singular value drowns in float32."""

        def forward(self, x):
            return torch.cat([x[:, :1] * 1e-9 + x[:, 1:2], x[:, 1:2]], dim=1)

        def training_step(self, batch, batch_idx):
            return super().training_step((batch[0], batch[1][:, :2]), batch_idx)

        def step(self, batch):
            return self.encoder(batch[0]).sum()

    def share(precision):
        callback = InvertibilityCallback(precision=precision, thresholds=Thresholds(rank_atol=0.0))
        trainer = fit_foreign(tmp_path, callback, Collapsed())
        return trainer.callback_metrics["invertibility/forward/unresolved_fraction"].item()

    assert share("native") == 1
    assert share("float64") == 0


def test_scale_by_the_spread_of_the_points_makes_units_irrelevant(tmp_path):
    class InOtherUnits(Foreign):
        def forward(self, x):
            return self.encoder(x) * torch.tensor([1e3, 1.0, 1e-3])

    def median(module, **kwargs):
        callback = InvertibilityCallback(num_points=100, **kwargs)
        trainer = quiet_trainer(tmp_path, callbacks=[callback])
        (logged,) = trainer.validate(module, loader(), verbose=False)
        return logged["invertibility/forward/cond_median"]

    torch.manual_seed(0)
    one = Foreign()
    other = InOtherUnits()
    other.load_state_dict(one.state_dict())
    assert median(other) > 50 * median(one)
    assert median(other, scale="standardized") == pytest.approx(
        median(one, scale="standardized"), rel=1e-3
    )


def test_the_sanity_check_looks_at_few_points(tmp_path):
    sizes = []

    class Counts(Foreign):
        def watched(self, x):
            if self.trainer.sanity_checking:
                sizes.append(len(x))
            return self.encoder(x)

    module = Counts()
    fit_foreign(tmp_path, InvertibilityCallback({"f": module.watched}, num_points=64), module)
    assert max(sizes) <= 4  # two points, and a copy of one or the other


def test_fewer_points_than_asked_are_used_and_said_once(tmp_path, caplog):
    with caplog.at_level("INFO"):
        fit_foreign(tmp_path, InvertibilityCallback(num_points=101), max_epochs=3)
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
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(project)],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "right-invertible" in done.stderr
    events = EventAccumulator(str(next(tmp_path.glob("lightning_logs/version_*"))))
    events.Reload()
    assert "invertibility/forward/rank" in events.Tags()["histograms"]


def test_it_can_be_pickled_after_a_fit_and_in_the_midst_of_a_look(tmp_path):
    class Copying(Callback):
        def on_validation_batch_end(self, *_):
            copies.append(pickle.loads(pickle.dumps(callback)))

    module, copies = Foreign(), []
    module.cannot_be_pickled = lambda: None
    callback = InvertibilityCallback(num_points=16)
    trainer = quiet_trainer(tmp_path, max_epochs=2, callbacks=[callback, Copying()])
    trainer.fit(module, loader(), loader())
    for again in (pickle.loads(pickle.dumps(callback)), copies[-1]):
        assert again.history["forward"][0] == callback.history["forward"][0]
        fit_foreign(tmp_path, again)
        assert len(again.history["forward"]) == 1


def test_a_first_look_that_takes_much_of_an_epoch_is_said(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("lightning_invert.callbacks.invertibility.MUCH_SECONDS", 0.0)
    monkeypatch.setattr("lightning_invert.callbacks.invertibility.MUCH_OF_AN_EPOCH", 0.0)
    fit_foreign(tmp_path, InvertibilityCallback(), max_epochs=3)
    assert caplog.text.count("the first look took") == 1
