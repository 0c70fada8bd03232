"""Whatever classes, globals and caches hold is what it would have been without a look."""

import functools
from collections import Counter

import pytest
import torch
from torch import nn
from tqdm import tqdm

from lightning_invert.watch.isolation import isolated
from tests.callbacks.fits import Keeping, values_of

CALLS, STATE = Counter(), {"total": torch.zeros(())}
TOTAL = 0


class InSlots(Keeping):
    __slots__ = ("calls", "sums")

    def prepare(self):
        self.calls, self.sums = 0, torch.zeros(3)

    def forward(self, x):
        self.calls += 1
        self.sums += x.detach().mean()
        return super().forward(x)

    def value(self):
        return self.calls + self.sums.sum()


class ThroughAProperty(Keeping):
    _hidden = 0

    @property
    def calls(self):
        return self._hidden

    @calls.setter
    def calls(self, value):
        type(self)._hidden = value

    def prepare(self):
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return super().forward(x)

    def value(self):
        return self.calls


class CacheOfAClass(Keeping):
    cache, sums = {}, torch.zeros(2)

    def prepare(self):
        self.cache.clear(), self.sums.zero_()

    def forward(self, x):
        self.cache[len(self.cache)] = x
        self.sums += 1
        return super().forward(x)

    def value(self):
        assert not any(x.requires_grad for x in self.cache.values())
        return len(self.cache) + self.sums.sum()


class Globals(Keeping):
    def prepare(self):
        CALLS.clear(), STATE["total"].zero_()

    def forward(self, x):
        return self.inner(x)

    def inner(self, x):
        CALLS["forward"] += 1
        STATE["total"] += x.detach().mean()
        return self.encoder(x)

    def value(self):
        return CALLS["forward"] + STATE["total"]


class GlobalNumber(Keeping):
    def prepare(self):
        global TOTAL
        TOTAL = 0

    def forward(self, x):
        global TOTAL
        TOTAL += len(x)
        return super().forward(x)

    def value(self):
        return TOTAL


class CachedMethod(Keeping):
    def prepare(self):
        type(self).table.cache_clear()

    @functools.lru_cache(maxsize=8)  # noqa: B019  # as people write it
    def table(self, rows):
        return torch.ones(rows, 1)

    def forward(self, x):
        return super().forward(x * self.table(len(x)))

    def value(self):
        return type(self).table.cache_info().misses + type(self).table.cache_info().hits


class CachedProperty(Keeping):
    built = 0

    def prepare(self):
        type(self).built = 0

    @functools.cached_property
    def table(self):
        type(self).built += 1
        return torch.ones(5)

    def forward(self, x):
        return super().forward(x * self.table)

    def value(self):
        return self.built


OWN = [project for project in Keeping.__subclasses__() if project.__module__ == __name__]


@pytest.mark.parametrize("project", OWN)
def test_a_project_keeps_what_it_would_have_kept(project):
    assert values_of(project, watched=True) == values_of(project, watched=False)


BAR = tqdm(disable=True)


def test_a_global_object_of_another_installed_package_is_let_alone():
    class Progressing(nn.Module):
        def forward(self, x):
            BAR.n += 1
            return x

    module, before = Progressing(), BAR.n
    with isolated(module):
        module(torch.zeros(1, 3))
    assert before + 1 == BAR.n  # it may have threads of its own


class Proxy:
    """Stands for what is not there yet, as those of web frameworks do."""

    @property
    def __class__(self):
        raise RuntimeError("nothing is bound")


PROXY = None


def test_what_cannot_be_asked_for_its_class_is_no_hindrance(monkeypatch):
    monkeypatch.setitem(globals(), "PROXY", Proxy())  # pytest asks it, too

    class Referring(nn.Module):
        proxy, calls = PROXY, 0

        def forward(self, x):
            type(self).calls += PROXY is not None
            return x

    module = Referring()
    module.own = [PROXY]
    with isolated(module):
        module(torch.zeros(1, 3))
    assert Referring.calls == 0
