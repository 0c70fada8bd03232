"""A pair of networks, between physical units."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lightning_invert.pair.ensemble import members_of
from lightning_invert.pair.networks import SmoothMLP, Standardize
from lightning_invert.variables import Variable

__all__ = ["PhysicalPair"]


class PhysicalPair(nn.Module):
    """F and I between physical units, their scales, and what their columns are.

    The networks work in standardised units and in a dtype of their own; what comes and goes is
    physical, in float64.

    Attributes:
        forward_net: F, (N, n) -> (N, m).
        inverse_net: I, (N, m) -> (N, n).
        scale_x: Between physical and standardised settings.
        scale_y: Likewise of the outcomes.
        inputs: What the columns of x are, if that is known.
        outputs: What the columns of y are, if that is known.
    """

    forward_net: nn.Module | None
    inverse_net: nn.Module | None

    def __init__(self) -> None:
        super().__init__()
        self.scale_x = Standardize()
        self.scale_y = Standardize()
        self.inputs: tuple[Variable, ...] | None = None
        self.outputs: tuple[Variable, ...] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Predict the outcome of settings: F, (N, n) -> (N, m)."""
        return self.scale_y.inverse(self._evaluate("forward_net", self.scale_x(x)))

    def inverse(self, y: Tensor) -> Tensor:
        """Propose settings for a wanted outcome: I, (N, m) -> (N, n)."""
        return self.scale_x.inverse(self._evaluate("inverse_net", self.scale_y(y)))

    def round_trip(self, y: Tensor) -> Tensor:
        """Predict what the proposed settings lead to: F∘I, (N, m) -> (N, m)."""
        return self.forward(self.inverse(y))

    @property
    def input_names(self) -> tuple[str, ...] | None:
        """Names of the settings, where the data module or the checkpoint has them."""
        return None if self.inputs is None else tuple(variable.name for variable in self.inputs)

    @property
    def output_names(self) -> tuple[str, ...] | None:
        """Names of the outcomes, likewise."""
        return None if self.outputs is None else tuple(variable.name for variable in self.outputs)

    def _net(self, name: str) -> nn.Module:
        network = getattr(self, name)
        if network is None:
            raise ValueError(
                f"Expected argument `{name}` to be an nn.Module, but it is None and no data module "
                "with `inputs` and `outputs` was there to size one by."
            )
        return network  # type: ignore[no-any-return]

    def members(self, x: Tensor) -> Tensor | None:
        """Predict the outcome by each member of F, (N, n) -> (K, N, m), where it has several."""
        network = self._net("forward_net")
        answers = members_of(network)
        if answers is None:
            return None
        return self.scale_y.inverse(answers(self.scale_x(x).to(dtype=dtype_of(network))))

    def _evaluate(self, name: str, z: Tensor) -> Tensor:
        """Evaluate a network, in its own dtype."""
        network = self._net(name)
        return network(z.to(dtype=dtype_of(network)))  # type: ignore[no-any-return]

    def _build_missing(self) -> None:
        """Make the networks that were not given, by the numbers of columns."""
        if self.inputs and self.outputs:
            n, m = len(self.inputs), len(self.outputs)
            if self.forward_net is None:
                self.forward_net = SmoothMLP(n, m)
            if self.inverse_net is None:
                self.inverse_net = SmoothMLP(m, n)
        self._net("forward_net")
        self._net("inverse_net")


def dtype_of(network: nn.Module) -> torch.dtype | None:
    """Return what a network computes in; ``None`` if it has no weights and takes what comes."""
    return next((p.dtype for p in network.parameters() if p.is_floating_point()), None)
