import copy
import pickle
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.demos.boring_classes import BoringModel, DemoModel
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.autograd.functional import jacobian as autograd_jacobian

from lightning_invert import ForwardInverseModule, LinearDecayAlpha, Thresholds
from lightning_invert.callbacks import InvertibilityCallback
from lightning_invert.watch.maps import MapError
from lightning_invert.watch.scalars import scalar_names
from tests.projects import Foreign, Smooth, loader, quiet_trainer
from tests.watch.reference import summary_in_numpy

SCALARS = scalar_names("spectrum")
ROOT = Path(__file__).parents[2]
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


def fit_foreign(folder, callback, module=None, **kwargs):
    trainer = quiet_trainer(folder, callbacks=[callback], **kwargs)
    trainer.fit(module or Foreign(), loader(), loader(rows=100))
    return trainer


def test_logged_numbers_equal_those_computed_point_by_point(tmp_path):
    callback, module = InvertibilityCallback(num_points=40), Foreign()
    trainer = fit_foreign(tmp_path, callback, module)
    (one,) = callback.observations
    expected = summary_in_numpy(spectra_point_by_point(module.eval(), one.inputs))
    del expected["unresolved_fraction"]
    for name, value in expected.items():
        found = trainer.callback_metrics[f"invertibility/forward/{name}"].item()
        assert found == pytest.approx(value, rel=1e-4), name


def test_logged_numbers_of_a_pair_equal_those_in_standardised_units(tmp_path):
    callback, module = InvertibilityCallback(num_points=40), ForwardInverseModule()
    trainer = quiet_trainer(tmp_path, callbacks=[callback])
    trainer.fit(module, datamodule=Smooth())
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


def test_event_files_hold_every_tag_at_the_step_of_the_users_own_curves(tmp_path):
    logger = TensorBoardLogger(tmp_path, name="", version="run")
    callback = InvertibilityCallback(num_points=32, figures=True, scalars="all")
    module = ForwardInverseModule(alpha=LinearDecayAlpha())
    trainer = quiet_trainer(tmp_path, max_epochs=3, logger=logger, callbacks=[callback])
    trainer.fit(module, datamodule=Smooth())  # 160 rows in batches of 16: 10 steps an epoch
    events = EventAccumulator(str(tmp_path / "run"), size_guidance={"images": 0, "histograms": 0})
    events.Reload()
    steps = [event.step for event in events.Scalars("val/loss")]
    assert steps == [9, 19, 29]  # Lightning counts steps from 0
    for name in ("forward", "inverse", "round_trip"):
        for scalar in SCALARS:
            found = events.Scalars(f"invertibility/{name}/{scalar}")
            assert [event.step for event in found] == steps, scalar
        for histogram in HISTOGRAMS:
            found = events.Histograms(f"invertibility/{name}/{histogram}")
            assert [event.step for event in found] == steps, histogram
        assert found[-1].histogram_value.num == 32 * min(len(module.input_names), 2)
        for figure in FIGURES:
            found = events.Images(f"invertibility/{name}/{figure}")
            assert [event.step for event in found] == steps, figure
    assert [e.step for e in events.Scalars("invertibility/round_trip/consistency_error")] == steps


def test_every_logger_gets_the_scalars(tmp_path):
    loggers = [TensorBoardLogger(tmp_path, name="tb"), CSVLogger(tmp_path, name="csv", version="")]
    fit_foreign(tmp_path, InvertibilityCallback(scalars="all"), logger=loggers)
    header = (tmp_path / "csv" / "metrics.csv").read_text().splitlines()[0]
    assert all(f"invertibility/forward/{scalar}" in header for scalar in SCALARS)


class DictBatch(Foreign):
    def step(self, batch):
        return nn.functional.mse_loss(self.encoder(batch["x"]), batch["y"])

    def validation_step(self, batch, batch_idx):
        pass


class ReturnsTuple(Foreign):
    def forward(self, x):
        code = self.encoder(x)
        return code, code.exp()

    def step(self, batch):
        return nn.functional.mse_loss(self(batch[0])[0], batch[1])


