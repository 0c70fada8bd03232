"""What a logger refuses is missing there alone; one that is dead is left in peace."""

import math

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

from lightning_invert.callbacks import InvertibilityCallback
from tests.projects import Foreign, fit_project, loader

RANK = "invertibility/{}/full_rank_fraction"


class Picky(CSVLogger):
    """Keeps in memory what it takes; it refuses some scalars, and with them the whole call."""

    def __init__(self, folder, refuses=lambda tag, value: False):
        super().__init__(folder)
        self.refuses, self.calls, self.failures, self.taken = refuses, 0, 0, {}

    def log_metrics(self, metrics, step=None):
        self.calls += 1
        if any(self.refuses(tag, value) for tag, value in metrics.items()):
            self.failures += 1
            raise ValueError("refused")
        for tag, value in metrics.items():
            self.taken.setdefault(tag, []).append(value)

    def save(self):
        pass


class Singular(Foreign):
    """Has rank 2 in the first epoch, and full rank from then on."""

    def watched(self, x):
        y = self.encoder(x)
        return y * y.new_tensor([1.0, 1.0, float(self.trainer.current_epoch > 0)])


def fit(folder, *loggers, maps=None, module=None, epochs=3, **options):
    watch = InvertibilityCallback(
        maps or {"f": "encoder", "g": "encoder"}, num_points=16, figures=False, **options
    )
    fit_project(folder, watch, module=module, max_epochs=epochs, logger=[*loggers])
    return watch


@pytest.mark.parametrize(
    ("maps", "refuses", "refused"),
    [
        (["F(x)", "g"], lambda tag, value: "(" in tag, "F(x)/"),
        (["f", "g"], lambda tag, value: tag.endswith("f/log10_cond_p95"), "f/log10_cond_p95"),
    ],
    ids=["a map", "a tag"],
)
def test_a_refused_name_costs_its_scalars_at_that_logger_alone(tmp_path, maps, refuses, refused):
    picky, sound = Picky(tmp_path, refuses), Picky(tmp_path)
    with pytest.warns(UserWarning, match="Picky refused") as caught:
        fit(tmp_path, picky, sound, maps=dict.fromkeys(maps, "encoder"))
    said = [str(w.message) for w in caught if "refused" in str(w.message)]
    assert len(said) == 1
    assert refused in said[0]
    assert "ValueError('refused')" in said[0]
    ours = {tag for tag in sound.taken if tag.startswith("invertibility/")}
    assert {tag for tag in ours if tag not in picky.taken} == {
        tag for tag in ours if refused in tag
    }
    assert len(picky.taken[RANK.format("g")]) == len(picky.taken["val_loss"]) == 3
    # In the first look one by one; from then on what was refused is left out.
    assert picky.failures <= 1 + sum(refused in tag for tag in ours)


def test_a_refused_infinity_costs_that_value_and_not_the_finite_ones_that_follow(tmp_path):
    picky, module = Picky(tmp_path, lambda tag, value: math.isinf(float(value))), Singular()
    maps = {"f": module.watched, "g": "encoder"}
    with pytest.warns(UserWarning, match="Picky refused.*f/cond_median.*inf") as caught:
        fit(tmp_path, picky, maps=maps, module=module, scalars="all")
    assert sum("refused" in str(w.message) for w in caught) == 1
    assert len(picky.taken["invertibility/f/cond_median"]) == 2
    assert len(picky.taken["invertibility/f/log10_cond_median"]) == 3
    assert len(picky.taken["invertibility/g/cond_median"]) == 3
    assert picky.failures <= 3


class Dead(Picky):
    """Takes nothing of ours, or nothing after some calls, as without a network."""

    def __init__(self, folder, dies_after=0):
        super().__init__(folder)
        self.dies_after = dies_after

    def log_metrics(self, metrics, step=None):
        if set(metrics) - {"val_loss", "epoch"} or self.failures:
            self.calls += 1
            if self.calls > self.dies_after:
                self.failures += 1
                raise ConnectionError("no network")


