"""How a module is looked at without a trace."""

from __future__ import annotations

import random
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lightning_invert.jacobians.evaluation import plain

__all__ = ["isolated"]

MAX_NUMBERS_KEPT = 2**26
"""Weights are kept, too, for those who change them in their forward; not more than that, where a copy
would take more memory than watching may, nor a larger tensor: it is data."""

MAX_PARTS_KEPT = 1024
"""Of a collection: what is longer is data, of which a forward changes no part."""

UNCHANGEABLE = frozenset({bool, int, float, str, type(None)})

STRUCTURE = frozenset(vars(nn.Module()))
"""What every module keeps of itself: its parts and hooks, which using it does not change."""

COLLECTIONS = (list, dict, set, deque, OrderedDict, Counter, defaultdict)

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

MAX_DEPTH = 4
"""Of collections in collections, as attributes."""


@contextmanager
def isolated(*modules: nn.Module, weights: bool = True) -> Iterator[None]:
    """Put everything back afterwards that using the modules may change.

    That is: the random streams of torch, NumPy and Python, all buffers and weights, and every
    attribute that is a tensor, an array, a number, a collection of those, or is set anew (hidden
    states, counters, caches, the states of torchmetrics). What a module logs meanwhile goes nowhere.

    Args:
        modules: LightningModules, or any others.
        weights: Whether weights are put back, too.
    """
    parts = {id(part): part for module in modules for part in module.modules()}
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002  # that of the user
    cuda = torch.cuda.is_available() and torch.cuda.is_initialized()
    devices = list(range(torch.cuda.device_count())) if cuda else []
    restore = [*map(_kept, parts.values()), *(_weights(parts.values()) if weights else ())]
    try:
        with torch.random.fork_rng(devices), _silent(parts.values()):
            yield
    finally:
        _run(restore)
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


def _kept(module: nn.Module) -> Callable[[], None]:
    """Return what puts a module's own attributes and buffers back."""
    own = dict(vars(module))
    # Parameters are left where they are: FSDP exchanges them itself, and knows which are in place.
    buffers = own.get("_buffers", {})  # of a compiled (scripted) module there are none
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
        _run(value for value in values if value is not None)

    return put_back


def _copied(value: Any, depth: int = 0) -> Callable[[], None] | None:
    """Return what puts the content of a value back, if it has one that can change."""
    try:
        return _content(value, depth)
    except Exception:  # noqa: BLE001  # a value that cannot be copied leaves the others put back
        return None


def _content(value: Any, depth: int) -> Callable[[], None] | None:
    if isinstance(value, Tensor):
        return _tensor(value) if _can_be_put_back(value) else None
    if isinstance(value, np.ndarray):
        small = value.size <= MAX_NUMBERS_KEPT and value.flags.writeable
        before = value.copy() if small else None
        return (lambda: np.copyto(value, before)) if before is not None else None
    if isinstance(value, nn.Module):  # one that is hidden in a collection
        hidden = [_kept(part) for part in value.modules()]
        return lambda: _run(hidden)
    for kind, get, put in STREAMS:
        if isinstance(value, kind):
            state = get(value)
            return lambda put=put, state=state: put(value, state)  # type: ignore[misc]
    if depth < MAX_DEPTH and type(value) in COLLECTIONS:
        return _collection(value, depth)
    if depth < MAX_DEPTH and type(value) is tuple and len(value) <= MAX_PARTS_KEPT:
        parts = [one for part in value if (one := _copied(part, depth + 1)) is not None]
        return lambda: _run(parts)
    return None


def _run(restore: Iterable[Callable[[], None]]) -> None:
    for put_back in restore:
        # What cannot be put back is no reason to leave the others, or to end a fit.
        with suppress(Exception):
            put_back()


def _can_be_put_back(tensor: Tensor) -> bool:
    """Tell whether it is plain numbers, each with a place of its own, that may be written to."""
    return (
        not is_lazy(tensor)
        and tensor.layout == torch.strided
        and not (tensor.is_meta or tensor.is_nested or tensor.is_inference())
        and tensor.numel() <= MAX_NUMBERS_KEPT
        and 0 not in tensor.stride()
    )


def _tensor(tensor: Tensor) -> Callable[[], None]:
    before = plain(tensor).clone()
    return lambda: _restore(tensor, before)


def _collection(value: Any, depth: int) -> Callable[[], None]:
    before = value.copy()
    parts = before.values() if isinstance(before, dict) else before
    few = parts if len(before) <= MAX_PARTS_KEPT else ()
    inner = [one for part in few if (one := _copied(part, depth + 1)) is not None]

    def put_back() -> None:
        value.clear()
        (value.extend if isinstance(value, list | deque) else value.update)(before)
        _run(inner)

    return put_back


def _weights(parts: Iterable[nn.Module]) -> list[Callable[[], None]]:
    own = {id(p): p for part in parts for p in part.parameters(recurse=False)}
    # Sharded weights are not to be touched.
    whole = [p for p in own.values() if not hasattr(p, "full_tensor") and _can_be_put_back(p)]
    if sum(p.numel() for p in whole) > MAX_NUMBERS_KEPT:
        return []
    return [put_back for p in whole if (put_back := _copied(p)) is not None]


def _restore(tensor: Tensor, before: Tensor) -> None:
    numbers = plain(tensor)
    with torch.no_grad():
        if not torch.equal(numbers, before):
            numbers.copy_(before)


@contextmanager
def _silent(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Let `self.log` in a watched forward do nothing: this is not a step of the module's own."""
    replaced = [
        (vars(module), name, vars(module).get(name))
        for module in modules
        # By name, because `lightning` and `pytorch_lightning` each have a class of their own.
        if any(kind.__name__ == "LightningModule" for kind in type(module).__mro__)
        for name in ("log", "log_dict")
    ]
    for attributes, name, _ in replaced:
        attributes[name] = lambda *_, **__: None
    try:
        yield
    finally:
        for attributes, name, own in replaced:
            attributes.pop(name, None)
            if own is not None:
                attributes[name] = own
