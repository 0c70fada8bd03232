"""The effort of a look, chosen for a bounded amount of work from shapes alone.

The choice depends neither on the machine, nor on how busy it is, nor on chance: a map is looked at
in the same way everywhere, and its curves can be compared.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lightning_invert.jacobians.contexts import differentiable
from lightning_invert.jacobians.evaluation import InParts, evaluate

__all__ = ["MAX_ENTRIES", "MAX_WORK", "Plan", "flops_of", "numbers_saved", "plan"]

MAX_WORK = 22 * 10**10
"""Multiplications and additions of a look's matrix products. Two cores of a server processor
(x86-64 with AVX-512, torch 2.13) do 150 to 200 thousand million a second: 1.1 to 1.5 s."""

MEMORY = 250
"""Operations that take as long as writing a number, reading it in the next operation and reading it
again in the backward pass: 1.7 ns. Fitted to five networks of 25 to 500 MFLOP with BatchNorm and
SiLU, whose passes take between 0.9 and 1.6 times the estimate."""

VECTORS = 1500
"""The same for each input and output of a probe's pass, whose vectors are made orthogonal to up to
eight others, twice: perceptrons of 1200 inputs and outputs spend three quarters of a look on it."""

GRAM = 4
"""Work per multiplication of the product of a Jacobian with its transpose, in float64."""

DECOMPOSITION = 20
"""Work of the eigenvalues or an SVD, per k^3: 256 rows take 2.3 ms, and 784 take 48 ms."""

FORWARD_MODE = 4
"""Backward passes that cost as much as a forward-mode pass."""

MAX_ENTRIES = 2**24
"""Entries of the Jacobians in memory together: with copies in float64 they take 0.5 GiB. A Jacobian
with more is not formed."""

MIN_POINTS_FORMED = 32
"""A median over fewer Jacobians is worth less than bounds at more points."""

MIN_POINTS = 4
MIN_PROBES, MAX_PROBES = 3, 4
MIN_STEPS, MAX_STEPS = 4, 8


class Plan(NamedTuple):
    """The way to look at the Jacobians of a map."""

    formed: bool  # or else probed
    num_points: int
    probes: int = 0  # random starts at each point
    steps: int = 0  # from each start


def plan(
    flops: int, shape: tuple[int, int], num_points: int, *, max_work: float = MAX_WORK
) -> Plan:
    """Choose the most that ``max_work`` affords, from the ``flops`` of one evaluation at one point.

    The Jacobians are formed at as many points as are affordable, if these are at least 32.
    Otherwise they are probed, at 4 points or more; the steps and then the starts are reduced for
    that. The least plan is returned even if it takes more than ``max_work``.
    """
    m, n = shape
    if m * n <= MAX_ENTRIES:
        affordable = int(max_work // max(1, work_of_forming(flops, m, n)))
        if affordable >= min(num_points, MIN_POINTS_FORMED):
            return Plan(True, min(num_points, affordable))
    fewest = min(num_points, MIN_POINTS)
    for steps in range(MAX_STEPS, MIN_STEPS - 1, -1):
        affordable = int(max_work // max(1, work_of_probing(flops, m, n, MAX_PROBES, steps)))
        if affordable >= fewest:
            return Plan(False, min(num_points, affordable), MAX_PROBES, steps)
    return Plan(False, fewest, MIN_PROBES, MIN_STEPS)


def work_of_forming(flops: int, m: int, n: int) -> int:
    """Return the work at one point: an evaluation, passes, and the singular values."""
    k = min(m, n)
    passes = min(m, FORWARD_MODE * n)
    return (1 + passes) * flops + GRAM * m * n * k + DECOMPOSITION * k**3


def work_of_probing(flops: int, m: int, n: int, probes: int, steps: int) -> int:
    """Return the work at one point: an evaluation and its derivative, and two passes a step."""
    return probes * (3 + 2 * steps) * (flops + VECTORS * (m + n))


def flops_of(function: Callable[[Tensor], Tensor], inputs: Tensor) -> int:
    """Return the floating point operations that an evaluation at one point is worth.

    PyTorch counts those of matrix products and convolutions. Where it counts none, as in recurrent
    layers, two for each parameter stand for them. Elementwise operations are limited by memory:
    each number that the graph keeps, and each input and output, is worth 250 operations.
    """
    with differentiable(inputs.device.type):
        saved, m = numbers_saved(function, inputs)
        products = _count(function, inputs[:1])
    return (products or 2 * _parameters(function)) + MEMORY * (saved + inputs[0].numel() + m)


def _count(function: Callable[[Tensor], Tensor], point: Tensor) -> int:
    try:
        with FlopCounterMode(display=False) as counter:
            count = 2 * _unit(function)
            evaluate(function, point.detach().repeat_interleave(count, 0).requires_grad_())
        return int(counter.get_total_flops()) // count
    # The counter stands between a foreign function and all of PyTorch: anything can fail there. The
    # function itself was evaluated without the counter.
    except Exception:  # noqa: BLE001  # the parameters serve
        return 0


def _parameters(function: Any) -> int:
    """Return the number of parameters of a module, or of the module that a function belongs to."""
    owners = (function, getattr(function, "owner", None), getattr(function, "__self__", None))
    for owner in owners:
        if isinstance(owner, nn.Module):
            return sum(parameter.numel() for parameter in owner.parameters())
    return 0


def numbers_saved(function: Callable[[Tensor], Tensor], inputs: Tensor) -> tuple[int, int]:
    """Return the numbers that the graph of one point keeps, without the weights, and the outputs."""
    totals, unit = [], _unit(function)
    # The weights are the same for both; a lone point is evaluated twice.
    for count in (2 * unit, 3 * unit):
        saved: dict[int, Tensor] = {}

        def keep(tensor: Tensor, saved: dict[int, Tensor] = saved) -> Tensor:
            tensor = tensor.detach()  # itself would be held by the graph that it holds
            with suppress(
                RuntimeError
            ):  # those inside of `torch.func` have no storage of their own
                saved[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        x = inputs[:1].detach().repeat(count, *(1 for _ in inputs.shape[1:])).requires_grad_()
        try:
            with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                outputs = evaluate(function, x)
        except (
            RuntimeError
        ):  # slopes of `torch.func` refuse the hooks: what they keep is not counted
            outputs = evaluate(function, x)
        totals.append(sum(t.untyped_storage().nbytes() // t.element_size() for t in saved.values()))
    return max(0, totals[1] - totals[0]) // unit, outputs[0].numel()


def _unit(function: Callable[[Tensor], Tensor]) -> int:
    """Return how many rows are evaluated together where a function takes no other number."""
    return (function.size or 1) if isinstance(function, InParts) else 1
