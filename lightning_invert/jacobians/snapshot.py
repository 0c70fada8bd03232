"""A snapshot of all that an evaluation of modules may change, which it can put back.

It walks from the modules to everything that their code can reach: attributes, buffers,
weights, collections, objects of the project's own, random streams, and what functions and hooks close
over. Each value is put back in place, so that nobody who holds it sees a difference. A copy of the
modules would not do: bound methods, closures and wrappers of strategies hold the originals.

What is left: generators, and iterators over other iterators; files, sockets and what C extensions keep;
names that are made on the way in classes and globals, and globals of functions that are found by no
name; hooks for all modules of torch; objects of libraries (a trainer, a dataset), data beyond the
limits below; side effects of code outside of Python.
"""

from __future__ import annotations

import copy
import functools
import itertools
import random
import warnings
import weakref
from argparse import Namespace
from collections import OrderedDict, UserDict, UserList, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from types import CellType, FunctionType, MethodType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer
from torch.quasirandom import SobolEngine

from lightning_invert.jacobians import namespaces
from lightning_invert.jacobians.evaluation import plain
from lightning_invert.jacobians.namespaces import CACHED, CODE, globals_of, is_of_a_library

__all__ = ["Snapshot", "lent"]

MAX_NUMBERS = 2**26
"""Numbers of all weights, or of one array or tensor: a larger one is data, and is not copied."""

MAX_PARTS = 1024
"""Parts of a collection that are looked into: a longer one is data, but keeps its parts."""

MAX_OBJECTS = 4096
"""Values below the modules' attributes that are looked into in one snapshot: some milliseconds."""

MAX_DEPTH = 4
"""Levels of collections, objects and closures below an attribute."""

UNCHANGEABLE = frozenset(
    {bool, int, float, str, bytes, type(None), torch.device, torch.dtype, type}
)

STRUCTURE = frozenset(vars(nn.Module()))
"""What every module has of its own: flags, hooks and parts."""

HOLDERS = (SimpleNamespace, Namespace, UserDict, UserList, Optimizer, SobolEngine)
"""Classes of libraries whose objects are looked into all the same."""

ITERATORS: tuple[Any, ...] = (
    *(itertools.count, itertools.cycle),
    *(type(iter([])), type(iter(())), type(iter(range(0)))),
)
"""Iterators that a copy stands for meanwhile."""

STREAMS: tuple[tuple[type, Callable[[Any], Any], Callable[[Any, Any], None]], ...] = (
    (torch.Generator, torch.Generator.get_state, lambda g, state: g.set_state(state) and None),
    (random.Random, random.Random.getstate, random.Random.setstate),
    (np.random.RandomState, np.random.RandomState.get_state, np.random.RandomState.set_state),
    (
        np.random.Generator,
        lambda g: g.bit_generator.state,
        lambda g, state: setattr(g.bit_generator, "state", state),
    ),
)
"""Random streams of a module's own: kind, how their state is read and how it is set."""


@contextmanager
def lent(*values: Any) -> Iterator[None]:
    """Lend clones of the tensors made in inference mode that functions and modules hold.

    No gradient passes through the originals, which are in their places again afterwards.
    """
    snapshot = Snapshot(only_lends=True)
    try:
        for value in values:
            snapshot.add(value)
        yield
    finally:
        snapshot.restore()


