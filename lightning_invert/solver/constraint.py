"""A constraint between inputs, as a user writes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Constraint", "ConstraintsLike", "Linear", "functions_of", "with_another"]


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


ConstraintsLike: TypeAlias = Linear | Constraint | Sequence[Linear | Constraint] | Mapping[str, Any]
"""One, several, or name -> constraint."""


def with_another(constraints: Any, another: Constraint | None) -> Any:
    """Return constraints, of any form that is read, with one more."""
    if another is None:
        return constraints
    if isinstance(constraints, Mapping):
        return {**constraints, another.function.__name__: another}
    several = isinstance(constraints, Sequence) and not isinstance(constraints, str)
    return [*(constraints if several else [constraints]), another]


def functions_of(constraints: Any) -> list[Any]:
    """Return the functions that are bounded: one may be a module."""
    several = isinstance(constraints, Mapping | Sequence)
    parts = constraints.values() if isinstance(constraints, Mapping) else constraints
    return [
        part.function for part in (parts if several else [parts]) if isinstance(part, Constraint)
    ]
