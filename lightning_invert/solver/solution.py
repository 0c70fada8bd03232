"""Solutions, and why a search ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from torch import Tensor

from lightning_invert.doorway import Shown

__all__ = ["Alternatives", "Ends", "Result", "Solution"]


class Result(IntEnum):
    """Why the search for a target ended."""

    REACHED = 0
    OUT_OF_REACH = 1
    AT_BOUNDS = 2
    OUT_OF_STEPS = 3
    STUCK = 4
    NOT_FINITE = 5
    AT_CONSTRAINTS = 6
    INFEASIBLE = 7

    @property
    def words(self) -> str:
        """The reason in words."""
        return (
            "reached",
            "out of reach: no direction leads nearer",
            "stopped at the bounds",
            "out of steps",
            "stuck: no step leads nearer, as at a turning point",
            "not finite",
            "stopped at the constraints",
            "no start led to a point that keeps the constraints",
        )[self]


class Ends(NamedTuple):
    """Where P searches ended."""

    inputs: Tensor  # (P, n)
    outputs: Tensor  # (P, m)
    residual: Tensor  # (P,), float64, in spreads of the outputs; infinite where F begins so
    result: Tensor  # (P,), a Result each
    optimal: Tensor  # (P,): whether the conditions of first order hold
    steps: Tensor  # (P,): number of steps tried
    cost: Tensor | None = None  # (P,), float64

    def rows(self, rows: Tensor) -> Ends:
        """Return a copy of these rows."""
        return Ends(*(None if part is None else part[rows] for part in self))  # type: ignore[arg-type]

    def put(self, rows: Tensor, ends: Ends) -> None:
        """Replace these rows."""
        for part, replacement in zip(self, ends, strict=True):
            if part is not None and replacement is not None:
                part[rows] = replacement


@dataclass(frozen=True, kw_only=True, repr=False)
class Alternatives(Shown):
    """Further solutions that reach their targets, from other starts, the best first.

    Two solutions of a target differ by at least a hundredth of an input's unit in ``scale``. For target i
    the first ``count[i]`` solutions exist; the other rows are NaN, or False.

    Attributes:
        count: Number of further solutions, shape (N,), at most S.
        inputs: Shape (N, S, n).
        outputs: Shape (N, S, m).
        residual: Shape (N, S). The other attributes are those of a :class:`Solution` or a
            :class:`~lightning_invert.Proposal`, with S solutions for each target.
    """

    count: Tensor
    inputs: Tensor
    outputs: Tensor
    residual: Tensor
    optimal: Tensor
    at_bound: Tensor
    condition: Tensor
    steps: Tensor
    cost: Tensor | None = None
    binding: Tensor | None = None
    sensitivity: Tensor | None = None
    outcome_low: Tensor | None = None
    outcome_high: Tensor | None = None
    expected_error: Tensor | None = None
    trust: Tensor | None = None
    far: Tensor | None = None
    doubtful: Tensor | None = None


@dataclass(frozen=True, kw_only=True, repr=False)
class Solution(Shown):
    """The best inputs found for N targets. ``print`` describes them.

    The condition number says how far the *inputs* move when the target changes a little. It does not say
    how wrong the outputs are: they are as good as the function. No tensor carries a gradient.

    Attributes:
        inputs: The best inputs, shape (N, n), within the bounds.
        outputs: The function at these inputs, shape (N, m).
        residual: Euclidean distance of the outputs from the target, in the units of ``scale``,
            shape (N,), float64. 0 inside an interval; free outputs do not count. Infinite if the
            function is finite at no start, or if no start leads to where the constraints hold.
        result: Why the search for each target ended: a :class:`Result`, shape (N,).
        optimal: Whether the first-order conditions of a local optimum hold, shape (N,). A reached
            target with a cost: no direction that keeps outcome and bounds lowers the cost (Karush, Kuhn
            and Tucker); the projected slope is at most 1e-3 of the slope itself, there or where the
            descent began. Without a cost: the target is reached. A target out of reach: no direction
            within the bounds leads nearer, up to a cosine of about 1e-4, in float32 1e-3.
        at_bound: Which inputs are at an end of their bounds, shape (N, n). Fixed inputs are not.
        condition: Condition number of the Jacobian, in the units of ``scale``, shape (N,), float64; NaN
            where the Jacobian is not finite. It counts the inputs that may move and the outputs that have
            a target. An input at a bound may move back; directions off an equation do not count.
        steps: Number of steps tried from the best start, shape (N,).
        cost: Cost of the inputs, shape (N,), float64; ``None`` without a cost.
        binding: Which constraints are at an end, shape (N, K); ``None`` without constraints.
        constraint_names: Names of the K constraints.
        shortfall: What the outputs lack to meet their targets, shape (N, m), in their own units: positive
            where they are too low, negative where too high, 0 where free.
        matters: Which inputs matter, shape (N, n); any value will do for the others. ``None`` if no input
            has a condition (``matters_if`` of :class:`~lightning_invert.Variable`).
        unfinished: Whether the search for the best choice of levels and of inputs that change ended at its
            limit, shape (N,): a better one may exist. ``None`` where all choices were tried.
        alternatives: Further solutions, see :class:`Alternatives`.
    """

    inputs: Tensor
    outputs: Tensor
    residual: Tensor
    result: Tensor
    optimal: Tensor
    at_bound: Tensor
    condition: Tensor
    steps: Tensor
    cost: Tensor | None = None
    binding: Tensor | None = None
    constraint_names: tuple[str, ...] = ()
    shortfall: Tensor | None = None
    matters: Tensor | None = None
    unfinished: Tensor | None = None
    alternatives: Alternatives

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def converged(self) -> Tensor:
        """Whether each target is reached: the residual is at most the tolerance; shape (N,)."""
        return self.result == Result.REACHED

    @property
    def reasons(self) -> list[str]:
        """Why the search for each target ended, in words."""
        return [Result(value).words for value in self.result.tolist()]
