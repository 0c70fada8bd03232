"""What was found for the targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import torch
from torch import Tensor

__all__ = ["Solution", "joined", "reordered"]


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


S = TypeVar("S", bound=Solution)


def joined(parts: Sequence[Sequence[S]]) -> S:
    """Put the solutions of several batches of targets together.

    Args:
        parts: Of each batch the best solutions, the second best, ...; of one target there may be
            more of them than of another.

    Returns:
        The best of all targets, with the others as alternatives.
    """
    most = max(map(len, parts))
    ranked = [
        _concatenated([part[k] if k < len(part) else _none(part[0]) for part in parts])
        for k in range(most)
    ]
    return replace(ranked[0], alternatives=tuple(ranked[1:]))


def reordered(found: S, order: Tensor) -> S:
    """Return each target's solutions in another order.

    Args:
        found: The best solutions as they are, with alternatives of the same type.
        order: Which comes first, second, ...: shape (N, 1 + number of alternatives); 0 is the best.
    """
    ranked = (found, *found.alternatives)
    each = torch.arange(len(order), device=order.device)
    parts = []
    for place in order.T:
        columns = {
            name: torch.stack([getattr(one, name) for one in ranked], 1)[each, place]
            for name in _columns(found)
        }
        parts.append(replace(found, **columns, alternatives=()))
    return replace(parts[0], alternatives=tuple(parts[1:]))


def _columns(found: Solution) -> list[str]:
    return [one.name for one in fields(found) if isinstance(getattr(found, one.name), Tensor)]


def _concatenated(parts: list[S]) -> S:
    columns = {
        name: torch.cat([getattr(part, name) for part in parts]) for name in _columns(parts[0])
    }
    return replace(parts[0], **columns, alternatives=())


def _none(like: S) -> S:
    """Return the rows of targets that have no further solution."""
    columns = {}
    for name in _columns(like):
        part = getattr(like, name)
        columns[name] = torch.full_like(part, torch.nan if part.is_floating_point() else 0)
    return replace(like, **columns, alternatives=())
