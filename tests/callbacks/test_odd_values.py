"""Batches of tensor subclasses harm no fit."""

from unittest.mock import Mock

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, default_collate

from lightning_invert import InvertibilityCallback, batched_jacobian
from tests.callbacks.fits import fit_unwatched_and_watched
from tests.projects import Foreign, fit_project, loader
from tests.subclasses import labelled, sized
from tests.watch.reference import spectra_point_by_point


class OfNumbers(Foreign):
    """A project that takes the numbers of its batches alone."""

    def forward(self, x):
        return super().forward(x.as_subclass(torch.Tensor))


@pytest.mark.parametrize("maps", [None, {"forward": {"module": "", "input": 0}}])
@pytest.mark.parametrize("subclass", [labelled, sized])
def test_a_batch_of_a_tensor_subclass_is_watched_and_ends_no_fit(tmp_path, subclass, maps):
    def collate(rows):
        x, y = default_collate(rows)
        return subclass(x), y

    batches = DataLoader(loader().dataset, batch_size=64, collate_fn=collate)
    watch = InvertibilityCallback(maps)
    trainer = fit_unwatched_and_watched(tmp_path, OfNumbers, watch, data=lambda: (batches, batches))
    (observation,) = watch.observations
    expected = spectra_point_by_point(trainer.lightning_module.eval(), observation.inputs)
    np.testing.assert_allclose(observation.singular_values, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("subclass", [labelled, sized])
@pytest.mark.parametrize("mode", ["reverse", "forward", "auto"])
def test_a_tensor_subclass_has_the_jacobian_of_its_numbers(subclass, mode):
    net, x = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), torch.randn(5, 3)
    jacobian = batched_jacobian(net, subclass(x), mode=mode)
    torch.testing.assert_close(jacobian, batched_jacobian(net, x))
    assert type(jacobian) is torch.Tensor


def test_what_fails_when_points_are_put_together_ends_no_fit(tmp_path, monkeypatch):
    full = Mock(side_effect=torch.OutOfMemoryError)
    monkeypatch.setattr("lightning_invert.watch.points.Points.to", full)
    with pytest.warns(UserWarning, match="cannot be watched|not clear what to watch"):
        trainer = fit_project(tmp_path, InvertibilityCallback())
    assert "val_loss" in trainer.callback_metrics


class Columns(torch.Tensor):
    """A table that knows its columns, and gives them up only to what it makes itself."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))

    def column(self, name):
        return self.as_plain()[:, [self.titles.index(name)]]

    def as_plain(self):
        return self.as_subclass(torch.Tensor)


def columns(x):
    x = x.as_subclass(Columns)
    x.titles = ("a", "b", "c", "d", "e")
    return x


class ByName(Foreign):
    def forward(self, x):
        return self.encoder(torch.cat([x.column(name) for name in "edcba"], dim=1))


class ByLabel(Foreign):
    """Asks the context, not the input, for its attribute."""

    def forward(self, x, context):
        scale = {"gas": 2.0}[context.label]
        return self.encoder(scale * x.as_subclass(torch.Tensor))

    def step(self, batch):
        return self(*batch).square().mean()


@pytest.mark.parametrize(
    ("make", "maps", "collate"),
    [
        (ByName, None, lambda x, y: (columns(x), y)),
        (ByName, {"f": {"module": "", "input": [0]}}, lambda x, y: (columns(x), y)),
        (ByLabel, {"f": {"module": "", "input": 0, "context": 1}}, lambda x, y: (x, labelled(y))),
    ],
)
def test_a_function_that_wants_attributes_of_a_subclass_has_them(tmp_path, make, maps, collate):
    batches = DataLoader(
        loader().dataset, batch_size=16, collate_fn=lambda rows: collate(*default_collate(rows))
    )
    watch = InvertibilityCallback(maps, num_points=20)
    trainer = fit_unwatched_and_watched(tmp_path, make, watch, data=lambda: (batches, batches))
    (observation,) = watch.observations
    encoder = trainer.lightning_module.eval().encoder
    function = (lambda x: encoder(x.flip(1))) if make is ByName else (lambda x: encoder(2 * x))
    expected = spectra_point_by_point(function, observation.inputs)
    np.testing.assert_allclose(observation.singular_values, expected, rtol=1e-4, atol=1e-6)
