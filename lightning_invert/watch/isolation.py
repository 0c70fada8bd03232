"""How a module is looked at without a trace."""

from __future__ import annotations

import random
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["isolated"]

MAX_NUMBERS_KEPT = 2**26
"""Weights that are trained are kept, too, for those who change them in their forward; not more than
that, where a copy would take more memory than watching may, nor a larger tensor: it is data."""

MAX_PARTS_KEPT = 1024
"""Of a collection: what is longer is data, of which a forward changes no part."""

UNCHANGEABLE = frozenset({bool, int, float, str, type(None)})

STRUCTURE = frozenset(vars(nn.Module()))
"""What every module keeps of itself: its parts and hooks, which using it does not change."""

MAX_DEPTH = 4
"""Of collections in collections, as attributes."""


@contextmanager
def isolated(*modules: nn.Module, weights: bool = True) -> Iterator[None]:
    """Put everything back afterwards that using the modules may change.

    That is: the random streams of torch, NumPy and Python, all buffers, frozen weights, and every
    attribute that is a tensor, an array, a number, a collection of those, or is set anew (hidden
    states, counters, caches, the states of torchmetrics). What a module logs meanwhile goes nowhere.

    Args:
        modules: LightningModules, or any others.
        weights: Whether trained weights are put back, too.
    """
    parts = {id(part): part for module in modules for part in module.modules()}
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002  # that of the user
    cuda = torch.cuda.is_available() and torch.cuda.is_initialized()
    devices = list(range(torch.cuda.device_count())) if cuda else []
    restore = [_kept(part) for part in parts.values()]
    kept = _weights(parts.values(), trained=weights)
    try:
        with torch.random.fork_rng(devices), _silent(parts.values()):
            yield
    finally:
        for put_back in restore:
            put_back()
        _restore(kept)
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


def _kept(module: nn.Module) -> Callable[[], None]:
    """Return what puts a module's own attributes and buffers back."""
    own = dict(vars(module))
    # Parameters are left where they are: FSDP exchanges them itself, and knows which are in place.
    buffers = own.get("_buffers", {})
    held = dict(buffers)
    values = [
        _copied(value)
        for name, value in (*own.items(), *buffers.items())
        # Most attributes are flags and numbers: this is done for each of every module.
        if type(value) not in UNCHANGEABLE and name not in STRUCTURE
    ]

    def put_back() -> None:
        now = vars(module)
        for name in [name for name in now if name not in own]:
            del now[name]
        now.update(own)
        buffers.clear()
        buffers.update(held)
        for value in values:
            if value is not None:
                value()

    return put_back


def _copied(value: Any, depth: int = 0) -> Callable[[], None] | None:
    """Return what puts the content of a value back, if it has one that can change."""
    if isinstance(value, Tensor):
        # What was made in inference mode cannot be changed outside of it.
        small = value.numel() <= MAX_NUMBERS_KEPT and not value.is_inference()
        return _tensor(value) if small else None
    if isinstance(value, np.ndarray) and value.size <= MAX_NUMBERS_KEPT:
        before = value.copy()
        return lambda: np.copyto(value, before)
    if isinstance(value, torch.Generator):
        state = value.get_state()
        return lambda: _set_state(value, state)
    if depth < MAX_DEPTH and type(value) in (list, dict, set, deque, OrderedDict):
        return _collection(value, depth)
    if depth < MAX_DEPTH and type(value) is tuple and len(value) <= MAX_PARTS_KEPT:
        parts = [one for part in value if (one := _copied(part, depth + 1)) is not None]
        return lambda: _run(parts)
    return None


def _run(restore: list[Callable[[], None]]) -> None:
    for put_back in restore:
        put_back()


def _set_state(generator: torch.Generator, state: Tensor) -> None:
    generator.set_state(state)


def _tensor(tensor: Tensor) -> Callable[[], None]:
    before = tensor.detach().clone()
    return lambda: _restore([(tensor, before)])


def _collection(value: Any, depth: int) -> Callable[[], None]:
    before = value.copy()
    parts = before.values() if isinstance(before, dict) else before
    few = parts if len(before) <= MAX_PARTS_KEPT else ()
    inner = [one for part in few if (one := _copied(part, depth + 1)) is not None]

    def put_back() -> None:
        value.clear()
        (value.extend if isinstance(value, list | deque) else value.update)(before)
        for put_part_back in inner:
            put_part_back()

    return put_back


def _weights(parts: Iterable[nn.Module], *, trained: bool) -> list[tuple[Tensor, Tensor]]:
    own = {id(p): p for part in parts for p in vars(part)["_parameters"].values() if p is not None}
    number = sum(p.numel() for p in own.values() if p.requires_grad)
    trained = trained and number <= MAX_NUMBERS_KEPT
    return [
        (p, p.detach().clone())
        for p in own.values()
        if not hasattr(p, "full_tensor")  # sharded weights are not to be touched
        and (trained or not p.requires_grad)
    ]


def _restore(tensors: list[tuple[Tensor, Tensor]]) -> None:
    with torch.no_grad():
        for tensor, before in tensors:
            if not torch.equal(tensor, before):
                tensor.detach().copy_(before)


@contextmanager
def _silent(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Let `self.log` in a watched forward do nothing: this is not a step of the module's own."""
    for module in modules:
        for name in ("log", "log_dict"):
            if callable(getattr(module, name, None)):
                vars(module)[name] = lambda *_, **__: None
    # They are taken away with the other attributes that were not there before.
    yield
