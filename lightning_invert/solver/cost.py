"""Costs of inputs: prices, the distance from a reference, or any function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from lightning_invert.arguments import expected_but_got
from lightning_invert.arrays import Placement, TensorLike, read_number, read_tensor
from lightning_invert.conditions import Conditions, matters, read_conditions
from lightning_invert.jacobians.contexts import differentiable, twice_differentiable
from lightning_invert.jacobians.domain import evaluate_inside
from lightning_invert.jacobians.evaluation import POWERS, in_parts
from lightning_invert.jacobians.jacobian import default_chunk
from lightning_invert.solver.model import Model
from lightning_invert.solver.targets import Targets
from lightning_invert.solver.whitening import read_points, whitened
from lightning_invert.variables import Bounds, Variable, by_column

__all__ = [
    "Cost", "CostLike", "Near", "Plausible", "Robust", "read_cost", "read_setting_error",
]  # fmt: skip


class Near(NamedTuple):
    r"""Charge for the distance from a reference, such as the settings in force.

    .. math:: c(x) = \sum_j \big( (x_j - r_j) / s_j \big)^2

    Attributes:
        reference: r, shape (n,), or (N, n) with one for each target; or name -> number, where inputs
            without a name do not count.
        spread: s, the distance that costs 1: a number, shape (n,), or name -> number. Default: the
            units of the inputs, see ``scale`` of :func:`~lightning_invert.solve`.

    Example:
        >>> from lightning_invert import solve
        >>> solution = solve(
        ...     lambda x: x.sum(1, keepdim=True), [[3.0]], starts=[[3.0, 0.0]], cost=Near([0.0, 1.0])
        ... )
        >>> solution.inputs.round(decimals=3), solution.cost.round(decimals=3)
        (tensor([[1., 2.]]), tensor([2.], dtype=torch.float64))
    """

    reference: TensorLike | Mapping[Any, Any]
    spread: TensorLike | Mapping[Any, Any] | None = None


class Plausible(NamedTuple):
    r"""Charge for being unlike known settings: what varies together there stays together.

    .. math:: c(x) = (x - \mu)^T \Sigma^{-1} (x - \mu)

    with mean and covariance of the known settings: the squared distance of P. C. Mahalanobis (1936), over
    the settings that matter.

    Attributes:
        points: Known settings, shape (K, n). ``None``: ``propose`` takes the training data.

    Example:
        >>> from lightning_invert import solve
        >>> x = torch.randn(500, 1).repeat(1, 2) + 0.1 * torch.randn(500, 2)  # alike in both
        >>> solution = solve(
        ...     lambda x: x.sum(1, keepdim=True), [[3.0]], starts=[[3.0, 0.0]], cost=Plausible(x)
        ... )
        >>> bool((solution.inputs - 1.5).abs().max() < 0.1)
        True
    """

    points: TensorLike | None = None


class Robust(NamedTuple):
    r"""Charge for how far outcomes spread when the inputs are not set exactly.

    .. math:: c(x) = \sum_{ij} \Big( \frac{\partial F_i}{\partial x_j} \frac{e_j}{s_i} \Big)^2

    over the outputs that have a target, in their units s (see ``scale`` of :func:`~lightning_invert.solve`).
    F needs a smooth activation: the slope of a ReLU network is constant around a point, so that no step
    lowers this cost.

    Attributes:
        setting_error: e, the standard deviation of what each input is really set to: shape (n,) in its
            unit, or name -> number, where inputs without a name are exact.
        share: ``propose`` keeps proposals near the data, where F is right about the spread, by
            :class:`~lightning_invert.LikeData` with this share. ``None``: anywhere within the bounds.

    Example:
        >>> from lightning_invert import solve
        >>> solution = solve(  # a product of 1: where one factor errs, the other is to be small
        ...     lambda x: x[:, :1] * x[:, 1:],
        ...     [[1.0]],
        ...     bounds=(0.5, [4.0, 4.0]),
        ...     cost=Robust({0: 0.1}),
        ... )
        >>> solution.inputs.round(decimals=2)
        tensor([[2.0000, 0.5000]])
    """

    setting_error: TensorLike | Mapping[Any, float]
    share: float | None = 0.9


ERRORS = (
    "name -> standard deviation of that input, none below 0 and not all 0, or numbers of shape (n,)"
)

CostLike: TypeAlias = (
    Near | Plausible | Robust | Callable[[Tensor], Tensor] | Mapping[Any, Any] | TensorLike
)
"""What :func:`read_cost` reads."""


class Cost:
    """A cost of P points, by default the same for each."""

    setting_error: Tensor | None = None  # (n,), if it is one of errors

    @property
    def counted(self) -> Tensor | None:
        """Which inputs cost something where they matter, (n,); ``None`` where that is not asked."""
        return None

    def __call__(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return cost and slope at inputs (P, n): (P,) and (P, n), float64."""
        raise NotImplementedError

    def rows(self, rows: Tensor | slice) -> Cost:
        """Return the cost of these points."""
        return self


