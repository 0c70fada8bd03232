"""Numbers, lists and arrays as tensors of one dtype on one device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, Union

import torch
from torch import Tensor

from lightning_invert.arguments import expected_but_got

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "Placement",
    "TensorLike",
    "as_columns",
    "leaves",
    "read_number",
    "read_tensor",
    "to_tensor",
]

TensorLike: TypeAlias = Union[Tensor, "NDArray[Any]", Sequence[Any], float]
"""What :func:`read_tensor` reads."""


class Placement(NamedTuple):
    """The dtype and the device of the points at which a function is evaluated."""

    dtype: torch.dtype
    device: torch.device


def to_tensor(value: Any) -> Tensor:
    """Return a tensor as it is; copy anything else, because an array may be read-only."""
    return value if isinstance(value, Tensor) else torch.tensor(value)


def read_tensor(name: str, value: Any, placement: Placement) -> Tensor:
    """Return a tensor, an array, a number or nested lists as a tensor without a graph.

    A tensor or an array of whole numbers is refused: more often it is a file that was read wrongly.
    """
    has_dtype = getattr(value, "dtype", None) is not None
    try:
        tensor = to_tensor(value)
        if not has_dtype and tensor.is_floating_point():  # Python's numbers have double precision
            tensor = torch.tensor(value, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        expected = "numbers: a floating tensor, an array or lists"
        raise TypeError(expected_but_got(name, expected, value)) from error
    is_number = tensor.is_floating_point() or not (has_dtype or tensor.is_complex())
    if not is_number or tensor.dtype == torch.bool:
        raise TypeError(f"Expected argument `{name}` to be floating, but got {tensor.dtype}.")
    # An inference tensor can take no part in a computation with gradients.
    tensor = tensor.clone() if tensor.is_inference() else tensor.detach()
    return tensor.to(placement.device, placement.dtype)


def read_number(name: str, value: Any, placement: Placement) -> Tensor:
    """Return one number as a tensor of shape ()."""
    number = read_tensor(name, value, placement)
    if number.ndim:
        raise TypeError(expected_but_got(name, "a single number for each name", value))
    return number


def as_columns(value: Any) -> Any:
    """Return a data frame as a dictionary of its columns, and anything else as it is."""
    names = getattr(value, "columns", None)
    return value if names is None else {name: value[name].to_numpy() for name in names}


def leaves(*values: Any) -> Iterator[Any]:
    """Yield the values in tuples and dictionaries."""
    for value in values:
        parts = value.values() if isinstance(value, Mapping) else value
        if parts is not value or isinstance(value, tuple):
            yield from leaves(*parts)
        else:
            yield value
