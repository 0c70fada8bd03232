r"""Penalties that make a map easier to invert.

Both take the Jacobian at a few points of a batch, with a graph: one forward and one backward pass of
points times outputs rows, and the optimizer's backward pass through them. They suit maps with few
outputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from lightning_invert.arguments import check_integer, check_number
from lightning_invert.jacobians.arithmetic import in_dtype_of
from lightning_invert.jacobians.contexts import evaluation_mode
from lightning_invert.jacobians.jacobian import batched_jacobian
from lightning_invert.jacobians.singular_values import distance_from_identity

__all__ = ["ConditioningPenalty", "JacobianConsistency"]

MIN_SHARE = 1e-6
"""Least share of the largest singular value that is told apart, lest gradients be infinite."""


class ConditioningPenalty(nn.Module):
    r"""Penalise condition numbers above a limit.

    .. math:: w \cdot \frac{1}{N} \sum_i \max(0, \ln \kappa(J_i) - \ln \kappa_0)^2

    with :math:`\kappa = \sigma_1 / \sqrt{\sigma_k^2 + (10^{-6} \sigma_1)^2}`, which is differentiable
    where the map is singular, too. The Jacobian is that of the map in evaluation mode, as it is watched.

    Args:
        weight: w.
        limit: :math:`\kappa_0`: smaller condition numbers cost nothing.
        num_points: N: the first N points of a batch are used.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range.

    Example:
        >>> penalty = ConditioningPenalty(weight=1.0, limit=10.0)
        >>> x = torch.zeros(5, 2)
        >>> penalty(lambda x: x * torch.tensor([1.0, 0.2]), x).item()  # κ = 5
        0.0
        >>> round(penalty(lambda x: x * torch.tensor([1.0, 0.01]), x).item(), 3)  # ln(100 / 10)²
        5.302
    """

    def __init__(self, weight: float = 0.01, limit: float = 10.0, num_points: int = 8) -> None:
        super().__init__()
        self.weight = check_number("weight", weight, low=0.0)
        self.limit = check_number("limit", limit, low=1.0, high=1 / MIN_SHARE, open_high=True)
        self.num_points = check_integer("num_points", num_points, low=1)

    def extra_repr(self) -> str:
        """Show the arguments."""
        return f"weight={self.weight}, limit={self.limit}, num_points={self.num_points}"

    def forward(self, function: nn.Module | Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        r"""Return the penalty of a map (N, \*) -> (N, \*) at points x (N, \*), differentiable."""
        jacobian = _jacobian(function, x[: self.num_points])
        sigma = torch.linalg.svdvals(jacobian)
        largest, smallest = sigma[:, 0], sigma[:, -1]
        tiny = torch.finfo(sigma.dtype).tiny
        floored = smallest.square() + (MIN_SHARE * largest).square() + tiny
        log_cond = (largest.square() + tiny).log() / 2 - floored.log() / 2
        excess = (log_cond - math.log(self.limit)).clamp(min=0)
        penalty: Tensor = self.weight * excess.square().mean()
        return penalty


class JacobianConsistency(nn.Module):
    r"""Penalise a round trip whose Jacobian is not the identity.

    .. math:: w \cdot \frac{1}{N m} \sum_i \lVert J_F(I(y_i))\, J_I(y_i) - 1 \rVert_F^2

    The consistency term asks that F(I(y)) = y. This penalty asks that a small change of the target
    change the settings rightly, too.

    Args:
        weight: w.
        num_points: N: the first N points of a batch are used.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range.

    Example:
        >>> term = JacobianConsistency(weight=1.0)
        >>> term(lambda x: 2 * x, lambda y: 0.75 * y, torch.zeros(3, 4)).item()  # (1.5 - 1)²
        0.25
    """

    def __init__(self, weight: float = 0.01, num_points: int = 8) -> None:
        super().__init__()
        self.weight = check_number("weight", weight, low=0.0)
        self.num_points = check_integer("num_points", num_points, low=1)

    def extra_repr(self) -> str:
        """Show the arguments."""
        return f"weight={self.weight}, num_points={self.num_points}"

    def forward(
        self,
        forward: nn.Module | Callable[[Tensor], Tensor],
        inverse: nn.Module | Callable[[Tensor], Tensor],
        y: Tensor,
    ) -> Tensor:
        """Return the penalty of F and I at outcomes y (N, m), differentiable. To train I alone, freeze F."""
        with evaluation_mode([f for f in (forward, inverse) if isinstance(f, nn.Module)]):
            jacobian = _jacobian(
                lambda y: forward(inverse(in_dtype_of(inverse, y)).to(y.dtype)),
                y[: self.num_points],
            )
        return self.weight * distance_from_identity(jacobian).mean()


def _jacobian(function: nn.Module | Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return the Jacobian at each point, shape (N, m, n), with a graph."""
    with evaluation_mode([function] if isinstance(function, nn.Module) else []):
        jacobian = batched_jacobian(function, x, create_graph=True, check=False)
    return jacobian.float() if jacobian.dtype in (torch.float16, torch.bfloat16) else jacobian