class Snapshot:
    """What was found in values, and how it is put back.

    With ``only_lends`` clones stand in for tensors made in inference mode, and nothing else is put back.
    ``weights``: whether the numbers of weights are put back, too.
    """

    def __init__(self, *, weights: bool = True, only_lends: bool = False) -> None:
        self._weights, self._only_lends = weights and not only_lends, only_lends
        self._undo: list[Callable[[], None]] = []
        self._places: list[tuple[dict[str, Any], dict[str, Any]]] = []
        """Dictionaries of modules, and what they held."""
        self._found: dict[int, tuple[Any, Any]] = {}
        """Identity -> the value, which keeps its identity while it is held, and its stand-in."""
        self._nested = 0

    def restore(self) -> None:
        """Put everything back."""
        with torch.no_grad():
            # Backwards: what was found first puts back the places that the others were found in.
            for undo in reversed(self._undo):
                try:
                    undo()
                except Exception:  # noqa: BLE001, S112
                    # What cannot be put back is no reason to leave the others, or to end a fit.
                    continue
        for slots, before in self._places:
            slots.clear()
            slots.update(before)

    def add_module(self, module: nn.Module) -> None:
        """Take a module's attributes, buffers and registered parts."""
        if id(module) in self._found:
            return
        self._found[id(module)] = module, module
        own = vars(module)
        self._slots(own, [name for name in own if name not in STRUCTURE])
        with suppress(Exception):  # whatever classes are made of
            self._add_classes(module, depth=0)
        # Of a compiled (scripted) module there are none.
        for name in ("_buffers", "_modules"):
            slots = own.get(name)
            if type(slots) is dict:
                self._slots(slots, [*slots] if name == "_buffers" else ())
        parameters = own.get("_parameters")
        # FSDP exchanges sharded ones itself, and knows which are in place.
        if type(parameters) is dict and not any(map(_is_sharded, parameters.values())):
            self._slots(parameters, [*parameters] if self._only_lends else ())
        if self._only_lends:
            for name in own:
                if name.endswith("_hooks"):
                    self.add(own[name])

    def add_weights(self, modules: Iterable[nn.Module]) -> None:
        """Take the numbers of the weights, for those who change them in their forward."""
        if not self._weights:
            return
        weights = {id(p): p for part in modules for p in part.parameters(recurse=False)}
        whole = [p for p in weights.values() if not (_is_sharded(p) or is_lazy(p))]
        if sum(p.numel() for p in whole) <= MAX_NUMBERS:
            for weight in whole:
                self.add(weight)

    def add(self, value: Any, depth: int = 0) -> Any:
        """Take a value and return what stands for it meanwhile: itself, or a clone that can be used."""
        if type(value) in UNCHANGEABLE:
            return value
        if id(value) in self._found:
            return self._found[id(value)][1]
        if depth > 0:
            self._nested += 1
            if depth > MAX_DEPTH or self._nested > MAX_OBJECTS:
                return value
        if issubclass(type(value), nn.Module):  # one that is no part, hidden in a collection
            for part in value.modules():
                self.add_module(part)
            self.add_weights(value.modules())
            return value
        self._found[id(value)] = value, value
        try:
            stand_in = self._content(value, depth)
        except Exception:  # noqa: BLE001  # a value that cannot be copied leaves the others put back
            return value
        self._found[id(value)] = value, stand_in
        return stand_in

    def _put_back_by(self, undo: Callable[[], None]) -> None:
        if not self._only_lends:
            self._undo.append(undo)

    def _replace(self, value: Any, depth: int, put: Callable[..., None], *place: Any) -> None:
        """Take a value, and put what stands for it in its place meanwhile."""
        if type(value) not in UNCHANGEABLE and (stand_in := self.add(value, depth)) is not value:
            put(*place, stand_in)
            self._undo.append(functools.partial(put, *place, value))

    def _content(self, value: Any, depth: int) -> Any:
        if isinstance(value, Tensor):
            return self._tensor(value)
        if isinstance(value, np.ndarray):
            if value.size <= MAX_NUMBERS and value.flags.writeable and not self._only_lends:
                before = value.copy()
                self._undo.append(lambda: np.copyto(value, before))
        elif isinstance(value, dict):
            self._dictionary(value, depth)
        elif isinstance(value, list | deque):
            self._sequence(value, depth)
        elif isinstance(value, set):
            members = frozenset(value)
            self._put_back_by(functools.partial(_refill, value, set.clear, set.update, members))
        elif isinstance(value, tuple):
            return self._tuple(value, depth)
        elif stream := next((s for s in STREAMS if isinstance(value, s[0])), None):
            _, get, put = stream
            state = get(value)
            self._put_back_by(lambda: put(value, state))
        elif isinstance(value, FunctionType | MethodType | functools.partial):
            self.add_function(value, depth)
        elif isinstance(value, CACHED):
            return functools.lru_cache(**value.cache_parameters())(value.__wrapped__)
        elif isinstance(value, ITERATORS) and not self._only_lends:
            with warnings.catch_warnings():  # Python 3.12 deprecates copies of some, 3.14 has none
                warnings.simplefilter("ignore")
                return copy.deepcopy(value)
        elif isinstance(value, weakref.ref):
            self.add(value(), depth)
        elif isinstance(value, HOLDERS) or _is_of_the_project(value):
            self._object(value, depth)
        return value

    def add_function(self, function: Any, depth: int = 0) -> None:
        """Take what a function of the project's own can change: closure, globals and bound self."""
        if isinstance(function, functools.partial):
            state: Any = function.__reduce__()[2]
            put = getattr(function, "__setstate__")  # noqa: B009  # typeshed has none
            self._replace(state[:3], depth, lambda new: put((*new, state[3])))
        elif isinstance(function, MethodType):
            owner = function.__self__
            self.add(owner, depth + 1)
            # A callback, for one, has a library's class among its bases.
            if not (isinstance(owner, nn.Module | type) or is_of_a_library(type(owner).__module__)):
                self._object(owner, depth)
            self.add(function.__func__, depth)
        elif isinstance(function, FunctionType) and not is_of_a_library(function.__module__):
            for cell in function.__closure__ or ():
                self._cell(cell, depth)
            for defaults in ("__defaults__", "__kwdefaults__"):
                self._replace(getattr(function, defaults), depth + 1, setattr, function, defaults)
            self._add_globals(globals_of(function), depth)

    def _cell(self, cell: CellType, depth: int) -> None:
        with suppress(ValueError):  # one that is not filled yet
            before = cell.cell_contents
            self._put_back_by(functools.partial(setattr, cell, "cell_contents", before))
            self._replace(before, depth + 1, setattr, cell, "cell_contents")

    def _add_globals(self, names: namespaces.Names, depth: int) -> None:
        for own, loaded in names:
            before = {name: own[name] for name in loaded if name in own}
            self._put_back_by(functools.partial(_put_back, own.get, own.__setitem__, before))
            for name, value in before.items():
                self._replace(value, depth + 1, own.__setitem__, name)

    def _add_classes(self, value: Any, depth: int) -> None:
        """Take what the project's classes of an object keep: in attributes, globals and slots."""
        for kind in namespaces.classes_of_the_project(type(value)):  # type: ignore[arg-type]
            own = vars(kind)
            for name in (slots,) if isinstance(slots := own.get("__slots__", ()), str) else slots:
                with suppress(AttributeError):
                    part = object.__getattribute__(value, name)
                    slot = functools.partial(object.__setattr__, value, name)
                    self._put_back_by(functools.partial(slot, part))
                    self._replace(part, depth + 1, slot)
            if id(kind) in self._found:
                continue
            self._found[id(kind)] = kind, kind
            before = {
                name: part
                for name, part in own.items()
                if not (name.startswith(("__", "_abc_")) or issubclass(type(part), CODE))
            }
            put = functools.partial(setattr, kind)
            self._put_back_by(functools.partial(_put_back, own.get, put, before))
            for name, part in before.items():
                self._replace(part, depth + 1, put, name)
            for part in own.values():  # what methods close over, and their defaults
                if type(part) is FunctionType and (part.__closure__ or part.__defaults__):
                    self.add(part, depth + 1)
            self._add_globals(globals_of(kind), depth)

    def _slots(self, slots: dict[str, Any], names: Iterable[str]) -> None:
        """Take a dictionary whose entries are put back by identity, and its content under names."""
        before = dict(slots)
        if not self._only_lends:
            self._places.append((slots, before))
        for name in names:
            self._replace(before[name], 0, slots.__setitem__, name)

    def _dictionary(self, value: dict[Any, Any], depth: int) -> None:
        # By the methods of the built-in type: a subclass may do more than keep its parts.
        kind = OrderedDict if isinstance(value, OrderedDict) else dict
        before = list(kind.items(value))
        self._put_back_by(functools.partial(_refill, value, kind.clear, kind.update, before))
        if len(before) <= MAX_PARTS:
            for key, part in before:
                self._replace(part, depth + 1, kind.__setitem__, value, key)

    def _sequence(self, value: list[Any] | deque[Any], depth: int) -> None:
        kind: Any = list if isinstance(value, list) else deque
        before = tuple(kind.__iter__(value))
        self._put_back_by(functools.partial(_refill, value, kind.clear, kind.extend, before))
        if len(before) <= MAX_PARTS:
            for place, part in enumerate(before):
                self._replace(part, depth + 1, kind.__setitem__, value, place)

    def _tuple(self, value: tuple[Any, ...], depth: int) -> tuple[Any, ...]:
        if len(value) > MAX_PARTS:
            return value
        parts = [self.add(part, depth + 1) for part in value]
        if all(new is old for new, old in zip(parts, value, strict=True)):
            return value
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)

    def _object(self, value: Any, depth: int) -> None:
        """Take an object of the project's own: what it keeps in attributes and slots."""
        own = getattr(value, "__dict__", None)
        if type(own) is dict:
            before = dict(own)
            self._put_back_by(functools.partial(_refill, own, dict.clear, dict.update, before))
            for name, part in before.items():
                self._replace(part, depth + 1, own.__setitem__, name)
        self._add_classes(value, depth)

    def _tensor(self, tensor: Tensor) -> Tensor:
        if not is_lazy(tensor) and tensor.is_inference():
            with torch.inference_mode(False):
                return tensor.clone()
        if not self._only_lends and _can_be_put_back(tensor):
            before = plain(tensor).clone()
            self._undo.append(lambda: _write(tensor, before))
            if tensor.is_leaf and (tensor.requires_grad or isinstance(tensor, nn.Parameter)):
                self._leaf(tensor)
        return tensor

    def _leaf(self, tensor: Tensor) -> None:
        """Take what the numbers are not: where they are kept, their gradient, whether they need one."""
        numbers, gradient, needs = tensor.data, tensor.grad, tensor.requires_grad
        place = numbers.data_ptr()

        def undo() -> None:
            if tensor.data_ptr() != place or tensor.dtype != numbers.dtype:
                tensor.data = numbers
            if tensor.requires_grad != needs:
                tensor.requires_grad_(needs)
            if tensor.grad is not gradient:
                tensor.grad = gradient

        tensor.grad = None  # what is accumulated meanwhile is apart
        self._undo.append(undo)


