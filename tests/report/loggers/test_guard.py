"""What shows things may fail: it is said once for each logger and kind, and the fit goes on."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_invert import ForwardInverseModule
from lightning_invert.callbacks import ConditioningEarlyStopping, InvertibilityCallback
from lightning_invert.report.loggers.tensorboard import TensorBoardGallery
from tests.projects import Foreign, Smooth, loader, quiet_trainer

KINDS = {
    "scalars": "scalars",
    "histogram": "histograms",
    "image": "figures",
    "table": "the table of the worst points",
    "declare": "the scalars in its table of hyperparameters",
    "layout": "its arrangement of charts",
}


def two_loggers(folder):
    return [TensorBoardLogger(folder, name, version="") for name in ("broken", "sound")]


def fit(folder, *, loggers=False, callbacks=(), epochs=3, **options):
    watch = InvertibilityCallback(**{"num_points": 16, "figures": "auto", **options})
    trainer = quiet_trainer(
        folder, max_epochs=epochs, logger=loggers, callbacks=[watch, *callbacks]
    )
    trainer.fit(ForwardInverseModule(), datamodule=Smooth())
    return trainer


def break_kinds(monkeypatch, kinds):
    """Let the logger that is called broken fail to show these."""

    def replace(kind):
        method = getattr(TensorBoardGallery, f"_{kind}")

        def broken(self, *args):
            if self.logger.name == "broken":
                raise OSError(28, "No space left on device")
            method(self, *args)

        monkeypatch.setattr(TensorBoardGallery, f"_{kind}", broken)

    for kind in kinds:
        replace(kind)


def events(folder):
    return EventAccumulator(str(folder), size_guidance={"tensors": 0, "histograms": 0}).Reload()


@pytest.mark.slow
def test_a_logger_that_fails_is_said_once_and_the_other_gets_all(tmp_path, monkeypatch):
    break_kinds(monkeypatch, KINDS)
    with pytest.warns(UserWarning, match="could not show") as caught:
        trainer = fit(tmp_path, loggers=two_loggers(tmp_path), figures=True)
    messages = [str(w.message) for w in caught if "could not" in str(w.message)]
    assert sorted(messages) == sorted(
        f"InvertibilityCallback: TensorBoardLogger could not show {what}: "
        "OSError(28, 'No space left on device'). Training goes on; this is said once."
        for what in KINDS.values()
    )
    assert trainer.current_epoch == 3
    sound = events(tmp_path / "sound")
    tag = "invertibility/forward/full_rank_fraction"
    assert [e.step for e in sound.Scalars(tag)] == [9, 19, 29]
    assert len(sound.Histograms("invertibility/forward/sigma")) == 3
    assert len(sound.Images("invertibility/forward/zone_map")) == 3
    assert sound.Tensors("custom_scalars__config__")
    assert "hparams" in sound.summary_metadata["_hparams_/experiment"].plugin_data.plugin_name
    assert "invertibility" not in str(events(tmp_path / "broken").Tags())


def test_two_loggers_that_fail_are_both_said_and_show_what_does_not_fail(tmp_path, monkeypatch):
    monkeypatch.setattr(TensorBoardGallery, "_layout", lambda self, charts: 1 / 0)
    with pytest.warns(UserWarning, match="could not show its arrangement of charts") as caught:
        fit(tmp_path, loggers=two_loggers(tmp_path), epochs=1, figures=False)
    assert sum("ZeroDivisionError" in str(w.message) for w in caught) == 2
    tags = events(tmp_path / "broken").Tags()
    assert "invertibility/forward/full_rank_fraction" in tags["scalars"]


@pytest.mark.parametrize(
    ("error", "expected"), [(OSError("full"), OSError), (KeyboardInterrupt(), KeyboardInterrupt)]
)
def test_an_interrupt_and_an_error_that_is_wanted_end_the_fit(
    tmp_path, monkeypatch, error, expected
):
    def broken(self, charts):
        raise error

    monkeypatch.setattr(TensorBoardGallery, "_layout", broken)
    on_error = "raise" if expected is OSError else "warn"
    with pytest.raises((expected, SystemExit)):
        fit(tmp_path, loggers=two_loggers(tmp_path), epochs=1, figures=False, on_error=on_error)


def test_words_that_a_logger_does_not_take_do_not_end_the_fit(tmp_path, monkeypatch):
    break_kinds(monkeypatch, ["text"])
    stop = ConditioningEarlyStopping(stopping_threshold=16.0, patience=1)
    with pytest.warns(UserWarning, match="TensorBoardLogger could not show text: OSError"):
        trainer = fit(tmp_path, loggers=two_loggers(tmp_path), callbacks=[stop], figures=False)
    assert stop.stopped_epoch == 0
    assert trainer.current_epoch == 1


def test_a_logger_that_only_has_scalars_and_takes_none_does_not_end_the_fit(tmp_path):
    class Full(CSVLogger):
        def log_metrics(self, metrics, step=None):
            raise OSError("disk full")

    class Silent(Foreign):
        def validation_step(self, batch, batch_idx):
            pass

    watch = InvertibilityCallback(num_points=16)
    trainer = quiet_trainer(tmp_path, max_epochs=2, logger=Full(tmp_path), callbacks=[watch])
    with pytest.warns(UserWarning, match="Full could not show scalars: OSError") as caught:
        trainer.fit(Silent(), loader(), loader())
    assert sum("disk full" in str(w.message) for w in caught) == 1
    assert trainer.callback_metrics["invertibility/forward/full_rank_fraction"] == 1


def full_disk(monkeypatch):
    def full(self, other):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)


@pytest.mark.slow
def test_on_a_full_disk_loggers_get_figures_and_table_and_files_stay(tmp_path, monkeypatch):
    folder = tmp_path / "figures"
    fit(tmp_path, save_figures=folder, epochs=1)
    before = {file: file.read_bytes() for file in folder.iterdir()}
    assert len(before) == 6 * 3 + 3  # three maps: figures and tables
    full_disk(monkeypatch)
    with pytest.warns(UserWarning, match="could not") as caught:
        fit(tmp_path, save_figures=folder, epochs=2, loggers=two_loggers(tmp_path))
    said = [str(w.message) for w in caught if "No space" in str(w.message)]
    assert [words.partition(": OSError")[0] for words in said] == [
        "InvertibilityCallback: could not save its figures",
        "InvertibilityCallback: could not write the worst points",
    ]
    assert {file: file.read_bytes() for file in folder.iterdir()} == before
    assert events(tmp_path / "sound").Images("invertibility/round_trip/zone_map")


def test_names_of_maps_are_names_of_files_inside_the_folder(tmp_path):
    folder = tmp_path / "a" / "figures"
    names = ("../../evil", "a/b", "a_b")
    watch = InvertibilityCallback(maps=dict.fromkeys(names, "encoder"), save_figures=folder)
    trainer = quiet_trainer(tmp_path, callbacks=[watch])
    trainer.fit(Foreign(), loader(), loader())
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["figures"]
    assert all(path.is_file() for path in folder.iterdir())
    assert len(list(folder.iterdir())) == len(names) * 7


@pytest.mark.slow
def test_who_has_no_tensorboard_needs_none(tmp_path):
    project = """
        import sys
        sys.modules["tensorboard"] = None
        from lightning.pytorch.loggers import CSVLogger
        from lightning_invert.callbacks import ConditioningEarlyStopping, InvertibilityCallback
        from tests.projects import Foreign, loader, quiet_trainer
        watch = InvertibilityCallback(figures=True, save_figures="figures")
        stop = ConditioningEarlyStopping(stopping_threshold=16.0, patience=2)
        trainer = quiet_trainer(".", max_epochs=4, logger=CSVLogger("."), callbacks=[watch, stop])
        trainer.fit(Foreign(), loader(), loader())
        trainer.test(Foreign(), loader(), verbose=False)
        assert stop.stopped_epoch == 1
        assert "torch.utils.tensorboard" not in sys.modules
        assert not any(name.startswith("tensorboard.") for name in sys.modules)
    """
    root = str(Path(__file__).parents[3])
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {root!r})\n"
         + textwrap.dedent(project)],
        cwd=tmp_path, check=False, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert list(tmp_path.glob("figures/*.png"))
