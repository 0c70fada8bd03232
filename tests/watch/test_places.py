"""Wherever a forward notes something, nothing of it is there after a look."""

import argparse
import collections
import contextvars
import enum
import functools
import itertools
import threading
import weakref
from array import array

import numpy as np
import pytest
import torch
from torch import nn

from lightning_invert.watch.isolation import isolated
from tests import notes

CURRENT = contextvars.ContextVar("current", default=0)


class Registry:
    seen, count, own = [], 0, None  # as people write it

    @classmethod
    def get(cls):
        cls.own = cls.own or cls()
        return cls.own


class Stage(enum.Enum):
    FIRST = 1


def scaled(x):
    scaled.calls = getattr(scaled, "calls", 0) + 1
    return x


class Methods:
    def noted(self, x, *, seen=[]):  # noqa: B006
        seen.append(len(x))
        self.noted.__func__.calls += 1

    noted.calls = 0

    @staticmethod
    def plain(x, seen={}):  # noqa: B006
        seen[len(seen)] = len(x)

    @staticmethod
    @functools.lru_cache
    def table(rows):
        return rows

    @classmethod
    def of_class(cls, x, seen=[]):  # noqa: B006
        seen.append(len(x))


def _class_and_its_lists():
    def note(x):
        Registry.seen.append(len(x))
        Registry.count += 1

    return note, lambda: (list(Registry.seen), Registry.count)


def _singleton():
    Registry.get().total = 0

    def note(x):
        Registry.get().total += len(x)

    return note, lambda: Registry.get().total


def _module():
    def note(x):
        notes.count += 1
        notes.rows.append(len(x))

    return note, lambda: (notes.count, len(notes.rows))


def _module_imported_inside():
    def note(x):
        from tests import notes as own

        own.count += len(x)

    return note, lambda: notes.count


def _function():
    scaled.calls = 0
    return (lambda x: scaled(x)), lambda: scaled.calls


def _methods():
    methods = Methods()

    def note(x):
        methods.noted(x), methods.plain(x), methods.table(len(x)), methods.of_class(x)

    defaults = [Methods.plain.__defaults__, Methods.of_class.__func__.__defaults__]
    kept = lambda: (Methods.noted.calls, str(Methods.noted.__kwdefaults__), str(defaults))
    return note, lambda: (*kept(), Methods.table.cache_info().hits)


def _counted(store, key):
    def note(x):
        store[key] = store[key] + 1

    return note, lambda: store[key]


def _thread_local():
    local = threading.local()
    local.calls = 0
    return (lambda x: setattr(local, "calls", local.calls + 1)), lambda: local.calls


def _context_variable():
    return (lambda x: CURRENT.set(CURRENT.get() + 1)), CURRENT.get


def _enumeration():
    Stage.FIRST.calls = 0
    return _attribute(Stage.FIRST)


def _attribute(holder):
    holder.calls = 0
    return (lambda x: setattr(holder, "calls", holder.calls + 1)), lambda: holder.calls


def _scheduler():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 1.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2)
    return (lambda x: (optimizer.step(), scheduler.step())), lambda: (
        scheduler.last_epoch,
        optimizer.param_groups[0]["lr"],
    )


def _transform():
    transform = torch.distributions.TanhTransform(cache_size=1)
    return transform, lambda: transform._cached_x_y == (None, None)


class Mapping(collections.UserDict):
    """One of the project's own above one of the standard library's."""


class Owner:
    calls = 0

    def count(self, x):
        self.calls += 1


def _referred():
    owner = Owner()
    count, weakly = owner.count, weakref.ref(owner)
    return (lambda x: (count(x), weakly().count(x))), lambda: owner.calls


def _quasi_random():
    engine = torch.quasirandom.SobolEngine(1)
    return (lambda x: engine.draw()), lambda: engine.num_generated


def _object_array():
    array = np.array([[], None], dtype=object)
    return (lambda x: array[0].append(1)), lambda: len(array[0])


def _deep():
    inner = {"rows": [0]}
    store = {"a": {"b": {"c": {"d": {"e": inner}}}}}
    return (lambda x: store["a"]["b"]["c"]["d"]["e"]["rows"].append(1)), lambda: str(inner)


def _tensor_moved():
    tensor = torch.zeros(3)

    def note(x):
        tensor.data = tensor.data + 1
        tensor.resize_(5)

    return note, lambda: (tensor.data_ptr(), tensor.tolist())


def _attribute_of_bits(bits):
    return (lambda x: bits.random_raw()), lambda: str(bits.state)


KEY = nn.Identity()
PLACES = {
    "a class and its lists": _class_and_its_lists,
    "a singleton": _singleton,
    "a module": _module,
    "a module imported inside": _module_imported_inside,
    "a function": _function,
    "methods": _methods,
    "a weak dictionary": lambda: _counted(weakref.WeakKeyDictionary({KEY: 0}), KEY),
    "a chain of dictionaries": lambda: _counted(collections.ChainMap({"a": 0}), "a"),
    "a user's dictionary": lambda: _counted(Mapping({"a": 0}), "a"),
    "a user's list": lambda: _counted(collections.UserList([0]), 0),
    "options": lambda: _attribute(argparse.Namespace()),
    "what others own": _referred,
    "quasi-random numbers": _quasi_random,
    "bytes": lambda: _counted(bytearray(2), 0),
    "an array": lambda: _counted(array("d", [0.0]), 0),
    "a thread's own": _thread_local,
    "a context variable": _context_variable,
    "an enumeration": _enumeration,
    "a parameter": lambda: _attribute(nn.Parameter(torch.zeros(2))),
    "a scheduler": _scheduler,
    "a transform": _transform,
    "an array of objects": _object_array,
    "a deep dictionary": _deep,
    "a tensor that is moved": _tensor_moved,
    "a stream of bits": lambda: _attribute_of_bits(np.random.PCG64(1)),
}


ITERATORS = {
    "count": itertools.count,
    "range": lambda: iter(range(10_000)),
    "enumerate": lambda: enumerate("abcdefgh"),
    "zip": lambda: zip(iter("abcdefgh"), range(9), strict=False),
    "cycle": lambda: itertools.cycle([1, 2, 3]),
    "cycle of modules": lambda: itertools.cycle(nn.ModuleList([nn.ReLU(), KEY])),
    "chain": lambda: itertools.chain([1, 2], [3, 4], [5, 6, 7]),
    "reversed": lambda: reversed(list("abcdefgh")),
    "items": lambda: iter(dict.fromkeys("abcdefgh").items()),
}


class Noting(nn.Module):
    def __init__(self, note):
        super().__init__()
        self.note = note

    def forward(self, x):
        self.note(x)
        return x


def look_at(note):
    module = Noting(note)
    with isolated(module):
        for _ in range(3):
            module(torch.zeros(4, 2))


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_nothing_is_noted_meanwhile(place):
    note, kept = place()
    before = kept()
    look_at(note)
    assert kept() == before
    note(torch.zeros(4, 2))
    assert kept() != before


@pytest.mark.filterwarnings("ignore:Pickle, copy, and deepcopy support:DeprecationWarning")
@pytest.mark.parametrize("make", ITERATORS.values(), ids=ITERATORS)
@pytest.mark.parametrize("steps", [1, 4])
def test_an_iterator_goes_on_from_where_it_was(make, steps):
    iterator, other = make(), make()
    for each in (iterator, other):
        for _ in range(steps):
            next(each)
    look_at(lambda x: next(iterator))
    assert str(next(iterator)) == str(next(other))
