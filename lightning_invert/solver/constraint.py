"""A constraint between inputs, as a user writes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor

from lightning_invert.arguments import check_number
from lightning_invert.arrays import Placement, TensorLike
from lightning_invert.solver.whitening import read_points, whitened

__all__ = [
    "Constraint",
    "ConstraintsLike",
    "LikeData",
    "Linear",
    "functions_of",
    "with_another",
    "with_points",
]


@dataclass(frozen=True)
class Linear:
    r"""Keep a weighted sum of inputs between two ends.

    .. math:: l \le \sum_j a_j x_j \le h

    It holds to 1e-9 of the inputs' units, or as exactly as their dtype allows.

    Attributes:
        weights: a, name or index -> number; inputs without a name do not count.
        low: The low end; ``None`` is open. Equal ends make an equation.
        high: The high end; ``None`` is open.
        name: Name of the constraint. Default: its formula.

    Example:
        >>> from lightning_invert import solve
        >>> solution = solve(
        ...     lambda x: x[:, :1] * x[:, 1:2],
        ...     [[0.1]],
        ...     bounds=(0.0, [1.0, 1.0, 1.0]),
        ...     constraints={"shares": Linear({0: 1, 1: 1, 2: 1}, low=1, high=1)},
        ...     cost=[1.0, 0.0, 0.0],
        ... )
        >>> solution.inputs.round(decimals=2), solution.binding
        (tensor([[0.1100, 0.8900, 0.0000]]), tensor([[True]]))
    """

    weights: Mapping[Any, float]
    low: float | None = None
    high: float | None = None
    name: str = ""

    @classmethod
    def of(cls, numbers: Mapping[Any, Any], name: str = "") -> Linear:
        """Read a constraint as YAML has it: weights, with ``low`` and ``high`` among them."""
        weights = dict(numbers)
        return cls(weights, weights.pop("low", None), weights.pop("high", None), name)


@dataclass(frozen=True)
class Constraint:
    """Keep a function of the inputs between two ends.

    It holds to the solver's ``tolerance``, times the change of the function over one unit of the inputs.

    Attributes:
        function: Maps (N, n) to (N, k) or (N,), each row by itself, differentiable.
        low: The low end; ``None`` is open. Equal ends make an equation.
        high: The high end; ``None`` is open.

    Example:
        >>> import torch
        >>> from lightning_invert import solve
        >>> disc = Constraint(lambda x: x.square().sum(1), high=1)
        >>> solution = solve(lambda x: x, [[3.0, 4.0]], bounds=(-1.0, [1.0, 1.0]), constraints=[disc])
        >>> solution.inputs.round(decimals=2), solution.reasons
        (tensor([[0.6000, 0.8000]]), ['stopped at the constraints'])
    """

    function: Callable[[Tensor], Tensor]
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, eq=False)
class LikeData:
    r"""Keep inputs near known ones.

    .. math:: (x - \mu)^T \Sigma^{-1} (x - \mu) \le q

    with mean and covariance of the known inputs: the squared distance of P. C. Mahalanobis (1936). The limit
    q is a quantile of the known inputs' own distances. A cost drives proposals to where nobody has measured
    and F errs; this constraint keeps them near the data.

    Attributes:
        share: Share of the known inputs within the limit, above 0 and at most 1.
        points: Known inputs, shape (K, n). ``None``: ``propose`` takes the training data.

    Example:
        >>> import torch
        >>> from lightning_invert import solve
        >>> x = torch.randn(500, 1).repeat(1, 2) + 0.1 * torch.randn(500, 2)  # alike in both
        >>> solution = solve(
        ...     lambda x: x.sum(1, keepdim=True), [[1.0]], starts=[[1.0, 0.0]],
        ...     cost=[1.0, 0.0], constraints=LikeData(0.9, x),
        ... )
        >>> bool((solution.inputs - 0.5).abs().max() < 0.2)
        True
    """

    share: float = 0.9
    points: TensorLike | None = None

    def constraint(self, place: str, n: int) -> Constraint:
        """Return the bound on the distance of n inputs."""
        share = check_number(f"{place}.share", self.share, low=0.0, high=1.0, open_low=True)
        placement = Placement(torch.float64, torch.device("cpu"))
        known = read_points(place, "LikeData", self.points, n, placement)
        mean, whitening = whitened(known)

        def distance_from_the_data(x: Tensor) -> Tensor:
            return ((x.double() - mean.to(x.device)) @ whitening.T.to(x.device)).square().sum(1)

        return Constraint(
            distance_from_the_data, high=float(distance_from_the_data(known).quantile(share))
        )


ConstraintsLike: TypeAlias = (
    Linear | Constraint | LikeData | Sequence[Linear | Constraint | LikeData] | Mapping[str, Any]
)
"""One, several, or name -> constraint."""


def with_another(constraints: Any, another: LikeData) -> ConstraintsLike:
    """Add likeness to constraints of any form; those that have it already stay as they are."""
    parts = _parts(constraints)
    if any(isinstance(part, LikeData) for part in parts):
        given: ConstraintsLike = constraints
        return given
    if isinstance(constraints, Mapping):
        return {**constraints, "distance_from_the_data": another}
    return [*parts, another]


def with_points(constraints: Any, points: Tensor) -> Any:
    """Give these points to each ``LikeData`` without known inputs, in constraints of any form."""
    if isinstance(constraints, LikeData) and constraints.points is None:
        return replace(constraints, points=points)
    if isinstance(constraints, Mapping):
        return {name: with_points(part, points) for name, part in constraints.items()}
    if isinstance(constraints, Sequence) and not isinstance(constraints, str):
        return [with_points(part, points) for part in constraints]
    return constraints


def functions_of(constraints: Any) -> list[Any]:
    """Return the functions that are bounded: one may be a module."""
    return [part.function for part in _parts(constraints) if isinstance(part, Constraint)]


def _parts(constraints: Any) -> list[Any]:
    """Return the single constraints of any form."""
    if isinstance(constraints, Mapping):
        return list(constraints.values())
    several = isinstance(constraints, Sequence) and not isinstance(constraints, str)
    return list(constraints) if several else [constraints]
