"""Numbers that come as lists, arrays or tensors, as tensors of one kind."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_invert.arguments import wrong

__all__ = ["Kind", "read_numbers", "to_tensor"]


class Kind(NamedTuple):
    """In what a function is evaluated.

    Attributes:
        dtype: Of its points.
        device: Where they are.
    """

    dtype: torch.dtype
    device: torch.device


def to_tensor(value: Any) -> Tensor:
    """Return a tensor as it is, and a copy of anything else: an array may be one to read alone."""
    return value if isinstance(value, Tensor) else torch.tensor(value)


def read_numbers(name: str, value: Any, kind: Kind) -> Tensor:
    """Return a tensor, an array, a number or nested lists of numbers as a tensor without a graph.

    Args:
        name: Of the argument.
        value: What came.
        kind: What it is to be.

    Raises:
        TypeError: If it holds no numbers, or whole numbers in a tensor or an array: these come
            from a file read wrongly more often than from someone who wants them.
    """
    whole = getattr(value, "dtype", None) is not None
    try:
        read = to_tensor(value)
        if not whole and read.is_floating_point():  # which Python has in double precision
            read = torch.tensor(value, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            wrong(name, "numbers: a floating tensor, an array or lists", value)
        ) from error
    if read.is_complex() or read.dtype == torch.bool or (whole and not read.is_floating_point()):
        raise TypeError(f"Expected argument `{name}` to be floating, but got {read.dtype}.")
    # An inference tensor can take no part where there are gradients.
    read = read.clone() if read.is_inference() else read.detach()
    return read.to(kind.device, kind.dtype)
