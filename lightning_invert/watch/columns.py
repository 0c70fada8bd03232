"""What a map says of its columns: names, each once, and the spreads to standardise by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_invert.arguments import describe_repetitions

__all__ = ["checked_names", "checked_std"]


def checked_names(argument: str, names: Any) -> tuple[str, ...]:
    """Return names of columns, each of which is there once.

    Raises:
        TypeError: If they are not a sequence of strings.
        ValueError: If a name is there more than once.

    Example:
        >>> checked_names("input_names", ["speed", "load", "speed"])
        Traceback (most recent call last):
        ValueError: Expected argument `input_names` to name each column once, but got 'speed' twice.
    """
    texts = not isinstance(names, str) and isinstance(names, Sequence)
    if not texts or not all(isinstance(name, str) for name in names):
        raise TypeError(f"Expected argument `{argument}` to be a list of names, but got {names!r}.")
    if again := describe_repetitions(names):
        raise ValueError(
            f"Expected argument `{argument}` to name each column once, but got {again}."
        )
    return tuple(names)


def checked_std(argument: str, std: Any) -> Tensor:
    """Return standard deviations, shape (n,), all of which one can divide by.

    Args:
        argument: What they are called.
        std: A tensor, an array or numbers.

    Raises:
        TypeError: If they are no real numbers.
        ValueError: If they are not of shape (n,), or one is not positive and finite.

    Example:
        >>> checked_std("input_std", [1, 0.5])
        tensor([1.0000, 0.5000], dtype=torch.float64)
    """
    try:
        found = std if isinstance(std, Tensor) else torch.as_tensor(std, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        found = torch.zeros((), dtype=torch.bool)
    if found.is_complex() or found.dtype == torch.bool:
        raise TypeError(
            f"Expected argument `{argument}` to be a tensor of numbers, but got {std!r}."
        )
    if found.ndim != 1 or len(found) == 0:
        raise ValueError(
            f"Expected argument `{argument}` to be of shape (n,), a number for each column, but "
            f"got shape {tuple(found.shape)}."
        )
    good = found.isfinite() & (found > 0)
    if not good.all():
        number = int(good.int().argmin())
        raise ValueError(
            f"Expected argument `{argument}` to hold a positive, finite number for each column (1 "
            f"for one that does not vary), but number {number} (counted from 0) is "
            f"{found[number].item()}."
        )
    return found
