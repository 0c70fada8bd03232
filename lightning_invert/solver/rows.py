"""Small operations on batches, each row of which is a point."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["finite_rows", "first", "only", "times"]


def times(matrices: Tensor, vectors: Tensor) -> Tensor:
    """Return the products of matrices (P, m, n) with vectors (P, n), shape (P, m)."""
    return (matrices @ vectors[:, :, None])[:, :, 0]


def only(keep: Tensor, *parts: Tensor) -> tuple[Tensor, ...]:
    """Return the rows of each part that are to be kept."""
    return tuple(part[keep] for part in parts)


def finite_rows(*parts: Tensor) -> Tensor:
    r"""Tell in which rows all parts, (P, \*) each, are finite; shape (P,)."""
    finite = [part.isfinite() for part in parts]
    return torch.stack([f.flatten(1).all(1) if f.ndim > 1 else f for f in finite]).all(0)


def first(marked: Tensor) -> int:
    """Return the index of the first True, which there is, of shape (P,)."""
    return int(marked.int().argmax())
