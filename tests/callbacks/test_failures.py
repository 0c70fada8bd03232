from unittest.mock import Mock

import pytest
import torch
from lightning.pytorch import Callback
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from lightning_invert.callbacks import ConditioningEarlyStopping, InvertibilityCallback
from lightning_invert.watch.maps import MapError
from tests.callbacks.fits import Known, fit_unwatched_and_watched, pair
from tests.identity import state_of
from tests.projects import Foreign, fit_project, loader


def test_a_wrong_map_is_reported_before_training_starts(tmp_path):
    module = Foreign()
    before = state_of(module)
    with pytest.raises(ValueError, match=r"'decoder'.*encoder"):
        fit_project(tmp_path, InvertibilityCallback({"f": "decoder"}), module=module)
    assert state_of(module) == before


class Late(Foreign):
    """Makes a part of itself in a hook, as a teacher that is copied when the fit begins."""

    def __init__(self, hook):
        super().__init__()
        self.teachers = nn.ModuleDict()
        setattr(self, hook, self.make)

    def make(self, *_, **__):
        self.teachers["late"] = self.teachers["late"] if self.teachers else nn.Linear(5, 3)


@pytest.mark.parametrize(
    ("hook", "sanity_checks"),
    [("setup", 0), ("on_fit_start", 2), ("on_train_start", 0), ("on_train_start", 2)],
)
def test_a_part_that_a_hook_makes_is_watched(tmp_path, hook, sanity_checks):
    watch = InvertibilityCallback({"f": "teachers.late"}, figures=False)
    torch.manual_seed(0)
    fit_unwatched_and_watched(
        tmp_path, lambda: Late(hook), watch, num_sanity_val_steps=sanity_checks
    )
    assert [look["num_points"] for look in watch.history["f"]] == [64, 64]


NOWHERE = {
    "no such key": {"module": "", "input": "x"},
    "no such index": {"module": "", "input": 7},
    "no such key of a part": {"module": "", "input": [0, "x"]},
    "no such context": {"module": "", "input": 0, "context": [[1], ["c"]]},
    "no such outcomes": {"module": "", "reach": {"inverse": nn.Linear(3, 5), "outcomes": 9}},
    "no such output": {"module": "", "output": "logits"},
}


@pytest.mark.parametrize(
    ("entry", "sanity_checks"),
    [*((entry, 0) for entry in NOWHERE.values()), (NOWHERE["no such key"], 2)],
    ids=[*NOWHERE, "in the sanity check"],
)
def test_a_part_that_no_batch_has_is_an_error_before_the_first_step(tmp_path, entry, sanity_checks):
    module, options = Foreign(), {"num_sanity_val_steps": sanity_checks}
    steps = 1 if "reach" in entry else None
    watch = InvertibilityCallback({"works": "encoder", "mine": entry}, reachable_steps=steps)
    with pytest.raises(MapError, match=r"InvertibilityCallback: map 'mine' .*but got '?[x7c9l]"):
        fit_project(tmp_path, watch, module=module, **options)
    assert module.trainer.global_step == 0


TRIED_AT = Mock()  # what a look leaves in objects of the project is put back


class Wrong(Foreign):
    def __init__(self, wrong):
        super().__init__()
        self.wrong = wrong

    def watched(self, x):
        TRIED_AT(self.trainer.global_step)
        return self.wrong(self.encoder(x))


def raising(error):
    def function(_):
        raise error

    return function


WRONG = {
    "one row for each": torch.sum,
    "carries a gradient": torch.detach,
    "operation that cannot be differentiated": lambda y: (y > 0).float(),
    "output: .* dtype torch.int64": lambda y: y.argmax(1),
    "output: .* returned a tuple .*'output'": lambda y: (y, y),
    "no room": raising(torch.OutOfMemoryError("no room")),
    "a pole": raising(ValueError("a pole")),
    "same dtype": lambda y: y @ torch.ones(3, 2, dtype=torch.float64),
}