@dataclass(frozen=True)
class _Prices(Cost):
    prices: Tensor  # (n,), or (P, n)
    conditions: Conditions

    def __call__(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        prices, mattering = self.prices.expand(inputs.shape), matters(inputs, self.conditions)
        prices = prices if mattering is None else prices * mattering
        return torch.linalg.vecdot(inputs.double(), prices), prices

    @property
    def counted(self) -> Tensor:
        return (self.prices != 0).reshape(-1, self.prices.shape[-1]).any(0)

    def rows(self, rows: Tensor | slice) -> Cost:
        return self if self.prices.ndim == 1 else replace(self, prices=self.prices[rows])


@dataclass(frozen=True)
class _Nearness(Cost):
    reference: Tensor
    spread: Tensor
    conditions: Conditions

    @property
    def counted(self) -> Tensor:
        return self.spread.isfinite()

    def __call__(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        away = (inputs.double() - self.reference) / self.spread
        mattering = matters(inputs, self.conditions)
        away = away if mattering is None else away * mattering
        return away.square().sum(1), 2 * away / self.spread

    def rows(self, rows: Tensor | slice) -> Cost:
        return replace(self, reference=self.reference[rows])


@dataclass(frozen=True)
class _Unlikeness(Cost):
    mean: Tensor  # (n,)
    whitening: Tensor  # (n, n): W with cov(W x) = 1
    conditions: Conditions

    @property
    def counted(self) -> Tensor:
        return torch.ones_like(self.mean, dtype=torch.bool)

    def __call__(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        away = inputs.double() - self.mean
        mattering = matters(inputs, self.conditions)
        if mattering is not None:
            away = self._likeliest(away * mattering, ~mattering)
        white = away @ self.whitening.T
        slope = 2 * white @ self.whitening
        return white.square().sum(1), slope if mattering is None else slope * mattering

    def _likeliest(self, away: Tensor, free: Tensor) -> Tensor:
        """Put what is free where it costs least: so the others cost what they do by themselves."""
        precision = self.whitening.T @ self.whitening
        alone = torch.eye(len(precision)).to(precision)
        system = torch.where(free[:, :, None] & free[:, None], precision, alone)
        likeliest: Tensor = away - torch.linalg.solve(system, (away @ precision) * free)
        return likeliest


@dataclass(frozen=True)
class _Spread(Cost):
    model: Model
    weights: Tensor  # (P, m), of the outputs
    conditions: Conditions
    usual: Tensor  # (n,): where an input is taken to be that does not matter
    setting_error: Tensor  # (n,)

    @property
    def counted(self) -> Tensor:
        return self.setting_error > 0

    def __call__(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        if not len(inputs):
            return inputs.new_zeros(0).double(), inputs.double()
        mattering = matters(inputs, self.conditions)
        if mattering is None:
            return self._at_all(inputs, self.setting_error.expand(inputs.shape))
        inputs = inputs.where(mattering, self.usual)
        value, slope = self._at_all(inputs, self.setting_error * mattering)
        return value, slope * mattering

    def _at_all(self, inputs: Tensor, error: Tensor) -> tuple[Tensor, Tensor]:
        m, n = self.model.num_outputs, len(self.setting_error)
        size = max(1, default_chunk(n + m) // m)
        with differentiable(inputs.device.type), twice_differentiable():
            parts = zip(*(p.split(size) for p in (inputs, self.weights, error)), strict=True)
            values, slopes = zip(*(self._at(*part) for part in parts), strict=True)
        return torch.cat(values), torch.cat(slopes)

    def _at(self, inputs: Tensor, weights: Tensor, error: Tensor) -> tuple[Tensor, Tensor]:
        x = inputs.detach().clone().requires_grad_()
        jacobian = self.model.jacobian_with_graph(x).double()
        value = (jacobian * error[:, None] * weights[:, :, None]).square().sum((1, 2))
        slope = torch.zeros_like(x)
        if value.requires_grad:
            (slope,) = torch.autograd.grad(
                value.sum(), x, allow_unused=True, materialize_grads=True
            )
        return value.detach(), slope.double()

    def rows(self, rows: Tensor | slice) -> Cost:
        return replace(self, weights=self.weights[rows])


@dataclass(frozen=True)
class _Function(Cost):
    function: Callable[[Tensor], Tensor]

    def __call__(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        if len(inputs) == 0:
            return inputs.new_zeros(0).double(), inputs.double()
        with differentiable(inputs.device.type):
            x = inputs.detach().clone().requires_grad_()
            value = evaluate_inside(self.function, x, shape=())
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


def read_cost(
    cost: Any,
    inputs: Sequence[Variable],
    model: Model,
    targets: Targets,
    placement: Placement,
    bounds: Bounds,
) -> Cost:
    """Read prices (n,), (N, n) or by name, a function (N, n) -> (N,), or one of the classes above."""
    n, placement = len(inputs), placement._replace(dtype=torch.float64)
    num_targets, input_spread = len(targets.low), model.input_spread
    conditions = read_conditions(inputs)
    if isinstance(cost, Near):
        reference = _read_finite("cost.reference", cost.reference, inputs, placement)
        if reference.shape not in ((n,), (1, n), (num_targets, n)):
            raise ValueError(
                f"Expected argument `cost.reference` to be of shape ({n},) or ({num_targets}, {n}), "
                f"but got {tuple(reference.shape)}."
            )
        spread = input_spread
        if cost.spread is not None:
            spread = _read_finite("cost.spread", cost.spread, inputs, placement, input_spread)
            if spread.shape not in ((), (n,)) or not (spread > 0).all():
                raise ValueError(
                    f"Expected argument `cost.spread` to be positive, a number or of shape ({n},), "
                    f"but got {cost.spread!r}."
                )
        spread = spread.expand(n)
        if isinstance(cost.reference, Mapping):
            named = by_column("cost.reference", cost.reference, inputs)
            counts = torch.tensor([index in named for index in range(n)], device=spread.device)
            spread = spread.where(counts, torch.inf)
        return _Nearness(reference.expand(num_targets, n), spread, conditions)
    if isinstance(cost, Plausible):
        points = read_points("cost", "Plausible", cost.points, n, placement)
        return _Unlikeness(*whitened(points), conditions)
    if isinstance(cost, Robust):
        error = read_setting_error("cost.setting_error", cost.setting_error, inputs)
        if error is None:
            raise TypeError(expected_but_got("cost.setting_error", ERRORS, None))
        error, weights = error.to(input_spread.device), targets.constrained / model.output_spread
        return _Spread(model, weights, conditions, bounds.middle, error)
    if callable(cost):
        return _Function(in_parts(cost, num_targets, *POWERS))
    prices = _read_finite("cost", cost, inputs, placement)
    if prices.shape not in ((n,), (num_targets, n)):
        raise ValueError(
            f"Expected argument `cost` to be prices of shape ({n},) or ({num_targets}, {n}) or by name, a "
            f"function or a `Near`, but got shape {tuple(prices.shape)}."
        )
    return _Prices(prices, conditions)


def read_setting_error(argument: str, value: Any, inputs: Sequence[Variable]) -> Tensor | None:
    """Return standard deviations (n,), float64, of (n,) or by name; ``None`` if there are none."""
    if value is None:
        return None
    error = _read_finite(argument, value, inputs, Placement(torch.float64, torch.device("cpu")))
    if error.shape != (len(inputs),) or (error < 0).any() or not error.any():
        raise ValueError(expected_but_got(argument, ERRORS, value))
    return error


def _read_finite(
    argument: str,
    value: Any,
    inputs: Sequence[Variable],
    placement: Placement,
    others: Tensor | None = None,
) -> Tensor:
    """Read numbers; of those by name, what is not named is 0 or stays as in ``others`` (n,)."""
    if isinstance(value, Mapping):
        numbers = (
            torch.zeros(len(inputs), dtype=placement.dtype, device=placement.device)
            if others is None
            else others.clone()
        )
        for index, number in by_column(argument, value, inputs).items():
            numbers[index] = read_number(argument, number, placement)
    else:
        numbers = read_tensor(argument, value, placement)
    if not numbers.isfinite().all():
        raise ValueError(f"Expected argument `{argument}` to be finite, but got {value!r}.")
    return numbers
