"""How a fit ends, and what is said and shown then."""

import os
import re
import signal

import pytest
import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader, TensorDataset

from lightning_invert.callbacks import InvertibilityCallback
from lightning_invert.report import display
from tests.projects import Foreign, fit_project, loader, quiet_trainer


@pytest.fixture(autouse=True)
def own_signals():
    """Undo that Lightning ignores Ctrl-C after the first."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


class Ends(Callback):
    """Does something when a batch of training begins, or another hook is called."""

    def __init__(self, act, *, epoch=2, hook="on_train_batch_start"):
        setattr(self, hook, lambda trainer, *_: act() if trainer.current_epoch == epoch else None)


def raises(error):
    def act():
        raise error

    return act


def interrupted(folder, act, *callbacks, watch=None, expected=(Exception, SystemExit), **options):
    """Fit until a callback acts; return what watched and the exception."""
    watch = watch or InvertibilityCallback(figures=False)
    end = act if isinstance(act, Callback) else Ends(act)
    with pytest.raises(expected) as caught:
        fit_project(folder, watch, end, *callbacks, **{"max_epochs": 9, **options})
    return watch, caught.value


def lines(caplog, *words):
    said = [line for record in caplog.records for line in record.getMessage().splitlines()]
    return [line for line in said if all(word in line for word in words)]


ACTS = {
    "Ctrl-C": raises(KeyboardInterrupt()),
    "SIGTERM": lambda: os.kill(os.getpid(), signal.SIGTERM),
    "an error": raises(ZeroDivisionError("mine")),
    "an exit": raises(SystemExit(3)),
}


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_who_is_interrupted_keeps_the_summary_figures_and_worst_points(tmp_path, caplog, act):
    watch = InvertibilityCallback(save_figures=tmp_path / "figures")
    _, error = interrupted(tmp_path, act, watch=watch)
    assert type(error).__name__ in ("SystemExit", "SIGTERMException", "ZeroDivisionError")
    assert [look["epoch"] for look in watch.history["forward"]] == [0, 1]
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert len(names) == 3
    assert {"forward_worst_points.csv", "forward_evolution.png"} <= names
    assert len(lines(caplog, "forward (physical): ")) == 1
    assert len(lines(caplog, "The last look: epoch 1, step 7")) == 1


@pytest.mark.parametrize("hook", ["on_validation_batch_start", "on_validation_end", "on_train_end"])
def test_nothing_is_drawn_or_said_twice_wherever_the_fit_breaks_off(
    tmp_path, monkeypatch, caplog, hook
):
    def draw(self, *args, **options):
        drawn.append(self._when)
        self._drawn = self._observations

    drawn = []
    monkeypatch.setattr(display.Display, "_draw", draw)
    epoch = 3 if hook == "on_train_end" else 2
    end = Ends(raises(OSError("mine")), epoch=epoch, hook=hook)
    interrupted(tmp_path, end, watch=InvertibilityCallback(), max_epochs=3)
    assert len(drawn) == 1
    assert len(lines(caplog, "The last look: epoch")) == 1


def test_what_fails_while_an_exception_passes_does_not_take_its_place(tmp_path, monkeypatch):
    for method in ("finish", "sum_up"):
        monkeypatch.setattr(display.Display, method, raises_always(RuntimeError("ours")))
    watch = InvertibilityCallback(on_error="raise")
    _, error = interrupted(tmp_path, raises(OSError("mine")), watch=watch)
    assert isinstance(error, OSError)
    assert "ours" not in str(error.__context__)


def raises_always(error):
    def act(*args, **kwargs):
        raise error

    return act


@pytest.mark.filterwarnings("ignore:.*could not")
def test_a_full_disk_does_not_hide_the_users_exception(tmp_path, monkeypatch):
    monkeypatch.setattr(display, "replace_file", raises_always(OSError("disk full")))
    _, error = interrupted(tmp_path, raises(ZeroDivisionError("mine")))
    assert isinstance(error, ZeroDivisionError)


def test_after_an_interrupt_no_map_is_drawn_that_would_take_too_long(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(display, "SECONDS_IN_HASTE", 0.0)
    maps = {"first": "encoder", "second": "encoder"}
    watch = InvertibilityCallback(maps, save_figures=tmp_path / "figures")
    interrupted(tmp_path, ACTS["Ctrl-C"], watch=watch)
    drawn = {path.name for path in (tmp_path / "figures").iterdir()}
    assert {name for name in drawn if name.startswith("second")} == {"second_worst_points.csv"}
    assert "first_evolution.png" in drawn
    assert len(lines(caplog, "figures of 'second'")) == 1


def test_a_run_that_is_interrupted_in_its_test_shows_what_it_saw(tmp_path, caplog):
    watch = InvertibilityCallback(save_figures=tmp_path / "figures")
    end = Ends(raises(OSError("mine")), epoch=0, hook="on_test_end")
    trainer = quiet_trainer(tmp_path, callbacks=[end, watch])
    with pytest.raises(OSError, match="mine"):
        trainer.test(Foreign(), loader(), verbose=False)
    assert (tmp_path / "figures" / "test_forward_worst_points.csv").exists()
    assert len(lines(caplog, "forward (physical): ")) == 1


# What is said of the last look.


def test_the_summary_says_of_which_look_it_is_and_how_many_validations_came_after(tmp_path, caplog):
    class Stops(Callback):
        def on_validation_end(self, trainer, pl_module):
            trainer.should_stop = trainer.current_epoch == 6

    watch = InvertibilityCallback(every_n_validations="log", figures=False)
    fit_project(tmp_path, watch, Stops(), max_epochs=20, num_sanity_val_steps=0)
    assert [look["epoch"] for look in watch.history["forward"]] == [0, 1, 2, 4]
    assert len(lines(caplog, "The last look: epoch 4, step 19", "2 later validations")) == 1


def test_the_summary_of_a_fit_that_was_watched_to_its_end_names_no_later_validation(
    tmp_path, caplog
):
    fit_project(tmp_path, InvertibilityCallback(figures=False), max_epochs=2)
    assert len(lines(caplog, "The last look: epoch 1, step 7")) == 1
    assert not lines(caplog, "later validation")


# Fits in which nothing was watched.


@pytest.mark.parametrize(
    "options",
    [
        {"max_steps": 2, "max_epochs": -1},
        {"max_epochs": 2, "check_val_every_n_epoch": 5},
        {"max_epochs": 2, "val_check_interval": 9, "check_val_every_n_epoch": None},
        {"max_steps": 3, "accumulate_grad_batches": 2, "check_val_every_n_epoch": 2},
    ],
    ids=str,
)
def test_a_fit_that_ends_before_its_first_validation_is_told_so_at_its_start_and_end(
    tmp_path, caplog, options
):
    class Started(Callback):
        def on_train_batch_start(self, *_):
            told.append(len(caught))

    told = []
    words = "nothing will be watched: this fit ends before its first validation"
    with pytest.warns(UserWarning, match=words) as caught:
        fit_project(tmp_path, InvertibilityCallback(), Started(), **options)
    (said,) = (str(warning.message) for warning in caught if words in str(warning.message))
    assert told[0] > 0
    assert all(f"{name}={value}" in said for name, value in options.items())
    why = said.partition("watched: ")[2]
    assert len(lines(caplog, f"nothing was watched in this fit: {why}")) == 1


def by_hand():
    class ByHand(Foreign):
        automatic_optimization = False

        def training_step(self, batch, batch_idx):
            self.optimizers().step()

    return {"module": ByHand(), "max_steps": 2, "max_epochs": -1}


def without_gradients():
    class WithoutGradients(Foreign):
        def forward(self, x):
            return self.encoder(x).detach()

        def step(self, batch):
            return self.encoder(batch[0]).sum()

    return {"module": WithoutGradients(), "max_epochs": 2}


def failing():
    class Failing(Foreign):
        def watched(self, x):
            if not self.trainer.sanity_checking:
                raise KeyError("lost")
            return self.encoder(x)

    module = Failing()
    return {"module": module, "maps": {"f": module.watched, "g": module.watched}, "max_epochs": 2}


def without_points():
    return {"data": (loader(), DataLoader(TensorDataset(torch.zeros(0, 5), torch.zeros(0, 3)))),
            "max_epochs": 2}  # fmt: skip


def without_validation():
    class NoValidation(Foreign):
        validation_step = LightningModule.validation_step

    return {"module": NoValidation(), "data": (loader(),)}


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (by_hand, "no validation was completed"),
        (without_gradients, "carries a gradient|does not require grad"),
        (failing, "map 'f': KeyError: 'lost'.*map 'g': KeyError: 'lost'"),
        (without_points, "no validation was completed"),
        (without_validation, "no validation loop"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_fit_in_which_nothing_was_watched_says_so_at_its_end_with_the_reason(
    tmp_path, caplog, make, why
):
    case = make()
    fit_project(tmp_path, InvertibilityCallback(case.pop("maps", None)), **case)
    (said,) = lines(caplog, "nothing was watched in this fit")
    assert re.search(why, said)
    assert caplog.messages[-1] == said


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_map_that_the_last_look_lacks_is_named_at_the_end(tmp_path, caplog):
    class FailsLater(Foreign):
        def watched(self, x):
            if self.trainer.current_epoch > 0:
                raise KeyError("lost")
            return self.encoder(x)

    module = FailsLater()
    watch = InvertibilityCallback({"f": module.watched, "g": "encoder"}, figures=False)
    fit_project(tmp_path, watch, module=module, max_epochs=3)
    assert len(lines(caplog, "the last look lacks map 'f': KeyError: 'lost'")) == 1


def test_an_interrupt_before_the_first_look_says_so_and_an_error_speaks_for_itself(
    tmp_path, caplog
):
    for act in (ACTS["Ctrl-C"], ACTS["an error"]):
        interrupted(tmp_path, Ends(act, epoch=0))
    assert len(lines(caplog, "nothing was watched in this fit: no validation was completed")) == 1


def test_figures_of_an_interrupted_fit_reach_its_loggers(tmp_path):
    watch = InvertibilityCallback(figures=False)
    interrupted(tmp_path, ACTS["an error"], watch=watch, logger=CSVLogger(tmp_path, "logs", ""))
    files = [path.name for path in (tmp_path / "logs").rglob("*.csv")]
    assert sorted(files) == ["forward_worst_points.csv", "metrics.csv"]
