"""Small operations on batches with a row for each point."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["finite_rows", "first_index", "multiply", "select", "spread_out"]


def multiply(matrices: Tensor, vectors: Tensor) -> Tensor:
    """Return the products of matrices (P, m, n) with vectors (P, n), shape (P, m)."""
    return (matrices @ vectors[:, :, None])[:, :, 0]


def select(mask: Tensor, *parts: Tensor) -> tuple[Tensor, ...]:
    """Return the rows of each part where ``mask`` holds."""
    return tuple(part[mask] for part in parts)


def finite_rows(*parts: Tensor) -> Tensor:
    r"""Return in which rows all parts, (P, \*) each, are finite; shape (P,)."""
    finite = [part.isfinite() for part in parts]
    return torch.stack([f.flatten(1).all(1) if f.ndim > 1 else f for f in finite]).all(0)


def first_index(mask: Tensor) -> int:
    """Return the index of the first True in ``mask``, shape (P,), which must have one."""
    return int(mask.int().argmax())


def spread_out(mask: Tensor, values: Tensor) -> Tensor:
    r"""Return values (P, \*) at the P places of a mask (N, R), NaN elsewhere: (N, R, \*)."""
    result = values.new_full((*mask.shape, *values.shape[1:]), torch.nan)
    result[mask] = values
    return result
