"""From where the outcomes of a map are to be reached: what its inverse proposes, inside a box."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lightning_invert.arguments import wrong
from lightning_invert.watch.parts import Part, parse_part

if TYPE_CHECKING:
    from lightning_invert.watch.maps import WatchedMap

__all__ = ["Reach", "checked_reach", "read_bounds"]

_KEYS = ("inverse", "outcomes", "bounds")


@dataclass(frozen=True)
class Reach:
    """From where the outcomes of a map F are to be reached.

    Attributes:
        inverse: I, which proposes inputs of F for wanted outcomes.
        outcomes: Which part of a batch is wanted, with a row for each point.
        low: The lower end of each input, float64, shape () or (n,); infinite where it is open, and
            NaN where it is not known: the least of the sampled points is taken for it there.
        high: The upper end, likewise.
    """

    inverse: WatchedMap
    outcomes: Part
    low: Tensor
    high: Tensor

    def box(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the ends of the box, where they are not known those of some inputs.

        Args:
            inputs: Shape (N, n); what is not finite does not count.

        Returns:
            Lower and upper ends, shape (n,), in dtype and place of the inputs.

        Raises:
            ValueError: If there are ends for another number of inputs.
        """
        n = inputs.shape[1]
        for end in (self.low, self.high):
            if end.shape not in ((), (n,)):
                raise ValueError(
                    f"expected `bounds` to be numbers or of shape ({n},) each, but got "
                    f"{tuple(end.shape)}."
                )
        low, high = (end.to(inputs.device, inputs.dtype).expand(n) for end in (self.low, self.high))
        finite = inputs.isfinite()
        least = torch.where(finite, inputs, torch.inf).amin(0)
        most = torch.where(finite, inputs, -torch.inf).amax(0)
        # Not beyond the end that is known: all inputs may be outside of it.
        return (
            torch.where(low.isnan(), torch.fmin(least, high), low),
            torch.where(high.isnan(), torch.fmax(most, low), high),
        )


def checked_reach(where: str, said: Any) -> dict[str, Any]:
    """Return a description of from where to reach, as far as it makes sense by itself.

    Args:
        where: What it is called in an error message.
        said: A mapping with ``inverse``, ``outcomes`` and, if they are known, ``bounds``.

    Raises:
        TypeError: If it, or one of its values, is of the wrong kind.
        ValueError: If a key is missing or not known, or bounds are out of order.
    """
    if not isinstance(said, Mapping):
        expected = "a mapping {'inverse': <path>, 'outcomes': <part of the batch>}"
        raise TypeError(wrong(where, expected, said))
    unknown = sorted(map(str, set(said) - set(_KEYS)))
    missing = [key for key in ("inverse", "outcomes") if said.get(key) is None]
    if unknown or missing:
        raise ValueError(
            f"Expected `{where}` to have the keys 'inverse' and 'outcomes' and, if they are known, "
            f"'bounds', but got {list(map(str, said))}."
        )
    if not isinstance(said["inverse"], str) and not callable(said["inverse"]):
        expected = "a path to a submodule or method, a module or a callable"
        raise TypeError(wrong(f"{where}['inverse']", expected, said["inverse"]))
    parse_part(f"{where}['outcomes']", said["outcomes"])
    read_bounds(f"{where}['bounds']", said.get("bounds"))
    return dict(said)


def read_bounds(where: str, bounds: Any) -> tuple[Tensor, Tensor]:
    """Read lower and upper ends of inputs.

    Args:
        where: What they are called in an error message.
        bounds: A pair (low, high), each a number, one for each input, or None; likewise each of
            those. None: no end is known.

    Returns:
        Both, float64, shape () or (n,), NaN where an end is not known.

    Raises:
        TypeError: If they are no such pair.
        ValueError: If they are out of order, or of different shapes.

    Example:
        >>> read_bounds("bounds", ([0.0, None], 1.0))
        (tensor([0., nan], dtype=torch.float64), tensor(1., dtype=torch.float64))
    """
    expected = "a pair (low, high) of numbers, one for each input or one for all, or None"
    if bounds is None:
        bounds = (None, None)
    if not isinstance(bounds, list | tuple) or len(bounds) != 2:
        raise TypeError(wrong(where, expected, bounds))
    try:
        low, high = (
            torch.as_tensor(_without_none(end), dtype=torch.float64).detach().cpu()
            for end in bounds
        )
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(wrong(where, expected, bounds)) from error
    if max(low.ndim, high.ndim) > 1 or (low.ndim == high.ndim == 1 and len(low) != len(high)):
        raise ValueError(wrong(where, expected, bounds))
    if (low > high).any():
        raise ValueError(wrong(where, "a pair (low, high) with low <= high", bounds))
    return low, high


def _without_none(end: Any) -> Any:
    if isinstance(end, list | tuple):
        return [torch.nan if one is None else one for one in end]
    return torch.nan if end is None else end
