"""The three maps of a pair, from physical units to physical units, in float64."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_invert.arguments import check_choice, expected_but_got
from lightning_invert.pair.module import ForwardInverseModule
from lightning_invert.variables import Variable, as_variables

__all__ = ["MAP_NAMES", "Columns", "PhysicalMap", "check_pair", "frozen_copy", "physical_map"]

DTYPES = (torch.float32, torch.float64)

_MAPS = {
    "forward": ("x", "y", "y", ("forward_net",)),
    "inverse": ("y", "x", "x", ("inverse_net",)),
    "round_trip": ("y", "y", "y_round_trip", ("inverse_net", "forward_net")),
}
"""Input, side of the output, name of the output (in ONNX not that of the input), and networks."""

MAP_NAMES = tuple(_MAPS)


class Columns(NamedTuple):
    """The columns of x or of y, with their standardisation: mean 0 and deviation 1 without one."""

    variables: tuple[Variable, ...]  # n of them
    mean: Tensor  # (n,), float64
    std: Tensor


class PhysicalMap(NamedTuple):
    """One of the maps of a pair."""

    name: str
    input_name: str
    output_name: str
    function: Callable[[Tensor], Tensor]  # (N, n) -> (N, m), in physical units
    domain: Columns  # of the input
    image: Columns  # of the output
    dtype: torch.dtype  # of the networks, the coarser of two


def check_pair(pair: Any) -> None:
    """Raise a TypeError for what is no pair."""
    if not isinstance(pair, ForwardInverseModule):
        raise TypeError(expected_but_got("pair", "a ForwardInverseModule", pair))


def frozen_copy(pair: ForwardInverseModule) -> ForwardInverseModule:
    """Return a copy in evaluation mode, without gradients, on the CPU, in float32 or float64."""
    check_pair(pair)
    try:
        copied = copy.deepcopy(pair)
    except Exception as error:  # whatever a network is made of
        raise TypeError(
            f"Expected argument `pair` to be one that can be copied, but it cannot: {error}"
        ) from error
    frozen = copied.cpu().eval().requires_grad_(False)
    for name in ("forward_net", "inverse_net"):
        for dtype in _dtypes(frozen, name):
            if dtype not in DTYPES:
                raise ValueError(
                    f"Expected `{name}` to compute in float32 or float64, but it has weights in "
                    f"{dtype}. Write `pair.float()` first."
                )
    return frozen


def physical_map(pair: ForwardInverseModule, name: str) -> PhysicalMap:
    """Return the map of a pair that ``name`` names."""
    check_choice("name", name, MAP_NAMES)
    domain, image, output_name, networks = _MAPS[name]
    function = getattr(pair, name)
    if name != "inverse" and pair.proposer.correction is not None:
        corrected = pair.proposer.knowledge.surrogate.corrected
        function = corrected if name == "forward" else lambda y: corrected(pair.inverse(y))
    dtypes = set[torch.dtype]().union(*(_dtypes(pair, network) for network in networks))
    return PhysicalMap(
        name=name,
        input_name=domain,
        output_name=output_name,
        function=lambda points: function(points).double(),
        domain=_columns(pair, domain),
        image=_columns(pair, image),
        dtype=torch.float32 if torch.float32 in dtypes else torch.float64,
    )


def _dtypes(pair: ForwardInverseModule, network: str) -> set[torch.dtype]:
    module = getattr(pair, network)
    if module is None:
        raise ValueError(
            f"Expected `{network}` to be an nn.Module, but it is None. Fit the pair, or give it its "
            "networks."
        )
    return {
        part.dtype for part in (*module.parameters(), *module.buffers()) if part.is_floating_point()
    }


def _columns(pair: ForwardInverseModule, side: str) -> Columns:
    scale, variables = (pair.scale_x, pair.inputs) if side == "x" else (pair.scale_y, pair.outputs)
    if scale.fitted:
        mean, std = scale.mean.double(), scale.std.double()
    elif variables:
        mean, std = torch.zeros(len(variables)).double(), torch.ones(len(variables)).double()
    else:
        attribute = "inputs" if side == "x" else "outputs"
        raise ValueError(
            f"Expected a pair that knows its columns, but it has neither statistics nor names of "
            f"{side}: fit it, or write `pair.{attribute} = (Variable('a'), ...)`."
        )
    return Columns(as_variables(variables, side, len(mean)), mean, std)
