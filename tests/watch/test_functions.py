"""Functions by their paths: what has a forward, and what a path to none is told."""

import pytest
import torch
from lightning.pytorch import LightningModule as Base
from torch import nn

from lightning_invert.watch.functions import find_function, has_forward


class LightningModule(Base):  # as neural-amp-modeler calls its own
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(3, 2)

    def forward(self, x):
        return self.net(x)

    def decode(self, x):
        return self.net(x).tanh()

    def training_step(self, batch):
        return self(batch).mean()

    def _step(self, batch):
        return self(batch)


class Named(LightningModule):
    def of_root(self, x):
        return self(x)


class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        self.both = Named()


class Outer:
    class LightningModule(Base):
        def forward(self, x):
            return x


@pytest.mark.parametrize(
    ("module", "watched"),
    [(LightningModule, True), (Named, True), (Outer.LightningModule, True), (Base, False)],
)
def test_a_class_named_lightning_module_has_the_forward_that_it_defines(module, watched):
    assert has_forward(module()) is watched


def compiled():
    return torch.compile(nn.Linear(3, 2), backend="eager")


def patched(module):
    module.forward = lambda x: 2 * x
    return module


@pytest.mark.parametrize("make", [compiled, lambda: patched(nn.Module()), lambda: patched(Base())])
def test_a_module_has_the_forward_that_it_was_given(make):
    root = nn.Module()
    root.net = module = make()
    assert find_function("maps['f']", "net", root) == (module, module)


@pytest.mark.parametrize(
    ("path", "root", "words"),
    [
        ("nte", Named(), r"a method of Named.*'nte'.*net, and .* of_root, decode\. Did .*'net'\?"),
        ("decoed", Named(), r"Did you mean 'decode'\?"),
        ("both.encode", Nested(), r"submodules both, both\.net, .* both\.of_root, both\.decode\."),
        ("x", nn.Sequential(*map(nn.Softplus, range(1, 99))), r"23 and 74 more, .* methods none\."),
    ],
)  # fmt: skip
def test_a_path_to_none_is_told_the_submodules_and_methods_that_there_are(path, root, words):
    with pytest.raises(ValueError, match=words):
        find_function("maps['f']", path, root)
