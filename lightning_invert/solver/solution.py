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
            "no start led to where the constraints hold",
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
    """Further solutions that reach their targets, from other starts, the next best first.

    Any two solutions of a target differ by at least a hundredth of an input's unit in ``scale``.
    Of target i the first ``count[i]`` solutions exist; the other rows are NaN, or False.

    Attributes:
        count: Number of further solutions, shape (N,), at most S.
        inputs: Shape (N, S, n).
        outputs: Shape (N, S, m).
        residual: Shape (N, S). This and what follows is as in a :class:`Solution` or a
            :class:`~lightning_invert.Proposal`, with S solutions of each target.
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
    r"""The best inputs found for N targets; all tensors are without a graph. ``print`` describes them.

    The condition number tells how far the *inputs* move for a small change of the target. It does
    not tell how wrong the outputs are: they are as good as the function.

    Attributes:
        inputs: The best inputs, shape (N, n), within the bounds.
        outputs: F there, shape (N, m).
        residual: Euclidean distance of the outputs from the target, in the units of ``scale``,
            shape (N,), float64; 0 inside an interval; free outputs do not count. Infinite where the
            function was finite at no start, or no start led to where the constraints hold.
        result: Why the search ended: a :class:`Result` for each target, shape (N,).
        optimal: Whether the conditions of first order hold, shape (N,): the inputs are, or may be,
            a local optimum. Where the target is reached and there is a cost: no direction that
            keeps the outcome and the bounds lowers the cost (Karush, Kuhn and Tucker), because the
            projected slope is at most 1e-3 of the slope itself, there or where the descent began.
            Without a cost: the target is reached. Where it is not: no direction within the bounds
            leads nearer, in units of the Jacobian's columns: up to a cosine of about 1e-4, in float32
            1e-3.
        at_bound: Which inputs are at an end of their bounds, shape (N, n); not the fixed ones.
        condition: Condition number of the Jacobian between the inputs that may move and the outputs
            that have a target, in the units of ``scale``, shape (N,), float64; NaN where the
            Jacobian is not finite. No move leads off a constraint with equal ends; what is at a bound, or
            at one of two ends, may move back.
        steps: Number of steps tried from the start that led here, shape (N,).
        cost: Cost of the inputs, shape (N,), float64; ``None`` without a cost.
        binding: Which constraints are at an end, shape (N, K), in the order of ``constraint_names``;
            ``None`` without constraints.
        shortfall: What the outputs lack to be at their targets, shape (N, m), in their own units: above 0
            where they are too low, below 0 where too high; 0 where free.
        matters: Which inputs matter there, shape (N, n): elsewhere any value will do. ``None`` if all
            always do, see ``matters_if`` of :class:`~lightning_invert.Variable`.
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