class Autoencoder(Foreign):
    def __init__(self):
        super().__init__()
        self.decoder = nn.Linear(3, 5)

    def step(self, batch):
        return nn.functional.mse_loss(self.decoder(self.encoder(batch[0])), batch[0])


class Dicts(torch.utils.data.Dataset):
    def __len__(self):
        return 64

    def __getitem__(self, index):
        return {"x": torch.randn(5), "y": torch.randn(3), "name": str(index)}


@pytest.mark.parametrize(
    ("module", "maps", "data", "shape"),
    [
        (BoringModel(), None, torch.utils.data.DataLoader(torch.randn(64, 32)), "32 → 2"),
        (DemoModel(), None, torch.utils.data.DataLoader(torch.randn(64, 32)), "32 → 10"),
        (Foreign(), None, loader(), "5 → 3"),
        (Autoencoder(), {"code": "encoder"}, loader(), "5 → 3"),
        (
            Autoencoder(),
            {"decode": {"module": "decoder", "input": lambda batch: batch[0][:, :3]}},
            loader(),
            "3 → 5",
        ),
        (
            DictBatch(),
            {"f": {"module": "encoder", "input": "x"}},
            torch.utils.data.DataLoader(Dicts(), batch_size=8),
            "5 → 3",
        ),
        (DictBatch(), None, torch.utils.data.DataLoader(Dicts(), batch_size=8), "5 → 3"),
        (ReturnsTuple(), {"f": {"output": 1}}, loader(), "5 → 3"),
    ],
    ids=["Boring", "Demo", "plain", "encoder", "decoder", "dict", "dict, unasked", "tuple"],
)
def test_it_is_dropped_into_modules_that_know_nothing_of_it(
    tmp_path, caplog, module, maps, data, shape
):
    if isinstance(module, DemoModel):
        module.validation_step = lambda batch, batch_idx: None
    trainer = quiet_trainer(tmp_path, callbacks=[InvertibilityCallback(maps, num_points=20)])
    trainer.fit(module, data, data)
    name = next(iter(maps)) if maps else "forward"
    assert {f"invertibility/{name}/{s}" for s in SCALARS} <= set(trainer.callback_metrics)
    assert shape in caplog.text


@pytest.mark.parametrize("stage", ["validate", "test"])
def test_it_works_outside_fit(tmp_path, caplog, stage):
    trainer = quiet_trainer(tmp_path, callbacks=[InvertibilityCallback()])
    (logged,) = getattr(trainer, stage)(Foreign(), loader(), verbose=False)
    prefix = "test/" if stage == "test" else ""
    assert f"{prefix}invertibility/forward/full_rank_fraction" in logged
    assert "right-invertible" in caplog.text


def test_end_of_fit_prints_a_table_with_a_verdict_for_each_map(tmp_path, caplog):
    trainer = quiet_trainer(tmp_path, callbacks=[InvertibilityCallback()])
    trainer.fit(ForwardInverseModule(), datamodule=Smooth())
    text = caplog.text
    assert "forward (standardized): locally right-invertible at" in text
    assert "inverse (standardized): locally left-invertible at" in text
    assert "round_trip (standardized): locally invertible at" in text


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


def test_a_nan_in_the_jacobian_is_counted_and_said_once_and_training_goes_on(tmp_path):
    class SometimesNaN(Foreign):
        def forward(self, x):
            return self.encoder(x) * torch.where(x[:, :1] > 0, torch.nan, 1.0)

        def step(self, batch):
            return self.encoder(batch[0]).square().sum()

    with pytest.warns(UserWarning, match="NaN or inf") as caught:
        trainer = fit_foreign(tmp_path, InvertibilityCallback(), SometimesNaN(), max_epochs=3)
    assert sum("NaN or inf" in str(warning.message) for warning in caught) == 1
    share = trainer.callback_metrics["invertibility/forward/nonfinite_fraction"]
    assert 0.3 < share < 0.7


