"""A snapshot of all that an evaluation of modules may change, which it can put back.

It walks from the modules to everything that their code can reach: attributes, buffers,
weights, collections, objects of the project's own, random streams, and what functions and hooks close
over. Each value is put back in place, so that nobody who holds it sees a difference. A copy of the
modules would not do: bound methods, closures and wrappers of strategies hold the originals.

What is left: generators, and iterators over them; files, sockets, queues, and what C extensions or sparse
tensors keep; names that are made on the way in classes and globals, and globals of functions that are
found by no name; objects of libraries that do more than keep (a trainer, a dataset); data beyond the
limits below; side effects of code outside of Python.
"""

from __future__ import annotations

import copy
import functools
import random
import warnings
import weakref
from array import array
from collections import OrderedDict, deque
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import suppress
from contextvars import ContextVar
from types import CellType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lightning_invert.jacobians import namespaces
from lightning_invert.jacobians.evaluation import plain
from lightning_invert.jacobians.namespaces import CACHED, globals_of, is_of_a_library
from lightning_invert.jacobians.silence import Silent, is_a_logger

__all__ = ["Snapshot", "is_sharded"]

MAX_NUMBERS = 2**26
"""Numbers of all weights, or of one array or tensor: a larger one is data, and is not copied."""

MAX_PARTS = 1024
"""Parts of a collection that are looked into: a longer one is data, but keeps its parts."""

MAX_OBJECTS = 4096
"""Values below the modules' attributes that are looked into in one snapshot: some milliseconds."""

MAX_DEPTH = 8
"""Levels of collections, objects and closures below an attribute."""

UNCHANGEABLE = frozenset({bool, int, float, str, bytes, type(None), torch.device, torch.dtype})

STRUCTURE = frozenset(vars(nn.Module()))
"""What every module has of its own: flags, hooks and parts."""

KEEPERS = (
    *("abc", "argparse", "collections", "enum", "types", "typing", "weakref"),
    *("_thread", "_weakref", "numpy", "torch.distributions", "torch.optim", "torch.quasirandom"),
)
"""Modules of libraries whose objects only keep what they are given, and are looked into."""

STATES: tuple[tuple[Any, Callable[[Any], Any], Callable[[Any, Any], object]], ...] = (
    (set, frozenset, lambda parts, before: (set.clear(parts), set.update(parts, before))),
    ((bytearray, array), lambda a: a[:], lambda a, before: a.__setitem__(slice(None), before)),
    (ContextVar, ContextVar.get, ContextVar.set),
    (torch.Generator, torch.Generator.get_state, torch.Generator.set_state),
    (random.Random, random.Random.getstate, random.Random.setstate),
    (np.random.RandomState, np.random.RandomState.get_state, np.random.RandomState.set_state),
    (np.random.BitGenerator, lambda g: g.state, lambda g, state: setattr(g, "state", state)),
    (
        np.random.Generator,
        lambda g: g.bit_generator.state,
        lambda g, state: setattr(g.bit_generator, "state", state),
    ),
)
"""What changes in place, such as random streams: kind, how its state is read and how it is set."""