def test_a_logger_that_cannot_be_asked_for_an_attribute_gets_all(tmp_path):
    class Remote(Picky):
        def __getattr__(self, name):
            raise ConnectionError(name) if name == "_prefix" else AttributeError(name)

    remote = Remote(tmp_path)
    del remote._prefix
    fit(tmp_path, remote)
    assert len(remote.taken[RANK.format("f")]) == 3


class Silent(Foreign):
    def validation_step(self, batch, batch_idx):
        pass


@pytest.mark.parametrize("dies_after", [0, 1])
def test_a_dead_logger_is_not_tried_for_every_scalar(tmp_path, dies_after):
    dead, sound = Dead(tmp_path, dies_after), Picky(tmp_path)
    with pytest.warns(UserWarning, match="could not show scalars: ConnectionError") as caught:
        fit(tmp_path, dead, sound, module=Silent(), epochs=4)
    assert sum("no network" in str(w.message) for w in caught) == 1
    assert dead.failures <= 2 + 4
    assert len(sound.taken[RANK.format("g")]) == 4


def test_a_logger_that_dies_while_it_is_asked_one_by_one_is_left_in_peace(tmp_path):
    class Fragile(Picky):
        def log_metrics(self, metrics, step=None):
            if self.failures > 2:
                self.failures += 1
                raise ConnectionError("no network")
            super().log_metrics(metrics, step)

    fragile = Fragile(tmp_path, lambda tag, value: "(" in tag)
    maps = dict.fromkeys(["F(x)", "g"], "encoder")
    with pytest.warns(UserWarning, match="could not show scalars: ConnectionError"):
        fit(tmp_path, fragile, maps=maps, module=Silent(), epochs=4)
    assert fragile.failures <= 3 + 2 + 4


def test_a_logger_that_comes_back_gets_all_again(tmp_path):
    class Away(Picky):
        def log_metrics(self, metrics, step=None):
            if self.away:
                raise ConnectionError("no network")
            super().log_metrics(metrics, step)

    class Module(Silent):
        def on_validation_start(self):
            self.logger.away = self.current_epoch == 1

    away = Away(tmp_path)
    away.away = False
    with pytest.warns(UserWarning, match="could not show scalars: ConnectionError"):
        fit(tmp_path, away, module=Module(), epochs=3)
    assert len(away.taken[RANK.format("f")]) == 2


def test_who_wants_errors_raised_gets_the_first(tmp_path):
    picky = Picky(tmp_path, lambda tag, value: "f/" in tag)
    with pytest.raises(ValueError, match="refused"):
        fit(tmp_path, picky, on_error="raise")


@pytest.mark.parametrize("run", ["validate", "test"])
def test_what_is_refused_ends_no_validation_and_no_test_and_is_returned_all_the_same(tmp_path, run):
    picky = Picky(tmp_path, lambda tag, value: "F(x)" in tag or math.isinf(float(value)))
    maps = dict.fromkeys(["F(x)", "g"], "encoder")
    watch = InvertibilityCallback(maps, num_points=16, figures=False)
    trainer = fit_project(tmp_path, logger=picky, max_epochs=0)
    trainer.callbacks.append(watch)
    module = Foreign()
    with torch.no_grad():
        module.encoder[4].weight[0] = 0.0
    with pytest.warns(UserWarning, match="Picky refused"):
        (returned,) = getattr(trainer, run)(module, loader(), verbose=False)
    prefix = "test/" if run == "test" else ""
    own = "test_loss" if run == "test" else "val_loss"
    assert len(picky.taken[own]) == 1
    assert picky.taken[f"{prefix}{RANK.format('g')}"] == [0.0]
    assert returned[f"{prefix}{RANK.format('F(x)')}"] == 0.0
    assert returned[f"{prefix}invertibility/g/cond_p95"] == math.inf
    assert own in returned