def test_figures_auto_draws_a_short_fit_once_after_its_last_epoch(tmp_path):
    folder = tmp_path / "figures"
    callback = InvertibilityCallback(figures="auto", save_figures=folder)
    logger = TensorBoardLogger(tmp_path, name="", version="run")
    fit_foreign(tmp_path, callback, max_epochs=5, logger=logger)
    events = EventAccumulator(str(tmp_path / "run"), size_guidance={"images": 0}).Reload()
    drawn = events.Images("invertibility/forward/rank_histogram")
    assert [event.step for event in drawn] == [19]
    assert sorted(path.name for path in folder.glob("*.png")) == sorted(
        f"forward_{name}.png" for name in (*FIGURES, "evolution")
    )


def test_a_figure_that_fails_does_not_end_the_fit(tmp_path, monkeypatch):
    def broken(*_, **__):
        raise OSError("no ink")

    monkeypatch.setattr("lightning_invert.report.figures.map_figures", broken)
    callback = InvertibilityCallback(save_figures=tmp_path / "figures")
    with pytest.warns(UserWarning, match="could not draw its figures: OSError"):
        trainer = fit_foreign(tmp_path, callback, max_epochs=2)
    assert trainer.current_epoch == 2


def test_a_table_that_fails_does_not_end_the_fit(tmp_path, monkeypatch):
    def broken(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr("lightning_invert.report.display.to_csv", broken)
    callback = InvertibilityCallback(save_figures=tmp_path / "figures")
    with pytest.warns(UserWarning, match="could not write the worst points: OSError"):
        trainer = fit_foreign(tmp_path, callback, max_epochs=2)
    assert trainer.current_epoch == 2


def test_figures_can_be_switched_off(tmp_path):
    callback = InvertibilityCallback(figures=False, save_figures=tmp_path / "figures")
    fit_foreign(tmp_path, callback)
    assert not list((tmp_path / "figures").glob("*.png"))


def test_a_fit_without_validation_is_told_so(tmp_path):
    class NoValidation(Foreign):
        validation_step = LightningModule.validation_step

    trainer = quiet_trainer(tmp_path, callbacks=[InvertibilityCallback()])
    with pytest.warns(UserWarning, match="no validation loop: nothing will be watched"):
        trainer.fit(NoValidation(), loader())


def test_a_map_that_mixes_points_is_said_to_once_and_training_goes_on(tmp_path):
    class Centred(Foreign):
        def forward(self, x):
            code = self.encoder(x)
            return code - code.mean(0)

    with pytest.warns(UserWarning, match="mixes the points") as caught:
        trainer = fit_foreign(tmp_path, InvertibilityCallback(), Centred(), max_epochs=3)
    assert sum("mixes the points" in str(warning.message) for warning in caught) == 1
    assert trainer.current_epoch == 3


class Wrong(Foreign):
    def __init__(self, wrong):
        super().__init__()
        self.wrong = wrong

    def watched(self, x):
        return self.wrong(self.encoder(x))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (torch.sum, "one row for each"),
        (torch.detach, "carries a gradient"),
        (lambda y: (y > 0).float(), "operation that cannot be differentiated"),
        (lambda y: y.argmax(1), "output: .* dtype torch.int64"),
        (lambda y: (y, y), "output: .* returned a tuple .*'output'"),
    ],
)
@pytest.mark.parametrize("sanity_checks", [0, 2])
def test_a_named_map_that_cannot_be_watched_is_an_error_before_the_first_step(
    tmp_path, wrong, words, sanity_checks
):
    module = Wrong(wrong)
    watch = InvertibilityCallback(maps={"mine": module.watched})
    options = {"num_sanity_val_steps": sanity_checks, "check_val_every_n_epoch": 5, "max_epochs": 9}
    with pytest.raises(MapError, match=rf"InvertibilityCallback: map 'mine' .*{words}"):
        fit_foreign(tmp_path, watch, module, **options)
    assert module.trainer.global_step == 0


def test_a_default_map_that_cannot_be_watched_is_said_and_training_goes_on(tmp_path):
    class WithoutGradients(Foreign):
        def forward(self, x):
            with torch.no_grad():
                return self.encoder(x)

        def step(self, batch):
            return self.encoder(batch[0]).sum()

    with pytest.warns(UserWarning, match=r"(?s)torch\.no_grad.*The parts of a batch") as caught:
        trainer = fit_foreign(tmp_path, InvertibilityCallback(), WithoutGradients(), max_epochs=3)
    assert trainer.current_epoch == 3
    assert sum("not clear what to watch" in str(w.message) for w in caught) == 1