@pytest.mark.parametrize(
    ("words", "wrong", "sanity_checks"),
    [*((*case, 0) for case in WRONG.items()), ("a pole", WRONG["a pole"], 2)],
    ids=[*WRONG, "in the sanity check"],
)
def test_a_named_map_that_fails_is_said_before_the_first_step_and_ends_no_fit(
    tmp_path, wrong, words, sanity_checks
):
    TRIED_AT.reset_mock()
    module = Wrong(wrong)
    watch = InvertibilityCallback(maps={"mine": module.watched, "works": "encoder"}, figures=False)
    options = {"num_sanity_val_steps": sanity_checks, "max_epochs": 2}
    with pytest.warns(UserWarning, match=rf"InvertibilityCallback: map 'mine' .*{words}") as caught:
        trainer = fit_project(tmp_path, watch, module=module, **options)
    assert sum("map 'mine'" in str(warning.message) for warning in caught) == 1
    TRIED_AT.assert_any_call(0)
    assert trainer.current_epoch == 2
    assert list(watch.history) == ["works"]


class Stream(IterableDataset):
    """One that goes on where it was left."""

    def __init__(self):
        self.rows = iter(torch.randn(1000, 5, generator=torch.Generator().manual_seed(0)))

    def __iter__(self):
        for _ in range(4):
            yield torch.stack([next(self.rows) for _ in range(4)]), torch.zeros(4, 3)


class OfFeatures(Foreign):
    def training_step(self, batch, batch_idx):
        return self(batch["features"]).square().sum()


@pytest.mark.parametrize("stream", [False, True])
def test_batches_of_training_may_be_of_another_form_and_a_stream_is_not_drawn_from_to_try_a_map(
    tmp_path, stream
):
    def data():
        rows = [{"features": torch.randn(5)} for _ in range(12)]
        validation = DataLoader(Stream(), batch_size=None) if stream else loader()
        return DataLoader(rows, batch_size=4), validation

    watch = InvertibilityCallback({"f": {"module": "encoder", "input": 0}}, figures=False)
    options = {"max_epochs": 1, "num_sanity_val_steps": 0}
    fit_unwatched_and_watched(tmp_path, OfFeatures, watch, data=data, **options)
    assert len(watch.history["f"]) == 1


def test_a_default_map_that_cannot_be_watched_is_said_and_ends_no_fit_by_an_early_stop(tmp_path):
    class WithoutGradients(Foreign):
        def forward(self, x):
            with torch.no_grad():
                return self.encoder(x)

        def step(self, batch):
            return self.encoder(batch[0]).sum()

    watch, stop = InvertibilityCallback(), ConditioningEarlyStopping(stopping_threshold=2.0)
    options = {"module": WithoutGradients(), "max_epochs": 3}
    with pytest.warns(UserWarning, match=r"(?s)torch\.no_grad.*The parts of a batch") as caught:
        trainer = fit_project(tmp_path, watch, stop, **options)
    assert trainer.current_epoch == 3
    assert sum("not clear what to watch" in str(w.message) for w in caught) == 1


