"""Find out whether a function treats the rows of a batch independently of each other."""

from __future__ import annotations

import random
import weakref
from collections.abc import Callable
from contextlib import suppress
from itertools import combinations, count
from math import comb
from typing import TypeAlias

import torch
from torch import Tensor, nn

from lightning_invert.jacobians.contexts import differentiable
from lightning_invert.jacobians.evaluation import InParts, as_leaf, evaluate

__all__ = ["ROWS_TOLD_APART", "MixedRowsError", "check_independence", "remembered_outputs"]

ROWS_ASKED = 64
"""What mixes rows that are farther apart is not found out."""

ROWS_TOLD_APART = 20
"""Six backward passes tell every two of twenty rows apart, and of more rows nearly every two."""

MAX_SHARE = 1e-6
"""Gradients to other rows are rounding up to this share of those to the rows themselves."""

MAX_CHANGE = 1e-2
"""Outputs change by up to this share of them with other rows where a solver inside stops by all of them."""

_State: TypeAlias = tuple[tuple[bool, ...], torch.Size, torch.dtype]
"""The parts of a module in training mode, and the shape and dtype of a point."""

_CHECKED: weakref.WeakKeyDictionary[nn.Module, dict[_State, int]] = weakref.WeakKeyDictionary()
"""The number of outputs of modules that treat rows independently, by their state."""


class MixedRowsError(ValueError):
    """A function mixes the rows of a batch: there is no Jacobian of a row by itself."""

    def __init__(self, argument: str) -> None:
        self.argument = argument
        super().__init__(
            f"Expected argument `{argument}` to treat the rows of a batch independently, but it mixes "
            "them: the output of a row depends on other rows. Put a module with BatchNorm into evaluation "
            "mode. If the first dimension is time, let the batch come first (batch_first=True), or swap "
            "the dimensions: `lambda x: net(x.transpose(0, 1)).transpose(0, 1)`. If rows attend to each "
            "other, take a part without this attention."
        )


def check_independence(
    function: Callable[[Tensor], Tensor], inputs: Tensor, argument: str = "function"
) -> None:
    """Raise MixedRowsError if the output of one of the first points depends on another."""
    if len(inputs) == 0 or remembered_outputs(function, inputs) is not None:
        return
    # A lone row could be mixed with nothing: it goes twice.
    rows = inputs[:ROWS_ASKED] if len(inputs) > 1 else torch.cat([inputs, inputs])
    with differentiable(inputs.device.type):
        x = as_leaf(rows)
        y = evaluate(function, x)
        if not y.requires_grad:
            return
        if _mixes(y, x) or (len(inputs) > 1 and _changes(function, rows, y.detach())):
            raise MixedRowsError(argument)
    module = _module(function)
    if module is not None:
        _CHECKED.setdefault(module, {})[_state(module, inputs)] = y[0].numel()


def remembered_outputs(function: Callable[[Tensor], Tensor], inputs: Tensor) -> int | None:
    """Return the number of outputs if the function was checked in this state."""
    module = _module(function)
    return None if module is None else _CHECKED.get(module, {}).get(_state(module, inputs))


def _module(function: Callable[[Tensor], Tensor]) -> nn.Module | None:
    function = function.function if isinstance(function, InParts) else function
    return function if isinstance(function, nn.Module) else None


def _state(module: nn.Module, inputs: Tensor) -> _State:
    return tuple(part.training for part in module.modules()), inputs.shape[1:], inputs.dtype


def _mixes(y: Tensor, x: Tensor) -> bool:
    """Tell whether the outputs of some rows have a gradient to the inputs of others."""
    # Random, because a sum may be the same for all inputs, as that of a softmax is.
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(0)).to(y)
    own = others = 0.0
    for chosen in _separating_sets(len(x)).to(x.device):
        cotangent = weights * chosen.reshape(-1, *(1 for _ in y.shape[1:]))
        (gradient,) = torch.autograd.grad(
            y, x, cotangent, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        # What is not finite is no evidence: 0 * NaN is NaN.
        size = gradient.flatten(1).abs().nan_to_num(nan=0.0, posinf=0.0).amax(1)
        own = max(own, float(size[chosen].max()))
        others = max(others, float(size[~chosen].max()))
    return others > MAX_SHARE * own


def _changes(function: Callable[[Tensor], Tensor], rows: Tensor, y: Tensor) -> bool:
    """Tell whether outputs change with other rows where no gradient says so: by a detached mean, say."""
    for parity in (0, 1):
        kept = torch.arange(parity, len(rows), 2, device=rows.device)
        others = rows.roll(1, 0)
        others[kept] = rows[kept]
        with suppress(Exception):  # it may know which rows it gets
            changed = evaluate(function, as_leaf(others)).detach()
            if _differ(changed[kept], y[kept]):
                # What is random, or counts its calls, differs anyway.
                again = evaluate(function, as_leaf(rows)).detach()
                return not _differ(again, y)
    return False


def _differ(y: Tensor, others: Tensor) -> bool:
    difference, size = (
        part.abs().nan_to_num(nan=0.0, posinf=0.0).max() for part in (y - others, others)
    )
    return bool(difference > MAX_CHANGE * size)


def _separating_sets(num_rows: int) -> Tensor:
    """Return sets of rows, (K, N), so that of two rows some set holds the one without the other.

    Each row is in another half of the sets (E. Sperner, Mathematische Zeitschrift 27, 1928); rows beyond
    the first twenty are in a random one.
    """
    num_sets = next(k for k in count(2) if comb(k, k // 2) >= min(num_rows, ROWS_TOLD_APART))
    halves = list(combinations(range(num_sets), num_sets // 2))
    chosen = random.Random(0).choices(range(len(halves)), k=num_rows)
    chosen[: len(halves)] = range(min(len(halves), num_rows))
    sets = torch.zeros(num_sets, num_rows, dtype=torch.bool)
    for row, half in enumerate(chosen):
        sets[list(halves[half]), row] = True
    return sets