def _refill(
    value: Any, clear: Callable[[Any], None], fill: Callable[[Any, Any], None], parts: Any
) -> None:
    clear(value)
    fill(value, parts)


def _put_back(
    get: Callable[[str], Any], put: Callable[[str, Any], None], before: dict[str, Any]
) -> None:
    for name, value in before.items():
        if get(name) is not value:
            put(name, value)


def _is_sharded(weight: Any) -> bool:
    return hasattr(weight, "full_tensor")


def _can_be_put_back(tensor: Tensor) -> bool:
    """Tell whether it is plain numbers, each with a place of its own, that may be written to."""
    return (
        not is_lazy(tensor)
        and tensor.layout == torch.strided
        and not (tensor.is_meta or tensor.is_nested)
        and tensor.numel() <= MAX_NUMBERS
        and 0 not in tensor.stride()
    )


def _write(tensor: Tensor, before: Tensor) -> None:
    numbers = plain(tensor)
    if not torch.equal(numbers, before):
        numbers.copy_(before)


def _is_of_the_project(value: Any) -> bool:
    """Tell whether a value is an object of a class that no library defines, or has a part in."""
    return not isinstance(value, type) and not any(
        is_of_a_library(kind.__module__) and kind.__module__ != "collections.abc"
        for kind in type(value).__mro__[:-1]
    )
