"""Checkpoints of activations, which recompute a forward while its gradient is taken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch.utils import checkpoint

from lightning_invert.jacobians.threads import once_for_all_threads

__all__ = ["without_checkpoints", "without_reentrant_checkpoints"]


class _Unchecked:
    """Replace torch's reentrant checkpoints, and keep the activations."""

    @staticmethod
    def apply(function: Callable[..., Any], preserve_rng_state: bool, *arguments: Any) -> Any:
        return function(*arguments)


def _unchecked(*_: Any, **__: Any) -> Iterator[None]:
    """Replace the generator of torch's other checkpoints."""
    yield


@once_for_all_threads
@contextmanager
def without_reentrant_checkpoints() -> Iterator[None]:
    """Evaluate without those whose backward pass adds to the parameters' `.grad`.

    `torch.autograd.grad` refuses it.
    """
    with _replaced("CheckpointFunction", _Unchecked):
        yield


@once_for_all_threads
@contextmanager
def _without_others() -> Iterator[None]:
    with _replaced("_checkpoint_without_reentrant_generator", _unchecked):
        yield


@contextmanager
def without_checkpoints() -> Iterator[None]:
    """Keep all activations: a backward pass would recompute them with the weights of that moment."""
    with without_reentrant_checkpoints(), _without_others():
        yield


@contextmanager
def _replaced(name: str, stand_in: Any) -> Iterator[None]:
    """Replace a kind of checkpoint, for which torch has no switch; where it has no such name, nothing.

    Other threads see the substitution, too: their values and gradients are the same meanwhile, and
    take more memory.
    """
    original = getattr(checkpoint, name, None)
    if original is None:
        yield
        return
    setattr(checkpoint, name, stand_in)
    try:
        yield
    finally:
        setattr(checkpoint, name, original)
