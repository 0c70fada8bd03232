"""Checkpoints of activations, which recompute a forward while its gradient is taken."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from torch.utils import checkpoint

__all__ = ["without_checkpoints", "without_reentrant_checkpoints"]


class _Unchecked:
    """Replace torch's reentrant checkpoints, and keep the activations."""

    @staticmethod
    def apply(function: Callable[..., Any], preserve_rng_state: bool, *arguments: Any) -> Any:
        return function(*arguments)


def _unchecked(*_: Any, **__: Any) -> Iterator[None]:
    """Replace the generator of torch's other checkpoints."""
    yield


_STAND_INS: dict[str, Any] = {
    "CheckpointFunction": _Unchecked,
    "_checkpoint_without_reentrant_generator": _unchecked,
}
_lock = threading.Lock()
_replaced: dict[str, tuple[int, Any]] = {}
"""The number of evaluations that run without a kind of checkpoint, and torch's own function."""


@contextmanager
def _without(kind: str) -> Iterator[None]:
    """Evaluate without this kind of checkpoint, for which torch has no switch.

    Other threads see the substitution, too: their values and gradients are the same meanwhile, and
    take more memory. Where torch has no such name, nothing is replaced.
    """
    with _lock:
        depth, original = _replaced.get(kind, (0, getattr(checkpoint, kind, None)))
        if original is not None:
            _replaced[kind] = (depth + 1, original)
            setattr(checkpoint, kind, _STAND_INS[kind])
    try:
        yield
    finally:
        with _lock:
            if original is not None:
                depth, original = _replaced.pop(kind)
                if depth > 1:
                    _replaced[kind] = (depth - 1, original)
                else:
                    setattr(checkpoint, kind, original)


def without_reentrant_checkpoints() -> AbstractContextManager[None]:
    """Evaluate without those whose backward pass adds to the parameters' `.grad`.

    `torch.autograd.grad` refuses it.
    """
    return _without("CheckpointFunction")


@contextmanager
def without_checkpoints() -> Iterator[None]:
    """Keep all activations: a backward pass would recompute them with the weights of that moment."""
    with ExitStack() as stack:
        for kind in _STAND_INS:
            stack.enter_context(_without(kind))
        yield