class FailsLater(Foreign):
    """Its forward raises in the third epoch, but only where it is watched."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def watched(self, x):
        if self.trainer.current_epoch == 2 and not self.trainer.sanity_checking:
            raise self.error
        return self.encoder(x)


LATER = [torch.OutOfMemoryError("no room"), KeyError("x")]


@pytest.mark.parametrize("error", LATER, ids=lambda error: type(error).__name__)
def test_what_fails_later_is_said_once_and_that_look_is_missing(tmp_path, error):
    module = FailsLater(error)
    maps = {"fails": module.watched, "works": "encoder"}
    watch = InvertibilityCallback(maps, figures=False)
    words = f"(?s)InvertibilityCallback: map 'fails' .*{type(error).__name__}.*training goes on"
    with pytest.warns(UserWarning, match=words) as caught:
        trainer = fit_project(tmp_path, watch, module=module, max_epochs=4)
    assert trainer.current_epoch == 4
    assert sum("cannot be watched" in str(w.message) for w in caught) == 1
    assert [look["epoch"] for look in watch.history["fails"]] == [0, 1, 3]
    assert [look["epoch"] for look in watch.history["works"]] == [0, 1, 2, 3]


def test_what_fails_later_is_raised_where_that_was_asked_for(tmp_path):
    module = FailsLater(torch.OutOfMemoryError("no room"))
    watch = InvertibilityCallback({"f": module.watched}, on_error="raise", figures=False)
    with pytest.raises(MapError, match=r"map 'f' .*OutOfMemoryError: no room"):
        fit_project(tmp_path, watch, module=module, max_epochs=4)


def test_a_batch_of_another_shape_in_a_later_epoch_is_said_and_left_out(tmp_path):
    class Growing(IterableDataset):
        epoch = 0

        def __iter__(self):
            type(self).epoch += 1
            for i in range(2):
                yield torch.randn(4, 5 if self.epoch != 3 else 5 + i), torch.randn(4, 3)

    class Tolerant(Foreign):
        def validation_step(self, batch, batch_idx):
            pass

    watch = InvertibilityCallback({"f": "encoder"}, figures=False)
    data = loader(), DataLoader(Growing(), batch_size=None)
    with pytest.warns(UserWarning, match="the other 4 points are left out"):
        trainer = fit_project(tmp_path, watch, module=Tolerant(), data=data, max_epochs=4)
    assert trainer.current_epoch == 4
    assert len(watch.history["f"]) == 4


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ("lightning_invert.report.figures.map_figures", "could not draw its figures"),
        ("lightning_invert.report.display.to_csv", "could not write the worst points"),
        ("lightning_invert.report.words.verdict", "could not sum up"),
    ],
)
def test_what_fails_to_be_shown_does_not_end_the_fit(tmp_path, monkeypatch, broken, words):
    monkeypatch.setattr(broken, Mock(side_effect=OSError("disk full")))
    with pytest.warns(UserWarning, match=f"{words}: OSError"):
        trainer = fit_project(tmp_path, InvertibilityCallback(save_figures=True), max_epochs=2)
    assert trainer.current_epoch == 2


class Odd(Foreign):
    def __init__(self, odd):
        super().__init__()
        self.odd = odd

    def forward(self, x):
        return self.odd(x, self.encoder(x))

    def step(self, batch):
        return self.encoder(batch[0]).square().sum()


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        (lambda x, y: y * torch.where(x[:, :1] > 0, torch.nan, 1.0), "NaN or inf"),
        (lambda x, y: nn.functional.dropout(y, 0.5, training=True), "another output each time"),
    ],
    ids=["NaN at half of the points", "dropout that stays on"],
)
def test_what_is_odd_is_said_once_and_training_goes_on(tmp_path, odd, words):
    with pytest.warns(UserWarning, match=words) as caught:
        trainer = fit_project(tmp_path, InvertibilityCallback(), module=Odd(odd), max_epochs=3)
    assert sum(words in str(warning.message) for warning in caught) == 1
    assert trainer.current_epoch == 3
    share = float(trainer.callback_metrics["invertibility/forward/nonfinite_fraction"])
    assert (0.3 < share < 0.7) is (words == "NaN or inf")


def test_weights_that_are_nan_are_reported_as_the_worst_there_is_and_do_not_end_the_fit(tmp_path):
    module = Foreign()
    with torch.no_grad():
        module.encoder[0].weight.fill_(torch.nan)
    watch = InvertibilityCallback(figures=True, save_figures=tmp_path / "figures")
    with pytest.warns(UserWarning, match=r"NaN or inf at 100\.0% of the watched points"):
        trainer = fit_project(tmp_path, watch, module=module, max_epochs=2)
    logged = trainer.callback_metrics
    assert logged["invertibility/forward/nonfinite_fraction"] == 1
    assert logged["invertibility/forward/full_rank_fraction"] == 0
    assert logged["invertibility/forward/log10_cond_p95"] == 16


@pytest.mark.slow
@pytest.mark.parametrize("side", ["forward_net", "inverse_net"])
def test_networks_that_become_nan_end_no_fit(tmp_path, side):
    class Broken(Callback):
        def on_validation_start(self, trainer, pl_module):
            with torch.no_grad():
                for weight in getattr(pl_module, side).parameters():
                    weight.fill_(torch.nan)

    watch = InvertibilityCallback(figures="all", reachable_steps=2, save_figures=tmp_path)
    options = {"module": pair(), "data": (Known(),), "num_sanity_val_steps": 0}
    with pytest.warns(UserWarning, match="has a NaN or inf at 100.0% of the watched points"):
        trainer = fit_project(tmp_path, Broken(), watch, **options)
    assert trainer.current_epoch == 1
    assert "a NaN or inf in their Jacobian: look there first" in str(watch)
    assert "look there first" in watch._repr_html_()