def test_batches_of_training_may_be_of_another_form_than_those_that_are_watched(tmp_path):
    module = Foreign()
    module.training_step = lambda batch, batch_idx: module(batch["features"]).square().sum()
    rows = [{"features": torch.randn(5)} for _ in range(12)]
    training = torch.utils.data.DataLoader(rows, batch_size=4)
    watch = InvertibilityCallback({"f": {"module": "encoder", "input": 0}})
    trainer = quiet_trainer(tmp_path, callbacks=[watch], num_sanity_val_steps=0)
    trainer.fit(module, training, loader())
    assert "invertibility/f/full_rank_fraction" in trainer.callback_metrics


class FailsLater(Foreign):
    """Its forward raises from an epoch on, but only where it is watched."""

    def __init__(self, error, epoch=2):
        super().__init__()
        self.error, self.epoch = error, epoch

    def watched(self, x):
        if self.trainer.current_epoch == self.epoch and not self.trainer.sanity_checking:
            raise self.error
        return self.encoder(x)


LATER = [
    torch.OutOfMemoryError("no room"),
    torch.linalg.LinAlgError("did not converge"),
    RuntimeError("another shape"),
    KeyError("x"),
    NotImplementedError("not yet"),
]


@pytest.mark.parametrize("error", LATER, ids=lambda error: type(error).__name__)
def test_what_fails_later_is_said_once_and_that_look_is_missing(tmp_path, error):
    module = FailsLater(error)
    maps = {"fails": module.watched, "works": "encoder"}
    watch = InvertibilityCallback(maps, figures=False)
    words = f"(?s)InvertibilityCallback: map 'fails' .*{type(error).__name__}.*training goes on"
    with pytest.warns(UserWarning, match=words) as caught:
        trainer = fit_foreign(tmp_path, watch, module, max_epochs=4)
    assert trainer.current_epoch == 4
    assert sum("cannot be watched" in str(w.message) for w in caught) == 1
    assert [look["epoch"] for look in watch.history["fails"]] == [0, 1, 3]
    assert [look["epoch"] for look in watch.history["works"]] == [0, 1, 2, 3]


def test_what_fails_later_is_raised_where_that_was_asked_for(tmp_path):
    module = FailsLater(torch.OutOfMemoryError("no room"))
    watch = InvertibilityCallback({"f": module.watched}, on_error="raise", figures=False)
    with pytest.raises(MapError, match=r"map 'f' .*OutOfMemoryError: no room"):
        fit_foreign(tmp_path, watch, module, max_epochs=4)


def test_a_batch_of_another_shape_in_a_later_epoch_is_said_and_training_goes_on(tmp_path):
    class Growing(torch.utils.data.IterableDataset):
        epoch = 0

        def __iter__(self):
            type(self).epoch += 1
            for i in range(2):
                yield torch.randn(4, 5 if self.epoch != 3 else 5 + i), torch.randn(4, 3)

    class Tolerant(Foreign):
        def validation_step(self, batch, batch_idx):
            pass

    watch = InvertibilityCallback({"f": "encoder"}, figures=False)
    trainer = quiet_trainer(tmp_path, callbacks=[watch], max_epochs=4)
    with pytest.warns(UserWarning, match="same shape in every batch"):
        trainer.fit(Tolerant(), loader(), torch.utils.data.DataLoader(Growing(), batch_size=None))
    assert trainer.current_epoch == 4
    assert len(watch.history["f"]) == 3


def test_the_sanity_check_looks_at_two_points(tmp_path):
    sizes = []

    class Counts(Foreign):
        def watched(self, x):
            if self.trainer.sanity_checking:
                sizes.append(len(x))
            return self.encoder(x)

    module = Counts()
    fit_foreign(tmp_path, InvertibilityCallback({"f": module.watched}, num_points=64), module)
    assert max(sizes) <= 2


def test_dropout_that_stays_on_is_noticed_and_said_once(tmp_path):
    class Stays(Foreign):
        def forward(self, x):
            return nn.functional.dropout(self.encoder(x), 0.5, training=True)

    with pytest.warns(UserWarning, match="gives another output each time") as caught:
        fit_foreign(tmp_path, InvertibilityCallback(), Stays(), max_epochs=3)
    assert sum("another output" in str(w.message) for w in caught) == 1


