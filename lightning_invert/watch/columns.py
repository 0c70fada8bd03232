"""Columns of a map's inputs and outputs, as a user describes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_invert.arguments import describe_repetitions

__all__ = ["checked_names", "checked_stds"]


def checked_names(argument: str, names: Any) -> tuple[str, ...]:
    """Return names of columns, or raise TypeError or ValueError if they are not unique strings."""
    texts = not isinstance(names, str) and isinstance(names, Sequence)
    if not texts or not all(isinstance(name, str) for name in names):
        raise TypeError(f"Expected argument `{argument}` to be a list of names, but got {names!r}.")
    if again := describe_repetitions(names):
        raise ValueError(
            f"Expected argument `{argument}` to name each column once, but got {again}."
        )
    return tuple(names)


def checked_stds(argument: str, std: Any) -> Tensor:
    """Return standard deviations (n,), or raise TypeError or ValueError unless all are positive."""
    try:
        tensor = torch.as_tensor(std, dtype=None if isinstance(std, Tensor) else torch.float64)
    except (TypeError, ValueError, RuntimeError):
        tensor = torch.zeros((), dtype=torch.bool)
    if tensor.is_complex() or tensor.dtype == torch.bool:
        raise TypeError(
            f"Expected argument `{argument}` to be a tensor of numbers, but got {std!r}."
        )
    if tensor.ndim != 1 or len(tensor) == 0:
        raise ValueError(
            f"Expected argument `{argument}` to be of shape (n,), a number for each column, but "
            f"got shape {tuple(tensor.shape)}."
        )
    good = tensor.isfinite() & (tensor > 0)
    if not good.all():
        number = int(good.int().argmin())
        raise ValueError(
            f"Expected argument `{argument}` to hold a positive, finite number for each column (1 "
            f"for one that does not vary), but number {number} (counted from 0) is "
            f"{tensor[number].item()}."
        )
    return tensor
