import pytest
import torch
from lightning.pytorch import Callback
from torch.utils.data import DataLoader, IterableDataset

from lightning_invert.callbacks import InvertibilityCallback
from tests.projects import fit_project, loader


def watched_steps(folder, every, data=None, **options):
    watch = InvertibilityCallback(num_points=8, every_n_validations=every, figures=False)
    fit_project(
        folder,
        watch,
        data=(loader() if data is None else data, loader()),
        **{"max_epochs": 6, **options},
    )
    return [1 + look["step"] for look in watch.history["forward"]]


def epochs(*numbers):
    return [4 * (number + 1) for number in numbers]


@pytest.mark.parametrize(
    ("every", "options", "expected"),
    [
        (4, {}, epochs(0, 4, 5)),
        ("log", {"max_epochs": 8}, epochs(0, 1, 2, 4, 7)),
        ([4, 2], {}, epochs(0, 2, 4, 5)),
        (2, {"check_val_every_n_epoch": 2, "max_epochs": 8}, epochs(1, 5, 7)),
        # Two validations an epoch.
        (4, {"val_check_interval": 2, "max_epochs": 3}, [2, 10, 12]),
        # Training by steps, however long an epoch is.
        ("log", {"max_steps": 17, "max_epochs": -1, "val_check_interval": 3, "check_val_every_n_epoch": None},
         [3, 6, 9, 15]),
        ([], {"max_steps": 5, "accumulate_grad_batches": 2, "max_epochs": 9}, [2, 4]),
    ],
    ids=str,
)  # fmt: skip
def test_validations_that_are_due_the_first_and_the_last_are_watched(
    tmp_path, every, options, expected
):
    assert watched_steps(tmp_path, every, **options) == expected


class Stream(IterableDataset):
    def __iter__(self):
        yield from ((torch.randn(5), torch.randn(3)) for _ in range(8))


def test_data_of_unknown_length_are_taken_for_as_long_as_they_were(tmp_path):
    stream = DataLoader(Stream(), batch_size=2)
    options = {"val_check_interval": 2, "max_epochs": 2}
    assert watched_steps(tmp_path, [], stream, **options) == [2, 8]
    assert watched_steps(tmp_path, [], stream, max_epochs=3) == [4, 12]


def test_only_the_batches_of_a_limited_validation_are_watched(tmp_path):
    watch = InvertibilityCallback(num_points=1000)
    fit_project(tmp_path, watch, limit_val_batches=2)
    assert watch.history["forward"][0]["num_points"] == 32


@pytest.mark.parametrize(("sampling", "same"), [("reservoir", False), ("fixed", True)])
def test_a_reservoir_is_fresh_in_every_epoch_and_a_fixed_sample_is_not_the_first_points(
    tmp_path, sampling, same
):
    class Recorder(Callback):
        def on_validation_end(self, trainer, pl_module):
            samples.extend(observation.inputs for observation in watch.observations)

    samples, watch = [], InvertibilityCallback(num_points=20, sampling=sampling)
    data = loader(), loader()
    fit_project(tmp_path, watch, Recorder(), data=data, max_epochs=3)
    first, second, third = samples
    assert torch.equal(first, second) is torch.equal(second, third) is same
    assert not torch.equal(first, data[1].dataset.tensors[0][:20])
