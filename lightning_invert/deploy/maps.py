"""The three maps of a pair as they leave it: physical units in and out, in float64."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_invert.arguments import check_choice, wrong
from lightning_invert.pair.module import ForwardInverseModule
from lightning_invert.variables import Variable, named

__all__ = ["MAP_NAMES", "Columns", "PhysicalMap", "physical_map", "settled"]

MAP_NAMES = ("forward", "inverse", "round_trip")

DTYPES = (torch.float32, torch.float64)

_ENDS = {
    "forward": ("x", "y", "y"),
    "inverse": ("y", "x", "x"),
    "round_trip": ("y", "y", "y_round_trip"),
}
"""From which side to which, and what is found is called: ONNX has no output of an input's name."""


class Columns(NamedTuple):
    """The columns of x or of y.

    Attributes:
        variables: What they are, n of them.
        mean: What they are standardised by, shape (n,), float64; 0 where they are not.
        std: Likewise; 1 where they are not.
    """

    variables: tuple[Variable, ...]
    mean: Tensor
    std: Tensor


class PhysicalMap(NamedTuple):
    """One of the maps of a pair.

    Attributes:
        name: ``forward``, ``inverse`` or ``round_trip``.
        input_name: ``x`` or ``y``.
        output_name: ``y``, ``x`` or ``y_round_trip``.
        function: (N, n) -> (N, m), in physical units.
        domain: The columns that go in.
        image: The columns that come out.
        dtype: In which the networks compute: the coarser one, where they are of two.
    """

    name: str
    input_name: str
    output_name: str
    function: Callable[[Tensor], Tensor]
    domain: Columns
    image: Columns
    dtype: torch.dtype


def settled(pair: ForwardInverseModule) -> ForwardInverseModule:
    """Return a copy that is not trained any more: in evaluation mode, without gradients, on the CPU.

    Raises:
        TypeError: If it is no pair, or cannot be copied.
        ValueError: If a network is missing, or computes in anything but float32 and float64.
    """
    if not isinstance(pair, ForwardInverseModule):
        raise TypeError(wrong("pair", "a ForwardInverseModule", pair))
    try:
        copied = copy.deepcopy(pair)
    except Exception as error:  # whatever a network is made of
        raise TypeError(
            f"Expected argument `pair` to be one that can be copied, but it cannot: {error}"
        ) from error
    found = copied.cpu().eval().requires_grad_(False)
    for name in ("forward_net", "inverse_net"):
        for weights in _numbers(found, name):
            if weights not in DTYPES:
                raise ValueError(
                    f"Expected `{name}` to compute in float32 or float64, but it has weights in "
                    f"{weights}. Write `pair.float()` first."
                )
    return found


def physical_map(pair: ForwardInverseModule, name: str) -> PhysicalMap:
    """Return one of the maps of a pair.

    Raises:
        ValueError: If there is no such map, or nothing tells of how many columns it is.
    """
    check_choice("name", name, MAP_NAMES)
    domain, image, output_name = _ENDS[name]
    function = getattr(pair, name)
    used = {"forward": ("forward_net",), "inverse": ("inverse_net",)}
    dtypes = [
        dtype
        for network in used.get(name, ("forward_net", "inverse_net"))
        for dtype in _numbers(pair, network)
    ]
    return PhysicalMap(
        name=name,
        input_name=domain,
        output_name=output_name,
        function=lambda points: function(points).double(),
        domain=_columns(pair, domain),
        image=_columns(pair, image),
        dtype=torch.float32 if torch.float32 in dtypes else torch.float64,
    )


def _numbers(pair: ForwardInverseModule, network: str) -> set[torch.dtype]:
    module = pair._net(network)
    return {
        part.dtype for part in (*module.parameters(), *module.buffers()) if part.is_floating_point()
    }


def _columns(pair: ForwardInverseModule, side: str) -> Columns:
    scale, known = (pair.scale_x, pair.inputs) if side == "x" else (pair.scale_y, pair.outputs)
    if scale.fitted:
        mean, std = scale.mean.double(), scale.std.double()
    elif known:
        mean, std = torch.zeros(len(known)).double(), torch.ones(len(known)).double()
    else:
        attribute = "inputs" if side == "x" else "outputs"
        raise ValueError(
            f"Expected a pair that knows its columns, but it has neither statistics nor names of "
            f"{side}: fit it, or write `pair.{attribute} = (Variable('a'), ...)`."
        )
    return Columns(named(known, side, len(mean)), mean, std)
