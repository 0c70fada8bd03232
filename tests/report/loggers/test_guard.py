from functools import partialmethod
from pathlib import Path
from unittest.mock import Mock

import pytest
from lightning.pytorch.loggers import TensorBoardLogger

from lightning_invert import ForwardInverseModule
from lightning_invert.callbacks import ConditioningEarlyStopping, InvertibilityCallback
from lightning_invert.report.loggers import KINDS
from lightning_invert.report.loggers.tensorboard import TensorBoardGallery
from tests.events import events_of
from tests.projects import Smooth, fit_project
from tests.scripts import run_script


def two_loggers(folder):
    return [TensorBoardLogger(folder, name, version="") for name in ("broken", "sound")]


def fit(folder, *, loggers=False, callbacks=(), epochs=3, **options):
    watch = InvertibilityCallback(**{"num_points": 16, "figures": "auto", **options})
    options = {"module": ForwardInverseModule(), "data": (Smooth(),), "max_epochs": epochs}
    return fit_project(folder, watch, *callbacks, logger=loggers, **options)


FULL_DISK = OSError(28, "No space left on device")


def break_kinds(monkeypatch, *kinds):
    """Let the logger that is called broken fail to show these."""

    def broken(self, *args, show):
        if self.logger.name == "broken":
            raise FULL_DISK
        show(self, *args)

    for name in [f"_{kind}" for kind in kinds]:
        show = getattr(TensorBoardGallery, name)
        monkeypatch.setattr(TensorBoardGallery, name, partialmethod(broken, show=show))


@pytest.mark.slow
def test_a_logger_that_fails_is_said_once_and_the_other_gets_all(tmp_path, monkeypatch):
    others = KINDS.keys() - {"text", "table"}
    break_kinds(monkeypatch, *others)
    with pytest.warns(UserWarning, match="could not show") as caught:
        trainer = fit(tmp_path, loggers=two_loggers(tmp_path), epochs=2)
    messages = [str(w.message) for w in caught if "could not" in str(w.message)]
    assert sorted(messages) == sorted(
        f"InvertibilityCallback: TensorBoardLogger could not show {KINDS[kind]}: "
        "OSError(28, 'No space left on device'). Training goes on; this is said once."
        for kind in others
    )
    assert trainer.current_epoch == 2
    sound = events_of(tmp_path / "sound")
    tag = "invertibility/forward/full_rank_fraction"
    assert [e.step for e in sound.Scalars(tag)] == [9, 19]
    assert len(sound.Histograms("invertibility_histograms/forward/sigma")) == 2
    assert len(sound.Images("invertibility_figures/forward/fragile_zones")) == 1
    assert sound.Tensors("custom_scalars__config__")
    assert (
        "hparams" in sound.summary_metadata["_hparams_/session_start_info"].plugin_data.plugin_name
    )
    tags = events_of(tmp_path / "broken").Tags()
    assert tag in tags["scalars"]
    assert not tags["histograms"]
    assert not tags["images"]


def test_a_logger_that_takes_no_scalars_is_asked_for_nothing_else(tmp_path, monkeypatch):
    break_kinds(monkeypatch, "scalars", *(KINDS.keys() - {"declare", "table"}))
    with pytest.warns(UserWarning, match="could not show scalars: OSError") as caught:
        fit(tmp_path, loggers=two_loggers(tmp_path), epochs=1)
    assert sum("could not" in str(w.message) for w in caught) == 1
    assert events_of(tmp_path / "sound").Histograms("invertibility_histograms/forward/sigma")


def test_two_loggers_that_fail_are_both_said_and_show_what_does_not_fail(tmp_path, monkeypatch):
    monkeypatch.setattr(TensorBoardGallery, "_layout", lambda self, charts: 1 / 0)
    with pytest.warns(UserWarning, match="could not show its arrangement of charts") as caught:
        fit(tmp_path, loggers=two_loggers(tmp_path), epochs=1, figures=False)
    assert sum("ZeroDivisionError" in str(w.message) for w in caught) == 2
    tags = events_of(tmp_path / "broken").Tags()
    assert "invertibility/forward/full_rank_fraction" in tags["scalars"]


