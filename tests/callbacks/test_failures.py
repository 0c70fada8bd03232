"""What cannot be watched, and what fails: said before the first step, or once, and the fit goes on."""

import copy

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import nn

from lightning_invert.callbacks import InvertibilityCallback
from lightning_invert.watch.maps import MapError
from tests.callbacks.fits import fit_foreign
from tests.projects import Foreign, loader, quiet_trainer


def test_a_fit_without_validation_is_told_so(tmp_path):
    class NoValidation(Foreign):
        validation_step = LightningModule.validation_step

    trainer = quiet_trainer(tmp_path, callbacks=[InvertibilityCallback()])
    with pytest.warns(UserWarning, match="no validation loop: nothing will be watched"):
        trainer.fit(NoValidation(), loader())


def test_a_fit_that_never_validates_is_told_so(tmp_path):
    with pytest.warns(UserWarning, match="never validates.*=5 is more than max_epochs=2"):
        fit_foreign(tmp_path, InvertibilityCallback(), max_epochs=2, check_val_every_n_epoch=5)


def test_a_wrong_map_is_reported_before_training_starts(tmp_path):
    module = Foreign()
    before = copy.deepcopy(module.state_dict())
    with pytest.raises(ValueError, match=r"'decoder'.*encoder"):
        fit_foreign(tmp_path, InvertibilityCallback({"f": "decoder"}), module)
    assert all(torch.equal(before[k], v) for k, v in module.state_dict().items())


def test_names_of_maps_are_texts(tmp_path):
    with pytest.raises(TypeError, match="names in argument `maps` to be texts"):
        fit_foreign(tmp_path, InvertibilityCallback({1: "encoder"}))


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


def test_batches_of_training_may_be_of_another_form_than_those_that_are_watched(tmp_path):
    module = Foreign()
    module.training_step = lambda batch, batch_idx: module(batch["features"]).square().sum()
    rows = [{"features": torch.randn(5)} for _ in range(12)]
    training = torch.utils.data.DataLoader(rows, batch_size=4)
    watch = InvertibilityCallback({"f": {"module": "encoder", "input": 0}})
    trainer = quiet_trainer(tmp_path, callbacks=[watch], num_sanity_val_steps=0)
    trainer.fit(module, training, loader())
    assert "invertibility/f/full_rank_fraction" in trainer.callback_metrics


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


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ("lightning_invert.report.figures.map_figures", "could not draw its figures"),
        ("lightning_invert.report.display.to_csv", "could not write the worst points"),
    ],
)
def test_what_fails_to_be_shown_does_not_end_the_fit(tmp_path, monkeypatch, broken, words):
    def fails(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(broken, fails)
    with pytest.warns(UserWarning, match=f"{words}: OSError"):
        trainer = fit_foreign(tmp_path, InvertibilityCallback(save_figures=True), max_epochs=2)
    assert trainer.current_epoch == 2


class Odd(Foreign):
    """Its forward does something odd with its code; it is trained without."""

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
        (lambda x, y: y - y.mean(0), "mixes the points"),
        (lambda x, y: nn.functional.dropout(y, 0.5, training=True), "another output each time"),
    ],
    ids=["NaN at half of the points", "a mean of the batch", "dropout that stays on"],
)
def test_what_is_odd_is_said_once_and_training_goes_on(tmp_path, odd, words):
    with pytest.warns(UserWarning, match=words) as caught:
        trainer = fit_foreign(tmp_path, InvertibilityCallback(), Odd(odd), max_epochs=3)
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
        trainer = fit_foreign(tmp_path, watch, module, max_epochs=2)
    logged = trainer.callback_metrics
    assert logged["invertibility/forward/nonfinite_fraction"] == 1
    assert logged["invertibility/forward/full_rank_fraction"] == 0
    assert logged["invertibility/forward/log10_cond_p95"] == 16
