"""A module whose parts have two names is the same module after a look."""

from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from lightning_invert import InvertibilityCallback, analyze
from tests.callbacks.fits import fit_unwatched_and_watched
from tests.identity import identity_of, state_of
from tests.projects import Foreign
from tests.watch.reference import spectra_point_by_point


class SharingParts(Foreign):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.encoder = None
        self.build()

    def forward(self, x):
        return self.net(x)


class PartOfASequential(SharingParts):
    def build(self):
        self.net = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
        self.backbone = self.net[0]


class SequentialOfAttributes(SharingParts):
    def build(self):
        self.first, self.last = nn.Linear(5, 8), nn.Linear(8, 3)
        self.net = nn.Sequential(self.first, nn.Tanh(), self.last)


class OneLayerTwice(SharingParts):
    def build(self):
        layer = nn.Linear(5, 5)
        self.net = nn.Sequential(layer, nn.Tanh(), layer, nn.Linear(5, 3))


class DictionaryOfAliases(SharingParts):
    def build(self):
        self.net = nn.Sequential(OrderedDict(body=nn.Linear(5, 8), head=nn.Linear(8, 3)))
        self.parts = nn.ModuleDict({"body": self.net.body, "head": self.net.head})


class SharedBuffersAndTiedWeights(SharingParts):
    def build(self):
        norm = nn.BatchNorm1d(5)
        self.net = nn.Sequential(nn.Linear(5, 5), norm, nn.Tanh(), nn.Linear(5, 5), nn.Linear(5, 3))
        self.net[3].weight = self.net[0].weight
        self.norms = nn.ModuleList([norm, norm])


class SharedRecurrence(SharingParts):
    def build(self):
        self.cell = nn.GRU(5, 3, batch_first=True)
        self.cells = nn.ModuleList([self.cell])

    def forward(self, x):
        return self.cells[0](x[:, None])[0][:, 0]


PROJECTS = SharingParts.__subclasses__()


@pytest.mark.parametrize(
    ("project", "precision"),
    [*((project, "32-true") for project in PROJECTS), (PartOfASequential, "64-true")],
)
def test_a_fit_with_shared_parts_ends_with_the_same_weights(tmp_path, project, precision):
    watch = InvertibilityCallback()
    fit_unwatched_and_watched(tmp_path, project, watch, precision=precision)


@pytest.mark.parametrize("project", PROJECTS)
def test_to_analyze_in_float64_leaves_shared_parts_as_they_are(project):
    module, points = project().eval(), torch.randn(9, 5)
    module(points)
    before = identity_of(module), state_of(module)
    observation = analyze(module, points, precision="float64")
    assert (identity_of(module), state_of(module)) == before
    expected = spectra_point_by_point(project().eval().double(), points.double())
    np.testing.assert_allclose(observation.singular_values, expected, rtol=1e-9, atol=1e-12)


def test_a_part_that_fails_in_float64_leaves_shared_parts_as_they_are():
    module = PartOfASequential()
    module.net.append(nn.Identity())
    module.net[3].forward = lambda x: x.float() @ torch.ones(3, 3)  # insists on float32
    before = identity_of(module), state_of(module)
    with pytest.raises(Exception, match="dtype of its own"):
        analyze(module, torch.randn(9, 5), precision="float64")
    assert (identity_of(module), state_of(module)) == before
