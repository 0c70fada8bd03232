"""The arithmetic of a function: the dtype that it takes, and the coarsest that a gradient passes through."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_invert.jacobians.contexts import differentiable, twice_differentiable
from lightning_invert.jacobians.evaluation import evaluate

__all__ = ["cast_to", "coarsest_dtype", "dtype_of", "eps", "in_dtype_of"]


def eps(dtype: torch.dtype) -> float:
    """Return how coarse a floating dtype is."""
    return torch.finfo(dtype).eps


def dtype_of(module: nn.Module) -> torch.dtype | None:
    """Return the real dtype of most of a module's weights, else of its buffers; ``None``: there are none."""
    for tensors in (module.parameters(), module.buffers()):
        dtypes = [t.dtype.to_real() for t in tensors if t.is_floating_point() or t.is_complex()]
        if dtypes:
            return Counter(dtypes).most_common(1)[0][0]
    return None


def in_dtype_of(function: Any, x: Tensor) -> Tensor:
    """Return x in the dtype that a function takes, if that is known: most of a module's weights have it."""
    return x.to(dtype=dtype_of(function) if isinstance(function, nn.Module) else None)


def cast_to(value: Any, dtype: torch.dtype) -> Any:
    """Return a floating tensor in a dtype, and all else as it is."""
    return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value


def coarsest_dtype(function: Callable[[Tensor], Tensor], inputs: Tensor) -> torch.dtype | None:
    """Return the coarsest floating dtype that computes between inputs (N, ...) and outputs.

    One backward pass is watched: it runs where outputs depend on inputs, and nowhere else, so that a
    table in bfloat16 beside that path does not count. None: no gradient comes through. Rounding that
    keeps the dtype (fake quantisation, integers inside of an operation) does not show.
    """
    with differentiable(inputs.device.type), twice_differentiable():
        x = inputs.detach().clone().requires_grad_()
        y = evaluate(function, x)
        if not y.requires_grad:
            return None
        with _Dtypes() as mode:
            torch.autograd.grad(y, x, torch.ones_like(y), allow_unused=True)
    return max(mode.dtypes, key=eps, default=None)


class _Dtypes(TorchDispatchMode):
    """Notes the floating dtypes of all results."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.dtypes: set[torch.dtype] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        results = func(*args, **(kwargs or {}))
        for result in results if isinstance(results, tuple | list) else (results,):
            if isinstance(result, Tensor) and result.ndim > 0:  # a constant may be of any
                dtype = result.dtype.to_real() if result.is_complex() else result.dtype
                if dtype.is_floating_point:
                    self.dtypes.add(dtype)
        return results