def test_weights_that_are_nan_are_reported_as_the_worst_there_is_and_do_not_end_the_fit(tmp_path):
    module = Foreign()
    with torch.no_grad():
        module.encoder[0].weight.fill_(torch.nan)
    watch = InvertibilityCallback(figures=True, save_figures=tmp_path / "figures")
    with pytest.warns(UserWarning, match=r"NaN or inf at 100\.0% of the watched points"):
        trainer = fit_foreign(tmp_path, watch, module, max_epochs=2)
    logged = trainer.callback_metrics
    assert logged["invertibility/forward/nonfinite_fraction"] == 1
    assert logged["invertibility/forward/full_rank_fraction"] == 0
    assert logged["invertibility/forward/log10_cond_p95"] == 16


def test_fewer_points_than_asked_are_used_and_said_once(tmp_path, caplog):
    with caplog.at_level("INFO"):
        fit_foreign(tmp_path, InvertibilityCallback(num_points=101), max_epochs=3)
    assert caplog.text.count("there are only 100 points, fewer than num_points=101") == 1


def test_a_wrong_map_is_reported_before_training_starts(tmp_path):
    module = Foreign()
    before = copy.deepcopy(module.state_dict())
    with pytest.raises(ValueError, match=r"'decoder'.*encoder"):
        fit_foreign(tmp_path, InvertibilityCallback({"f": "decoder"}), module)
    assert all(torch.equal(before[k], v) for k, v in module.state_dict().items())


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


def test_it_can_be_pickled_after_a_fit(tmp_path):
    callback = InvertibilityCallback(num_points=16)
    fit_foreign(tmp_path, callback, max_epochs=2)
    again = pickle.loads(pickle.dumps(callback))
    assert again.history == callback.history
    fit_foreign(tmp_path, again)
    assert len(again.history["forward"]) == 1


def test_a_fit_that_never_validates_is_told_so(tmp_path):
    with pytest.warns(UserWarning, match="never validates.*=5 is more than max_epochs=2"):
        fit_foreign(tmp_path, InvertibilityCallback(), max_epochs=2, check_val_every_n_epoch=5)


def test_a_first_look_that_takes_much_of_an_epoch_is_said(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("lightning_invert.callbacks.invertibility.MUCH_SECONDS", 0.0)
    monkeypatch.setattr("lightning_invert.callbacks.invertibility.MUCH_OF_AN_EPOCH", 0.0)
    fit_foreign(tmp_path, InvertibilityCallback(), max_epochs=3)
    assert caplog.text.count("the first look took") == 1


class Stream(torch.utils.data.IterableDataset):
    """One that goes on where it was left."""

    def __init__(self):
        self.rows = iter(torch.randn(1000, 5, generator=torch.Generator().manual_seed(0)))

    def __iter__(self):
        for _ in range(4):
            yield torch.stack([next(self.rows) for _ in range(4)]), torch.zeros(4, 3)


def test_a_stream_of_validation_is_not_drawn_from_to_try_a_map(tmp_path):
    def logged(callbacks):
        torch.manual_seed(0)
        module = Foreign()
        module.training_step = lambda batch, batch_idx: module(batch["features"]).square().sum()
        rows = [{"features": torch.randn(5)} for _ in range(12)]
        training = torch.utils.data.DataLoader(rows, batch_size=4)
        validation = torch.utils.data.DataLoader(Stream(), batch_size=None)
        trainer = quiet_trainer(tmp_path, callbacks=callbacks, num_sanity_val_steps=0)
        trainer.fit(module, training, validation)
        return trainer.callback_metrics["val_loss"], trainer.global_step

    watch = InvertibilityCallback({"f": {"module": "encoder", "input": 0}}, figures=False)
    assert logged([watch]) == logged([])
    assert len(watch.history["f"]) == 1


def test_names_of_maps_are_texts(tmp_path):
    with pytest.raises(TypeError, match="names in argument `maps` to be texts"):
        fit_foreign(tmp_path, InvertibilityCallback({1: "encoder"}))
