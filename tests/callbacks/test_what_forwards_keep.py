"""What a forward, its hooks and its logger calls keep is what it would have been without a look."""

import functools
import types
from collections import defaultdict, namedtuple
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from lightning_invert import InvertibilityCallback
from tests.callbacks.fits import Keeping, fit_unwatched_and_watched, values_of
from tests.identity import identity_of
from tests.projects import Foreign, fit_project, loader, quiet_trainer
from tests.watch.reference import spectra_point_by_point

MAPS = {"forward": {"module": "", "input": 0}}
FEATURES, SEEN = {}, []
State = namedtuple("State", "mean count")


class Meter:
    """A meter of a project's own: neither a module nor a collection."""

    def __init__(self):
        self.total, self.rows = torch.zeros(()), []

    def update(self, x):
        self.total = self.total + x.detach().mean()
        self.rows.append(len(x))

    def value(self):
        return self.total.item() / max(1, len(self.rows)) + len(self.rows)


@dataclass(slots=True)
class SlottedMeter:
    total: float = 0.0
    rows: list = field(default_factory=list)

    def update(self, x):
        self.total += float(x.detach().mean())
        self.rows.append(len(x))

    def value(self):
        return self.total + len(self.rows)


class Registry(dict):
    """A dictionary that does more than keep its parts."""

    def __setitem__(self, key, value):
        super().__setitem__(key, value)
        super().__setitem__("count", self.get("count", 0) + 1)

    def clear(self):
        raise RuntimeError("a registry is not emptied")


class AttributeMeter(Keeping):
    meter = Meter

    def prepare(self):
        self.meter = type(self).meter()

    def forward(self, x):
        self.meter.update(x)
        return super().forward(x)

    def value(self):
        return self.meter.value()


class AttributeSlots(AttributeMeter):
    meter = SlottedMeter


class Namespace(Keeping):
    def prepare(self):
        self.ns = types.SimpleNamespace(calls=0, state=State(torch.zeros(2), 0))

    def forward(self, x):
        self.ns.calls += 1
        self.ns.state.mean.add_(x.detach().mean())
        return super().forward(x)

    def value(self):
        return self.ns.calls + self.ns.state.mean.sum().item()


class Subclassed(Keeping):
    def prepare(self):
        self.registry, self.lists = Registry(), defaultdict(list)

    def forward(self, x):
        self.registry[len(self.registry)] = len(x)
        self.lists["rows"].append(len(x))
        return super().forward(x)

    def value(self):
        return self.registry["count"] + sum(self.lists["rows"])


class ClosureOfAHook(Keeping):
    def prepare(self):
        features = self.features = {}
        self.encoder[2].register_forward_hook(lambda m, i, o: features.update(last=o))

    def value(self):
        assert not self.features["last"].requires_grad
        return self.features["last"].mean() + len(self.features["last"])


class NonlocalOfAHook(Keeping):
    def prepare(self):
        calls = 0

        def count(module, args):
            nonlocal calls
            calls += 1

        self.encoder.register_forward_pre_hook(count)
        self.calls = lambda: calls

    def value(self):
        return self.calls()


class GlobalOfAHook(Keeping):
    def prepare(self):
        FEATURES.clear(), SEEN.clear()

        def keep(module, args, output):
            FEATURES["last"] = output
            SEEN.append(len(output))

        self.encoder[0].register_forward_hook(keep)

    def value(self):
        return FEATURES["last"].mean() + sum(SEEN)


class MethodOfACollector(Keeping):
    def prepare(self):
        self.collector = Meter()
        self.encoder[0].register_forward_hook(self.collect)
        hook = functools.partial(lambda meter, m, i, o: meter.update(o), self.collector)
        self.encoder[2].register_forward_hook(hook)

    def collect(self, module, args, output):
        self.collector.update(output)

    def value(self):
        return self.collector.value()


class HookThatComputes(Keeping):
    def prepare(self):
        calls = self.calls = []

        def double(module, args, output):
            calls.append(len(output))
            return 2 * output

        self.encoder[0].register_forward_hook(double)

    def value(self):
        return sum(self.calls)


class BackwardHook(Keeping):
    def prepare(self):
        self.norms = []
        self.encoder[2].register_full_backward_hook(
            lambda m, i, o: self.norms.append(float(o[0].norm()))
        )

    def value(self):
        return sum(self.norms)


OWN = [project for project in Keeping.__subclasses__() if project.__module__ == __name__]
PROJECTS = [*OWN, AttributeSlots]


@pytest.mark.parametrize("project", PROJECTS)
def test_a_project_keeps_what_it_would_have_kept(project):
    assert values_of(project, watched=True) == values_of(project, watched=False)


@pytest.mark.parametrize("maps", [None, MAPS])
@pytest.mark.parametrize("project", [Subclassed, GlobalOfAHook, BackwardHook])
def test_a_project_logs_what_it_would_have_logged(tmp_path, project, maps):
    watch = InvertibilityCallback(maps, figures=False)
    trainer = fit_unwatched_and_watched(tmp_path, project, watch, max_epochs=3)
    assert len(watch.history["forward"]) == 3
    assert len([name for name, _ in trainer.logger.own if name == "own"]) == 3


def test_a_hook_that_computes_is_part_of_what_is_watched(tmp_path):
    watch, module = InvertibilityCallback(), HookThatComputes()
    fit_project(tmp_path, watch, module=module)
    (observation,) = watch.observations
    expected = spectra_point_by_point(module.eval(), observation.inputs)
    np.testing.assert_allclose(observation.singular_values, expected, rtol=1e-5, atol=1e-6)


class Caching(Foreign):
    """A project that caches tensors at the first call, under inference mode if that is how it runs."""

    def __init__(self):
        torch.manual_seed(0)
        super().__init__()
        self.cache, self.caches, self.holder = None, {}, Meter()
        self.register_buffer("scale", None)

    def forward(self, x):
        if self.cache is None:
            self.cache = torch.linspace(0.5, 1.5, 5)
            self.caches["deep"] = [(torch.linspace(0.9, 1.1, 5), 1)]
            self.scale = torch.full((5,), 1.1)
            self.holder.total = torch.ones(5)
        return super().forward(
            x * self.cache * self.scale * self.caches["deep"][0][0] * self.holder.total
        )


@pytest.mark.parametrize("maps", [None, MAPS])
def test_tensors_that_were_cached_in_inference_mode_are_the_very_same_afterwards(tmp_path, maps):
    module = Caching()
    # Batch norm and dropout change in training, and the cache is there before.
    quiet_trainer(tmp_path).validate(module, loader())
    assert module.cache.is_inference()
    watch, before = InvertibilityCallback(maps), identity_of(module)
    quiet_trainer(tmp_path, callbacks=[watch]).validate(module, loader())
    after = identity_of(module)
    cached = [key for key in before if "cache" in key or "scale" in key]
    assert all(after[key] == before[key] for key in cached)
    assert module.caches["deep"][0][0].is_inference()
    assert module.holder.total.is_inference()
    (observation,) = watch.observations
    assert observation.scalars["nonfinite_fraction"] == 0


def test_a_fit_after_a_validation_is_watched_whatever_was_cached(tmp_path):
    class Detaching(Caching):
        def forward(self, x):
            if torch.is_grad_enabled() and self.cache is not None and self.cache.is_inference():
                self.cache = None
            return super().forward(x)

    module = Detaching()
    quiet_trainer(tmp_path).validate(module, loader())
    watch = InvertibilityCallback(MAPS)
    fit_project(tmp_path, watch, module=module, max_epochs=2)
    assert len(watch.history["forward"]) == 2