class Snapshot:
    """What was found in values, and how it is put back.

    ``weights``: whether the numbers of weights are put back, too.
    """

    def __init__(self, *, weights: bool = True) -> None:
        self._weights = weights
        self._undo: list[Callable[[], object]] = []
        self._found: dict[int, tuple[Any, Any]] = {}
        """Identity -> the value, which keeps its identity while it is held, and its stand-in."""
        self._nested = 0

    def undo(self, function: Callable[..., object], *arguments: Any) -> None:
        """Call a function at the end, whatever else fails: that is no reason to end a fit."""
        self._undo.append(functools.partial(function, *arguments))

    def restore(self) -> None:
        """Put everything back."""
        quiet = suppress(Exception)
        with torch.no_grad():
            # Backwards: what was found first puts back the places that the others were found in.
            for undo in reversed(self._undo):
                with quiet:
                    undo()

    def keep(self, own: Any, names: Container[Any] | None = None, depth: int = 0) -> None:
        """Take a dictionary, list or deque, whose parts are put back; look into those of some names."""
        # By the methods of the built-in type: a subclass may do more than keep its parts.
        kind: Any = next(k for k in (OrderedDict, dict, list, deque) if isinstance(own, k))
        if isinstance(own, dict):
            before: Any = dict(kind.items(own))
            self.undo(_refill, own, kind.clear, kind.update, before)
            items = before.items()
        else:
            before = tuple(kind.__iter__(own))
            self.undo(_refill, own, kind.clear, kind.extend, before)
            items = enumerate(before)
        if depth == 0 or len(before) <= MAX_PARTS:
            for name, part in items:
                if names is None or name in names:
                    self._replace(part, depth, kind.__setitem__, own, name)

    def add_module(self, module: nn.Module) -> None:
        """Take a module's attributes, buffers and registered parts."""
        if id(module) in self._found:
            return
        self._found[id(module)] = module, module
        own = vars(module)
        self.keep(own, own.keys() - STRUCTURE)
        with suppress(Exception):  # whatever classes are made of
            self._class_of(module, depth=0)
        for name, names in (("_buffers", None), ("_modules", ()), ("_parameters", ())):
            slots = own.get(name)
            if type(slots) is not dict:  # of a compiled (scripted) module there are none
                continue
            # FSDP exchanges sharded ones itself, and knows which are in place.
            if name != "_parameters" or not any(map(is_sharded, slots.values())):
                self.keep(slots, names)

    def add_weights(self, modules: Iterable[nn.Module]) -> None:
        """Take the numbers of the weights, for those who change them in their forward."""
        if not self._weights:
            return
        weights = {id(p): p for part in modules for p in part.parameters(recurse=False)}
        whole = [p for p in weights.values() if not (is_sharded(p) or is_lazy(p))]
        if sum(p.numel() for p in whole) <= MAX_NUMBERS:
            for weight in whole:
                self.add(weight)

    def add(self, value: Any, depth: int = 0) -> Any:
        """Take a value and return what stands for it meanwhile: itself, or what may be used up."""
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
        if issubclass(type(value), type):
            self._classes(value, depth)
            return value
        self._found[id(value)] = value, value
        try:
            stand_in = self._content(value, depth)
        except Exception:  # noqa: BLE001  # a value that cannot be copied leaves the others put back
            return value
        self._found[id(value)] = value, stand_in
        return stand_in

    def _replace(self, value: Any, depth: int, put: Callable[..., None], *place: Any) -> None:
        """Take a value, and put what stands for it in its place meanwhile."""
        if type(value) not in UNCHANGEABLE and (stand_in := self.add(value, depth)) is not value:
            put(*place, stand_in)
            self.undo(put, *place, value)

    def _content(self, value: Any, depth: int) -> Any:
        if isinstance(value, Tensor):
            self._tensor(value)
        elif isinstance(value, np.ndarray):
            self._array(value, depth)
        elif isinstance(value, dict | list | deque):
            self.keep(value, depth=depth + 1)
        elif isinstance(value, tuple):
            return self._tuple(value, depth)
        elif is_a_logger(value):
            return Silent(value)
        elif state := next((state for state in STATES if isinstance(value, state[0])), None):
            _, get, put = state
            self.undo(put, value, get(value))
        elif isinstance(value, FunctionType | MethodType | functools.partial):
            self.add_function(value, depth)
        elif isinstance(value, staticmethod | classmethod):
            function = self.add(value.__func__, depth)
            return value if function is value.__func__ else type(value)(function)
        elif isinstance(value, CACHED):
            return functools.lru_cache(**value.cache_parameters())(value.__wrapped__)
        elif isinstance(value, Iterator) and type(value).__module__ in ("builtins", "itertools"):
            with warnings.catch_warnings():  # Python 3.12 deprecates copies of some, 3.14 has none
                warnings.simplefilter("ignore")
                return _twin(value)
        elif isinstance(value, weakref.ref):
            self.add(value(), depth)
        elif _only_keeps(type(value)):  # type: ignore[arg-type]
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
            self.keep(function.__dict__, depth=depth + 1)
            self._globals(function, depth)

    def _cell(self, cell: CellType, depth: int) -> None:
        with suppress(ValueError):  # one that is not filled yet
            before = cell.cell_contents
            self.undo(setattr, cell, "cell_contents", before)
            self._replace(before, depth + 1, setattr, cell, "cell_contents")

    def _globals(self, code: type | FunctionType, depth: int) -> None:
        for own, loaded in globals_of(code):
            before = {name: own[name] for name in loaded if name in own}
            self._names(before, own.get, own.__setitem__, depth)

    def _names(
        self, before: dict[str, Any], get: Callable[..., Any], put: Callable[..., None], depth: int
    ) -> None:
        """Take names of a class or of globals: what is bound to another value is bound back."""
        self.undo(_put_back, get, put, before)
        for name, value in before.items():
            self._replace(value, depth + 1, put, name)

    def _classes(self, kind: type, depth: int) -> None:
        """Take what the project's classes among a class and its bases keep: attributes and globals."""
        for part in namespaces.classes_of_the_project(kind):
            if id(part) not in self._found:
                self._found[id(part)] = part, part
                own = vars(part)
                before = {n: value for n, value in own.items() if namespaces.can_change(n, value)}
                self._names(before, own.get, functools.partial(setattr, part), depth)
                self._globals(part, depth)

    def _class_of(self, value: Any, depth: int) -> None:
        """Take what an object keeps in slots, and what its classes keep."""
        for kind in namespaces.classes_of_the_project(type(value)):  # type: ignore[arg-type]
            names = vars(kind).get("__slots__", ())
            for name in (names,) if isinstance(names, str) else names:
                with suppress(AttributeError):
                    part = object.__getattribute__(value, name)
                    put = functools.partial(object.__setattr__, value, name)
                    self.undo(put, part)
                    self._replace(part, depth + 1, put)
        self._classes(type(value), depth)

    def _tuple(self, value: tuple[Any, ...], depth: int) -> tuple[Any, ...]:
        if len(value) > MAX_PARTS:
            return value
        parts = [self.add(part, depth + 1) for part in value]
        if all(new is old for new, old in zip(parts, value, strict=True)):
            return value
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)

    def _object(self, value: Any, depth: int) -> None:
        """Take an object of the project's own: what it keeps in attributes and slots."""
        if type(own := getattr(value, "__dict__", None)) is dict:
            self.keep(own, depth=depth + 1)
        self._class_of(value, depth)

    def _array(self, array: np.ndarray[Any, Any], depth: int) -> None:
        if array.size <= MAX_NUMBERS and array.flags.writeable:
            self.undo(np.copyto, array, array.copy())
        if array.dtype == object and array.size <= MAX_PARTS:
            for part in array.flat:
                self.add(part, depth + 1)

    def _tensor(self, tensor: Tensor) -> None:
        if not _can_be_put_back(tensor):
            return
        self.undo(_write, tensor, plain(tensor).clone(), tensor.data, tensor.data_ptr())
        if tensor.__dict__:
            self.keep(tensor.__dict__, depth=1)
        needs = tensor.requires_grad
        if tensor.is_leaf and (needs or isinstance(tensor, nn.Parameter)):
            self.undo(_require, tensor, needs, tensor.grad)
            tensor.grad = None  # what is accumulated meanwhile is apart


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


