"""Evaluate a function so that it can be differentiated, whatever it does inside."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import checkpoint

__all__ = ["evaluate", "plain", "with_context", "without_checkpoints"]

CUDNN_DEVICE = "cuda"
CUDNN_RECURRENT = "CudnnRnn"


def evaluate(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return ``function(x)``, after making sure that it is one floating row for each point.

    If ``x`` is a leaf that requires a gradient, the function may work on it in place, and several
    backward passes may go through what it returns, wherever it checkpoints its activations.
    """
    # The backward pass of a reentrant one adds to the parameters' `.grad`, so that
    # `torch.autograd.grad` refuses it.
    with _without("CheckpointFunction"):
        y = _evaluate(function, x)
        if x.device.type == CUDNN_DEVICE and _contains(y, CUDNN_RECURRENT):
            # In evaluation mode these have no backward pass, and never a second derivative.
            with torch.backends.cudnn.flags(enabled=False):
                y = _evaluate(function, x)
    if not isinstance(y, Tensor) or not y.is_floating_point():
        got = y.dtype if isinstance(y, Tensor) else type(y).__name__
        raise TypeError(
            f"Expected argument `function` to return a floating tensor, but it returned {got}."
        )
    if y.ndim == 0 or len(y) != len(x):
        raise ValueError(
            "Expected argument `function` to return one row for each of the "
            f"{len(x)} points, but it returned shape {tuple(y.shape)}."
        )
    return y if type(y) is Tensor or hasattr(y, "__tensor_flatten__") else y.as_subclass(Tensor)


def plain(tensor: Tensor) -> Tensor:
    """Return the numbers of a tensor without a graph: subclasses bring rules of their own."""
    # A tensor that is spread over devices is no numbers alone.
    if type(tensor) in (Tensor, nn.Parameter) or hasattr(tensor, "__tensor_flatten__"):
        return tensor.detach()
    return tensor.as_subclass(Tensor).detach()


def with_context(
    function: Callable[..., Tensor], context: Sequence[Tensor]
) -> Callable[..., Tensor]:
    r"""Return a function of points alone, each of which is given its row of the context.

    Args:
        function: Takes points and the rows of the context.
        context: Shape (N, \*) each.

    Returns:
        A function of the first points, if it is given fewer than N; or of all of them, each as
        often in succession as is needed for as many as it is given.

    Example:
        >>> shifted = with_context(torch.add, [torch.tensor([[1.0], [2.0]])])
        >>> shifted(torch.zeros(1, 1)).tolist(), shifted(torch.zeros(4, 1)).flatten().tolist()
        ([[1.0]], [1.0, 1.0, 2.0, 2.0])
    """
    if not context:
        return function

    def of_points(x: Tensor) -> Tensor:
        times = max(1, len(x) // len(context[0]))
        rows = (part[: len(x)].repeat_interleave(times, 0) for part in context)
        return function(x, *rows)

    return of_points


def _evaluate(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    if len(x) == 1:
        # A lone row goes twice: `squeeze` and the like would take its dimension away.
        with suppress(Exception):
            y = function(torch.cat([x, x]))
            if y.ndim > 0 and len(y) == 2:
                return y[:1]
    # What is a leaf must not be changed in place: a clone may.
    return function(x.clone() if x.requires_grad and x.is_leaf else x)


class _Unchecked:
    """Stands for torch's reentrant checkpoints, and keeps the activations."""

    @staticmethod
    def apply(function: Callable[..., Any], preserve_rng_state: bool, *arguments: Any) -> Any:
        return function(*arguments)


def _unchecked(*_: Any, **__: Any) -> Iterator[None]:
    """Stand for what torch does around a checkpoint that is not reentrant."""
    yield


_STAND_INS: dict[str, Any] = {
    "CheckpointFunction": _Unchecked,
    "_checkpoint_without_reentrant_generator": _unchecked,
}
_lock = threading.Lock()
_replaced: dict[str, tuple[int, Any]] = {}
"""How many evaluations run without a kind of checkpoint, and what its stand-in stands for."""


@contextmanager
def _without(kind: str) -> Iterator[None]:
    """Evaluate what is checkpointed as if it were not; torch has no switch for it.

    The substitution is seen by other threads too: what they evaluate meanwhile has the same values
    and gradients, and takes more memory. Where torch has no such name, nothing is replaced.
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


@contextmanager
def without_checkpoints() -> Iterator[None]:
    """Let no activation be recomputed in the backward pass.

    That is needed where the weights are others then: substituted only while a function runs.
    """
    with ExitStack() as stack:
        for kind in _STAND_INS:
            stack.enter_context(_without(kind))
        yield


def _contains(y: Any, name: str) -> bool:
    """Whether an operation whose name begins so is in the graph of a tensor."""
    stack = [y.grad_fn] if isinstance(y, Tensor) else []
    seen = set(stack)
    while stack:
        node = stack.pop()
        if node is None:
            continue
        if node.name().startswith(name):
            return True
        sources = {source for source, _ in node.next_functions} - seen
        seen |= sources
        stack.extend(sources)
    return False
