"""What settings cost: prices, the distance from a reference, or any function of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from lightning_invert.jacobians.contexts import differentiable
from lightning_invert.solver.reading import Kind, read_numbers

__all__ = ["Cost", "Near", "read_cost"]


class Near(NamedTuple):
    r"""The cost of leaving a reference: settings that are in force, or a wish.

    .. math:: c(x) = \sum_j \big( (x_j - r_j) / s_j \big)^2

    Attributes:
        reference: r, shape (n,), or (N, n) for one of each target.
        spread: s, shape (n,) or a number: what counts as far. By default what the inputs are
            measured in: see ``scale`` of :func:`~lightning_invert.solve`.

    Example:
        >>> from lightning_invert import solve
        >>> found = solve(
        ...     lambda x: x.sum(1, keepdim=True), [[3.0]], start=[[3.0, 0.0]], cost=Near([0.0, 1.0])
        ... )
        >>> found.inputs.round(decimals=3), found.cost.round(decimals=3)
        (tensor([[1., 2.]]), tensor([2.], dtype=torch.float64))
    """

    reference: Any
    spread: Any = None


class Cost(Protocol):
    """A cost of P points."""

    def __call__(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return cost and slope at inputs (P, n): (P,) and (P, n), float64."""
        ...

    def rows(self, rows: Tensor | slice) -> Cost:
        """Return the cost of some of the points."""
        ...


@dataclass(frozen=True)
class _Prices:
    prices: Tensor

    def __call__(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        return inputs.double() @ self.prices, self.prices.expand(inputs.shape)

    def rows(self, rows: Tensor | slice) -> Cost:
        return self


@dataclass(frozen=True)
class _Nearness:
    reference: Tensor
    spread: Tensor

    def __call__(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        away = (inputs.double() - self.reference) / self.spread
        return away.square().sum(1), 2 * away / self.spread

    def rows(self, rows: Tensor | slice) -> Cost:
        return replace(self, reference=self.reference[rows])


@dataclass(frozen=True)
class _Function:
    function: Callable[[Tensor], Tensor]

    def __call__(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        if len(inputs) == 0:
            return inputs.new_zeros(0).double(), inputs.double()
        with differentiable(inputs.device.type):
            x = inputs.detach().clone().requires_grad_()
            value = self.function(x)
            if not isinstance(value, Tensor) or value.shape != (len(x),):
                got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
                raise ValueError(
                    "Expected argument `cost` to return one number for each point, of shape "
                    f"({len(x)},), but it returned {got}."
                )
            if not value.requires_grad:
                raise ValueError(
                    "Expected argument `cost` to return a tensor that carries a gradient to the "
                    "inputs, but it does not."
                )
            (slope,) = torch.autograd.grad(
                value.sum(), x, allow_unused=True, materialize_grads=True
            )
        return value.detach().double(), slope.double()

    def rows(self, rows: Tensor | slice) -> Cost:
        return self


def read_cost(described: Any, num_targets: int, input_spread: Tensor, kind: Kind) -> Cost:
    """Read what was asked for.

    Args:
        described: Prices (n,), a function (N, n) -> (N,), or a :class:`Near`.
        num_targets: N.
        input_spread: Shape (n,), float64.
        kind: In what the function is evaluated.

    Raises:
        TypeError: If it is none of them.
        ValueError: If a shape does not fit or a number is not finite.
    """
    n = len(input_spread)
    if isinstance(described, Near):
        reference = _finite("cost.reference", described.reference, kind)
        if reference.shape not in ((n,), (1, n), (num_targets, n)):
            raise ValueError(
                f"Expected argument `cost.reference` to be of shape ({n},) or ({num_targets}, {n}), "
                f"but got {tuple(reference.shape)}."
            )
        spread = input_spread
        if described.spread is not None:
            spread = _finite("cost.spread", described.spread, kind)
            if spread.shape not in ((), (n,)) or not (spread > 0).all():
                raise ValueError(
                    f"Expected argument `cost.spread` to be positive, a number or of shape ({n},), "
                    f"but got {described.spread!r}."
                )
        return _Nearness(reference.expand(num_targets, n), spread.expand(n))
    if callable(described):
        return _Function(described)
    prices = _finite("cost", described, kind)
    if prices.shape != (n,):
        raise ValueError(
            f"Expected argument `cost` to be prices of shape ({n},), a function or a `Near`, but got "
            f"shape {tuple(prices.shape)}."
        )
    return _Prices(prices)


def _finite(name: str, value: Any, kind: Kind) -> Tensor:
    read = read_numbers(name, value, kind._replace(dtype=torch.float64))
    if not read.isfinite().all():
        raise ValueError(f"Expected argument `{name}` to be finite, but got {value!r}.")
    return read