def is_sharded(weight: Any) -> bool:
    """Tell whether a weight is spread over processes."""
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


def _write(tensor: Tensor, before: Tensor, numbers: Tensor, place: int) -> None:
    """Put numbers back, and where they are kept."""
    if tensor.data_ptr() != place or (tensor.dtype, tensor.shape) != (before.dtype, before.shape):
        tensor.data = numbers
    if not torch.equal(kept := plain(tensor), before):
        with torch.inference_mode(tensor.is_inference()):
            kept.copy_(before)


def _require(tensor: Tensor, needs: bool, gradient: Tensor | None) -> None:
    """Put back whether a tensor needs a gradient, and the one that it has."""
    if tensor.requires_grad != needs:
        tensor.requires_grad_(needs)
    if tensor.grad is not gradient:
        tensor.grad = gradient


def _twin(iterator: Any) -> Any:
    """Return an iterator that goes on alike and leaves this one where it is; raise if there is none."""
    make, arguments, *state = iterator.__reduce__()
    twin = make(*(_twin(part) if isinstance(part, Iterator) else part for part in arguments))
    if state and state[0] is not None:  # from Python 3.12 on, a range's is
        twin.__setstate__(_unshared(state[0]))
    return twin


def _unshared(state: Any) -> Any:
    if isinstance(state, tuple):
        return tuple(map(_unshared, state))
    return _twin(state) if isinstance(state, Iterator) else copy.copy(state)


@functools.lru_cache(maxsize=4096)
def _only_keeps(kind: type) -> bool:
    """Tell whether objects of a class are the project's own, or a library's that only keep what they are given."""
    return all(
        not is_of_a_library(k.__module__) or k.__module__.startswith(KEEPERS)
        for k in kind.__mro__[:-1]
    )