@pytest.mark.parametrize(
    ("error", "expected"), [(OSError("full"), OSError), (KeyboardInterrupt(), KeyboardInterrupt)]
)
def test_an_interrupt_and_an_error_that_is_wanted_end_the_fit(
    tmp_path, monkeypatch, error, expected
):
    monkeypatch.setattr(TensorBoardGallery, "_layout", Mock(side_effect=error))
    on_error = "raise" if expected is OSError else "warn"
    with pytest.raises((expected, SystemExit)):
        fit(tmp_path, loggers=two_loggers(tmp_path), epochs=1, figures=False, on_error=on_error)


def test_words_that_a_logger_does_not_take_do_not_end_the_fit(tmp_path, monkeypatch):
    break_kinds(monkeypatch, "text")
    stop = ConditioningEarlyStopping(stopping_threshold=16.0, patience=1)
    with pytest.warns(UserWarning, match="TensorBoardLogger could not show text: OSError"):
        trainer = fit(tmp_path, loggers=two_loggers(tmp_path), callbacks=[stop], figures=False)
    assert stop.stopped_epoch == 0
    assert trainer.current_epoch == 1


@pytest.mark.slow
def test_on_a_full_disk_loggers_get_figures_and_table_and_files_stay(tmp_path, monkeypatch):
    folder = tmp_path / "figures"
    fit(tmp_path, save_figures=folder, epochs=1)
    before = {file: file.read_bytes() for file in folder.iterdir()}
    assert len(before) == 3 + 3  # three maps: a figure and a table each
    monkeypatch.setattr(Path, "replace", Mock(side_effect=FULL_DISK))
    with pytest.warns(UserWarning, match="could not") as caught:
        fit(tmp_path, save_figures=folder, epochs=1, loggers=two_loggers(tmp_path))
    said = [str(w.message) for w in caught if "No space" in str(w.message)]
    assert sorted(words.partition(": OSError")[0] for words in said) == [
        "InvertibilityCallback: could not save its figures",
        "InvertibilityCallback: could not write the worst points",
    ]
    assert {file: file.read_bytes() for file in folder.iterdir()} == before
    assert events_of(tmp_path / "sound").Images("invertibility_figures/round_trip/fragile_zones")


def test_names_of_maps_are_names_of_files_inside_the_folder(tmp_path):
    folder = tmp_path / "a" / "figures"
    names = ("../../evil", "a/b", "a_b")
    watch = InvertibilityCallback(maps=dict.fromkeys(names, "encoder"), save_figures=folder)
    fit_project(tmp_path, watch)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["figures"]
    assert all(path.is_file() for path in folder.iterdir())
    assert len(list(folder.iterdir())) == len(names) * 2


@pytest.mark.slow
def test_who_has_no_tensorboard_needs_none(tmp_path):
    project = """
        import sys
        sys.modules["tensorboard"] = None
        from lightning.pytorch.loggers import CSVLogger
        from lightning_invert.callbacks import ConditioningEarlyStopping, InvertibilityCallback
        from tests.projects import Foreign, loader, quiet_trainer
        watch = InvertibilityCallback(num_points=16, save_figures="figures")
        stop = ConditioningEarlyStopping(stopping_threshold=16.0, patience=2)
        trainer = quiet_trainer(".", max_epochs=4, logger=CSVLogger("."), callbacks=[watch, stop])
        trainer.fit(Foreign(), loader(), loader())
        trainer.test(Foreign(), loader(), verbose=False)
        assert stop.stopped_epoch == 1
        assert "torch.utils.tensorboard" not in sys.modules
        assert not any(name.startswith("tensorboard.") for name in sys.modules)
    """
    run_script(tmp_path, project)
    assert list(tmp_path.glob("figures/*.png"))
