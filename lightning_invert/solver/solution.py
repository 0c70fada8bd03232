"""What was found for the targets."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

__all__ = ["Solution"]


@dataclass(frozen=True)
class Solution:
    r"""Inputs for N targets, and how far they can be relied on; all without a graph.

    The condition number tells how far the *inputs* move for a small change of the target, not how
    wrong the outputs are: these are as good as the function.

    Attributes:
        inputs: The best that were found, shape (N, n), inside the box.
        outputs: F there, shape (N, m).
        residual: Euclidean distance of the outputs from the target, in the units of ``scale``,
            shape (N,), float64; 0 inside an interval, and free outputs are left out. Infinite where
            the function was finite at no start.
        converged: Whether the target is reached: the residual is at most the tolerance, shape (N,).
        optimal: Whether the conditions of first order hold, shape (N,): it is a local optimum, or
            may be. Where the target is reached and there is a cost: that no direction which keeps
            the outcome and the box lowers it (Karush, Kuhn and Tucker), by the slope projected onto
            both, which is at most 1e-3 of the slope itself, there or where the descent began.
            Without a cost: that the target is reached. Where it is not: that no direction inside
            the box leads nearer to it.
        at_bound: Which inputs are at an end of the box, shape (N, n); those that are fixed are not.
        cost: Of the inputs, shape (N,), float64; None if there is no cost.
        condition: Condition number of the Jacobian between the inputs that are not fixed and the
            outputs of which something is wanted, in the units of ``scale``, shape (N,), float64;
            NaN where the Jacobian is not finite.
        steps: How many were tried from the start that led here, shape (N,).
        alternatives: Other solutions that reach the target, from other starts, best first: the k-th
            of each target in the k-th. Any two of a target differ by at least a hundredth of an
            input's unit in ``scale``. A row is NaN, and not converged, where a target has no
            more of them.
    """

    inputs: Tensor
    outputs: Tensor
    residual: Tensor
    converged: Tensor
    optimal: Tensor
    at_bound: Tensor
    cost: Tensor | None
    condition: Tensor
    steps: Tensor
    alternatives: tuple[Solution, ...] = ()
