"""How much of a map's Jacobians can be had for a given amount of work, decided from shapes alone.

What is decided does not depend on the machine, on how busy it is, or on chance: the same map is
looked at in the same way everywhere, and its curves can be compared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lightning_invert.jacobians.contexts import differentiable
from lightning_invert.jacobians.evaluation import evaluate

__all__ = ["Plan", "flops_of", "numbers_saved", "plan"]

MAX_WORK = 22 * 10**10
"""Of a look, in multiplications and additions of matrix products. Two cores of a server processor
(x86-64 with AVX-512, torch 2.13) do 150 to 200 thousand million a second: 1.1 to 1.5 s."""

MEMORY = 250
"""A number that is written, read by the next operation and read again by the backward pass takes as
long as so many operations: 1.7 ns. Fitted to five networks of 25 to 500 MFLOP with BatchNorm and
SiLU, whose passes take between 0.9 and 1.6 times what this says."""

VECTORS = 1500
"""The same for the inputs and outputs of a pass of a probe, which are made orthogonal to up to
eight others, twice: perceptrons of 1200 inputs and outputs spend three quarters of a look on it."""

GRAM = 4
"""The product of a Jacobian with its transpose is in float64, at half the speed, ..."""

DECOMPOSITION = 20
"""... and k^3 times this is its eigenvalues, or an SVD: 256 rows take 2.3 ms, and 784 take 48 ms."""

FORWARD_MODE = 4
"""So many backward passes cost as much as a forward-mode pass."""

MAX_ENTRIES = 2**24
"""A Jacobian with more is not formed: with its copies in float64 it would take 0.5 GiB."""

MIN_POINTS_FORMED = 32
"""For fewer Jacobians than these, a median is not worth more than bounds at more points."""

MIN_POINTS = 4
MIN_PROBES, MAX_PROBES = 3, 4
MIN_STEPS, MAX_STEPS = 4, 8


class Plan(NamedTuple):
    """How to look at the Jacobians of a map.

    Attributes:
        formed: Whether they are formed, or else probed.
        num_points: At how many points.
        probes: Random starts at each, 0 if they are formed.
        steps: From each start, 0 if they are formed.
    """

    formed: bool
    num_points: int
    probes: int = 0
    steps: int = 0


def plan(
    flops: int, shape: tuple[int, int], num_points: int, *, max_work: float = MAX_WORK
) -> Plan:
    """Choose the most that can be had for a bounded amount of work, by default about 1.5 s on two cores.

    The Jacobians are formed at all points, or else at as many as can be afforded, if these are 32
    at least. Otherwise they are probed: at as many points as can be afforded but at least four, for
    which the steps and then the starts are made fewer. A map so large that even this takes longer
    is looked at nevertheless.

    Args:
        flops: Of one evaluation at one point: see :func:`flops_of`.
        shape: (m, n) of the Jacobian.
        num_points: How many points there are.
        max_work: The bound, in floating point operations.

    Returns:
        The plan.

    Example:
        >>> plan(10_000, (4, 7), 256)
        Plan(formed=True, num_points=256, probes=0, steps=0)
        >>> plan(10**9, (3 * 64 * 64, 3 * 64 * 64), 256)
        Plan(formed=False, num_points=4, probes=4, steps=5)
    """
    m, n = shape
    if m * n <= MAX_ENTRIES:
        affordable = int(max_work // max(1, _work_of_forming(flops, m, n)))
        if affordable >= min(num_points, MIN_POINTS_FORMED):
            return Plan(True, min(num_points, affordable))
    fewest = min(num_points, MIN_POINTS)
    choices = [(MAX_PROBES, steps) for steps in range(MAX_STEPS, MIN_STEPS - 1, -1)]
    for probes, steps in choices:
        affordable = int(max_work // max(1, _work_of_probing(flops, m, n, probes, steps)))
        if affordable >= fewest:
            return Plan(False, min(num_points, affordable), probes, steps)
    return Plan(False, fewest, MIN_PROBES, MIN_STEPS)


def _work_of_forming(flops: int, m: int, n: int) -> int:
    """Return the work at one point: an evaluation, passes, and the singular values."""
    k = min(m, n)
    passes = min(m, FORWARD_MODE * n)
    return (1 + passes) * flops + GRAM * m * n * k + DECOMPOSITION * k**3


def _work_of_probing(flops: int, m: int, n: int, probes: int, steps: int) -> int:
    """Return the work at one point: an evaluation and its derivative, and two passes a step."""
    return probes * (3 + 2 * steps) * (flops + VECTORS * (m + n))


def flops_of(function: Callable[[Tensor], Tensor], inputs: Tensor) -> int:
    r"""Return how many floating point operations an evaluation at one point is worth.

    Those of matrix products and convolutions are counted, by PyTorch. Where it counts none, as in
    recurrent layers, or cannot follow, two for each parameter stand for them. What is elementwise
    is limited by memory: each number that the graph keeps, and each input and output, is worth 250
    operations.

    Args:
        function: Maps (N, \*) to (N, \*), each row by itself.
        inputs: Points, shape (N, \*), floating: only the shape of the first matters.

    Returns:
        The number of operations.

    Raises:
        TypeError: If ``inputs`` or what ``function`` returns is not a floating tensor.
        ValueError: If the shapes do not fit.

    Example:
        >>> layer = torch.nn.Linear(100, 50)
        >>> flops_of(layer, torch.zeros(1, 100))  # 2 * 100 * 50 + 250 * (100 + 100 + 50)
        72500
    """
    with differentiable(inputs.device.type):
        saved, m = numbers_saved(function, inputs)
        products = _count(function, inputs[:1])
    return (products or 2 * _parameters(function)) + MEMORY * (saved + inputs[0].numel() + m)


def _count(function: Callable[[Tensor], Tensor], point: Tensor) -> int:
    try:
        with FlopCounterMode(display=False) as counter:
            evaluate(function, point.detach().repeat_interleave(2, 0).requires_grad_())
        return int(counter.get_total_flops()) // 2
    # It stands between the function and all of PyTorch: what a function of somebody else's makes of
    # that is not known, and it has been evaluated without.
    except Exception:  # noqa: BLE001  # whatever it is, the parameters serve
        return 0


def _parameters(function: Any) -> int:
    """Return the number of parameters of a module, or of whom a function belongs to."""
    owners = (function, getattr(function, "owner", None), getattr(function, "__self__", None))
    for owner in owners:
        if isinstance(owner, nn.Module):
            return sum(parameter.numel() for parameter in owner.parameters())
    return 0


def numbers_saved(function: Callable[[Tensor], Tensor], inputs: Tensor) -> tuple[int, int]:
    r"""Return how many numbers the graph of one point keeps, and how many outputs there are.

    The weights, which are there anyway, are the same for two points and for three.

    Args:
        function: Maps (N, \*) to (N, \*), each row by itself.
        inputs: Points, shape (N, \*), at least one.

    Returns:
        The two numbers.

    Example:
        >>> net = torch.nn.Sequential(torch.nn.Linear(5, 30), torch.nn.Tanh(), torch.nn.Linear(30, 2))
        >>> numbers_saved(net, torch.zeros(1, 5))  # what goes into the layers
        (35, 2)
    """
    saved = []
    for count in (2, 3):  # a lone one is evaluated twice
        found: dict[int, Tensor] = {}

        def keep(tensor: Tensor, found: dict[int, Tensor] = found) -> Tensor:
            tensor = tensor.detach()  # itself would be held by the graph that it holds
            found[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        x = inputs[:1].detach().repeat(count, *(1 for _ in inputs.shape[1:])).requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            outputs = evaluate(function, x)
        saved.append(sum(t.untyped_storage().nbytes() // t.element_size() for t in found.values()))
    return max(0, saved[1] - saved[0]), outputs[0].numel()
