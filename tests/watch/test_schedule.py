import pytest
import torch
from lightning.pytorch import Callback

from lightning_invert.callbacks import InvertibilityCallback
from lightning_invert.watch.schedule import MIN_POINTS, Budget, Schedule
from tests.projects import Foreign, loader, quiet_trainer


def watched_epochs(folder, max_epochs, options):
    """In which epochs a fit looks at its maps."""
    every = options.pop("check_val_every_n_epoch", 1)
    watch = InvertibilityCallback(num_points=8, **options)
    trainer = quiet_trainer(
        folder, max_epochs=max_epochs, callbacks=[watch], check_val_every_n_epoch=every
    )
    trainer.fit(Foreign(), loader(), loader())
    return [look["epoch"] for look in watch.history["forward"]]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, list(range(12))),
        ({"every_n_epochs": 5}, [0, 5, 10, 11]),
        ({"epochs": "log"}, [0, 1, 2, 4, 8, 11]),
        ({"epochs": [7, 3]}, [3, 7, 11]),
        ({"epochs": []}, [11]),
        # Validation in epochs 2, 5, 8 and 11 alone.
        ({"check_val_every_n_epoch": 3}, [2, 5, 8, 11]),
        ({"check_val_every_n_epoch": 3, "every_n_epochs": 3}, [2, 5, 8, 11]),
        ({"check_val_every_n_epoch": 3, "every_n_epochs": 6}, [2, 8, 11]),
        ({"check_val_every_n_epoch": 3, "epochs": [4]}, [5, 11]),
        ({"check_val_every_n_epoch": 5, "every_n_epochs": 10}, [4, 9]),
    ],
    ids=str,
)
def test_epochs_are_watched_when_due_or_in_the_next_validation_and_the_last(
    tmp_path, options, expected
):
    assert watched_epochs(tmp_path, 12, dict(options)) == expected


def test_every_validation_of_an_epoch_that_is_due_is_watched(tmp_path):
    watch = InvertibilityCallback(num_points=8, every_n_epochs=2)
    trainer = quiet_trainer(tmp_path, max_epochs=3, callbacks=[watch], val_check_interval=2)
    trainer.fit(Foreign(), loader(), loader())  # 4 steps an epoch
    found = [(look["epoch"], look["step"]) for look in watch.history["forward"]]
    assert found == [(0, 1), (0, 3), (2, 9), (2, 11)]


def test_only_the_batches_of_a_limited_validation_are_watched(tmp_path):
    watch = InvertibilityCallback(num_points=1000)
    trainer = quiet_trainer(tmp_path, callbacks=[watch], limit_val_batches=2)
    trainer.fit(Foreign(), loader(), loader())
    assert watch.history["forward"][0]["num_points"] == 32


@pytest.mark.parametrize("n", [1, 2, 7])
def test_the_schedule_is_that_of_multiples_where_every_epoch_is_validated(n):
    schedule = Schedule(n)
    watched = []
    for epoch in range(30):
        if schedule.is_due(epoch):
            schedule.last = epoch
            watched.append(epoch)
    assert watched == list(range(0, 30, n))


def test_a_budget_lowers_the_number_of_points_in_proportion():
    budget = Budget(1000, max_overhead=0.1)
    budget.account(0.05, between=1.0)
    assert budget.num_points == 1000
    budget.account(0.4, between=1.0)
    assert budget.num_points == 250
    budget.account(0.05, between=1.0)
    assert budget.num_points == 250


def test_a_budget_leaves_looks_out_only_when_fewer_points_are_no_help(monkeypatch):
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    budget = Budget(1000, max_overhead=0.1)
    budget.begin()
    now = 1.0
    budget.account(50.0)
    assert budget.num_points == MIN_POINTS
    assert not budget.allows()
    now = 501.0
    assert budget.allows()


def test_without_a_budget_nothing_is_lowered():
    budget = Budget(1000)
    budget.account(1e9, between=1.0)
    assert budget.num_points == 1000
    assert budget.allows()


def test_watching_that_is_too_slow_takes_fewer_points_and_says_so(tmp_path, caplog):
    # No look is as cheap as that.
    watch = InvertibilityCallback(num_points=64, max_overhead=1e-9, figures=False)
    trainer = quiet_trainer(tmp_path, max_epochs=30, callbacks=[watch])
    trainer.fit(Foreign(), loader(), loader())
    points = [look["num_points"] for look in watch.history["forward"]]
    assert points[0] == 64
    assert points[-1] == MIN_POINTS
    assert "it watches 16 points from now on, not 64." in caplog.text
    assert len(points) < 30


def samples(folder, **options):
    """The points of each look in a fit of three epochs."""
    found = []

    class Recorder(Callback):
        def on_validation_end(self, trainer, pl_module):
            found.extend(one.inputs for one in watch.observations)

    watch = InvertibilityCallback(num_points=20, **options)
    trainer = quiet_trainer(folder, max_epochs=3, callbacks=[watch, Recorder()])
    trainer.fit(Foreign(), loader(), loader())
    return found


def test_a_reservoir_is_fresh_in_every_epoch(tmp_path):
    first, second, third = samples(tmp_path)
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)


def test_a_fixed_sample_is_the_same_in_every_epoch_and_not_the_first_points(tmp_path):
    first, second, third = samples(tmp_path, sampling="fixed")
    assert torch.equal(first, second)
    assert torch.equal(second, third)
    assert not torch.equal(first, samples(tmp_path, sampling="fixed", seed=7)[0])
    assert not torch.equal(first, samples(tmp_path, sampling="first")[0])


def test_the_first_points_are_the_first_of_the_loader(tmp_path):
    expected = loader().dataset.tensors[0][:20]
    for found in samples(tmp_path, sampling="first"):
        assert torch.equal(found, expected)
