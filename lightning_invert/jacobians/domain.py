"""Points outside of a function's domain, at which it raises."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = ["evaluate_inside", "find_outside"]

MAX_FAILING = 32
"""What works at none of so many rows fails for another reason than a single row."""


def find_outside(
    evaluate: Callable[[list[int]], object], count: int, *, most: int | None = None
) -> list[int] | None:
    """Find the rows at which ``evaluate`` raises alone, by halving.

    Return None if there are more than ``most`` of them, or if it works at none of many. A lone row is
    tried twice in one batch: it might lose its axis.
    """
    outside: list[int] = []
    is_working, parts = False, [range(count)]
    limit = count if most is None else most
    while parts:
        rows = parts.pop()
        try:
            evaluate([*rows] * (2 if len(rows) == 1 else 1))
            is_working = True
            continue
        except Exception:  # noqa: BLE001  # whatever it is
            if len(rows) > 1:
                parts += [rows[: len(rows) // 2], rows[len(rows) // 2 :]]
                continue
        outside.append(rows[0])
        if len(outside) > limit or (len(outside) >= MAX_FAILING and not is_working):
            return None
    return sorted(outside)


def evaluate_inside(
    function: Callable[..., Tensor], *rows: Tensor, shape: Sequence[int] | None = None
) -> Tensor:
    """Return ``function(*rows)``, NaN in the rows at which it raises by themselves.

    Where it raises at all of few rows, they are NaN only if the ``shape`` of a row of the result is known.
    """
    count, x = len(rows[0]), rows[0]

    def at(chosen: list[int]) -> Tensor:
        return function(*(part[chosen] for part in rows))

    try:
        return function(*rows)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        if getattr(error, "part", "") == "output":  # of a map: what it returns is no matter of rows
            raise
        outside = find_outside(at, count)
        if not outside or (shape is None and len(outside) == count):
            raise
    inside = sorted({*range(count)} - {*outside})
    # NaN by way of the inputs, which keeps a graph where there is one.
    nothing = x[outside].flatten(1).sum(1) * torch.nan
    parts = []
    if inside:
        parts = [at(inside * 2 if len(inside) == 1 else inside)[: len(inside)]]
        shape = parts[0].shape[1:]
    assert shape is not None
    parts.append(nothing.reshape(-1, *(1 for _ in shape)).expand(-1, *shape))
    return torch.cat(parts)[torch.tensor([*inside, *outside], device=x.device).argsort()]
