"""Evaluate a function so that it can be differentiated, whatever it does inside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from lightning_invert.devices import as_outside
from lightning_invert.jacobians.contexts import without_reentrant_checkpoints
from lightning_invert.jacobians.inference import explained, with_clones

__all__ = [
    "POWERS",
    "InParts",
    "as_leaf",
    "evaluate",
    "in_parts",
    "plain",
    "with_context",
]

POWERS = tuple(2**power for power in range(1, 11))
"""Numbers of rows to try where it is not known which ones a function takes."""

CUDNN_DEVICE = "cuda"
CUDNN_RECURRENT = "CudnnRnn"


def evaluate(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return ``function(x)``, (N, ...), after a check of its dtype and length.

    The function may work on a leaf in place, and several backward passes may go through the result,
    also where the function checkpoints its activations.
    """
    with without_reentrant_checkpoints(), explained():
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
    return _of_plain_type(y)


def plain(tensor: Tensor) -> Tensor:
    """Return the numbers of a tensor without a graph: subclasses bring rules of their own."""
    return _of_plain_type(tensor).detach()


def _of_plain_type(tensor: Tensor) -> Tensor:
    # A tensor that is spread over devices is no numbers alone.
    if type(tensor) in (Tensor, nn.Parameter) or hasattr(tensor, "__tensor_flatten__"):
        return tensor
    return tensor.as_subclass(Tensor)


def as_leaf(points: Tensor) -> Tensor:
    """Return points that a gradient can be taken by."""
    # An inference tensor can never carry a gradient.
    x = points.clone() if points.is_inference() else points.detach()
    return x.requires_grad_()


class InParts:
    """A function of any number of rows, made of one that may take only some numbers of them.

    Where it fails it is asked in parts: of the first of the ``sizes``, or of the nearest other one that
    works. The last part is filled up with its last row.
    """

    def __init__(self, function: Callable[..., Tensor], *sizes: int) -> None:
        self.function, self._sizes = function, sizes
        self.size: int | None = None  # of the parts, once they are needed

    def __call__(self, *rows: Tensor) -> Tensor:
        """Return the outputs of all rows."""
        if self.size is not None:
            return self._in_parts(rows, self.size)
        count, before = len(rows[0]), _versions(rows)
        y, failure = None, None
        try:
            y = with_clones(self.function, *rows)
            if _has_rows(y, count):
                return y
        except Exception as error:  # noqa: BLE001  # the number of rows may be the reason
            failure = error
        # What does not fail, but returns other rows, may be no function of rows: no size is guessed.
        for size in self._nearest(count) if failure is not None else self._sizes[:1]:
            if size in (0, count) or _versions(rows) != before:
                continue
            try:
                y, self.size = self._in_parts(rows, size), size
                return y
            except Exception as error:  # noqa: BLE001
                # That is how its own batches are: this error tells more.
                failure = error if failure is not None and size == self._sizes[0] else failure
        if failure is None:
            return y  # type: ignore[return-value]  # whatever it is: `evaluate` checks it
        try:
            raise failure
        finally:
            del failure  # it holds what this frame holds

    def _nearest(self, count: int) -> list[int]:
        """Return the sizes to try, the first before the others."""
        near = sorted(self._sizes[1:], key=lambda size: max(size / max(1, count), count / size))
        return [*self._sizes[:1], *near]

    def _in_parts(self, rows: Sequence[Tensor], size: int) -> Tensor:
        count, parts = len(rows[0]), []
        missing = -count % size
        filled = [torch.cat([part, part[-1:].expand(missing, *part.shape[1:])]) for part in rows]
        for begin in range(0, count, size):
            y = with_clones(self.function, *(part[begin : begin + size] for part in filled))
            if not _has_rows(y, size):
                got = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
                raise ValueError(
                    f"Expected one row for each of the {size} points, but it returned {got}."
                )
            parts.append(y)
        return torch.cat(parts)[:count]


def in_parts(function: Callable[..., Tensor], *sizes: int) -> InParts:
    """Return the function for any number of rows: it takes ``sizes``, or may take one of them."""
    return function if isinstance(function, InParts) else InParts(function, *sizes)


def _has_rows(y: Any, count: int) -> bool:
    return isinstance(y, Tensor) and y.ndim > 0 and len(y) == count


def _versions(rows: Sequence[Tensor]) -> list[int]:
    """Return what changes where a function works in place: then it is not asked again."""
    return [0 if part.is_inference() else part._version for part in rows]


def with_context(
    function: Callable[..., Tensor], context: Sequence[Tensor]
) -> Callable[..., Tensor]:
    r"""Return a function of points alone, each of which gets its row of the context, (N, \*) each.

    Fewer than N points are the first ones; k N points are each of the N points k times in succession.
    """
    if not context:
        return function

    def function_of_points(x: Tensor) -> Tensor:
        times = max(1, len(x) // len(context[0]))
        rows = (part[: len(x)].repeat_interleave(times, 0) for part in context)
        return function(x, *rows)

    return function_of_points


def _evaluate(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    if len(x) == 1:
        # A lone row goes twice: `squeeze` and the like would take its dimension away.
        with suppress(Exception), as_outside():
            y = function(torch.cat([x, x]))
            if y.ndim > 0 and len(y) == 2:
                return y[:1]
    # What is a leaf must not be changed in place: a clone may.
    with as_outside():
        return function(x.clone() if x.requires_grad and x.is_leaf else x)


def _contains(y: Any, name: str) -> bool:
    """Whether the graph of a tensor has an operation whose name begins with ``name``."""
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
