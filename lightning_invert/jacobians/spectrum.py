"""From a map and points to singular values: by the whole Jacobian, or without it if it is large."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_invert.jacobians.contexts import differentiable
from lightning_invert.jacobians.jacobian import (
    batched_jacobian,
    default_chunk,
    evaluate,
)
from lightning_invert.jacobians.lanczos import ExtremeSingularValues, extreme_singular_values
from lightning_invert.jacobians.singular_values import (
    WeakestDirections,
    singular_values,
    weakest_directions,
)
from lightning_invert.jacobians.thresholds import condition_limit

__all__ = ["Spectra", "measure_spectra"]

MOST_SINGULAR_VALUES = 1024
MOST_ENTRIES = 2**22
"""A Jacobian with more than either is not formed."""

NUMBERS_AT_ONCE = 2**24
"""Entries of the Jacobians that are in memory together."""


class Spectra(NamedTuple):
    r"""The singular values of a map at some points.

    Attributes:
        singular_values: Shape (N, k), descending, float64; NaN where the Jacobian is not finite.
            Where it was too large to be formed, shape (N, 2): a lower bound of :math:`\sigma_1`,
            mostly to all digits, and an upper bound of :math:`\sigma_k`, mostly not.
        extremes: More about those two, if the Jacobian was too large to be formed.
        weakest: The singular vectors of the smallest singular value, if they were asked for.
        shape: (m, n) of the Jacobian.
        resolvable: The largest condition number that the arithmetic can tell.
        deviation: How far each Jacobian is from the identity, :math:`\|J - 1\|_F / \sqrt{m}`,
            shape (N,), if that was asked for and it was formed.
    """

    singular_values: Tensor
    extremes: ExtremeSingularValues | None
    weakest: WeakestDirections | None
    shape: tuple[int, int]
    resolvable: float
    deviation: Tensor | None = None

    @property
    def complete(self) -> bool:
        """Whether these are all singular values."""
        return self.extremes is None


def measure_spectra(
    function: Callable[[Tensor], Tensor],
    inputs: Tensor,
    *,
    scales: tuple[Tensor, Tensor] | None = None,
    directions: bool = False,
    identity: bool = False,
    outputs: int | None = None,
    check: bool = True,
) -> Spectra:
    r"""Return the singular values of the Jacobian at each point.

    A Jacobian with more than 1024 singular values or 4 194 304 entries is not formed: see
    :func:`~lightning_invert.jacobians.lanczos.extreme_singular_values`.

    Args:
        function: Maps (N, \*) to (N, \*), each row by itself.
        inputs: The points, shape (N, \*), floating, at least one.
        scales: Standard units of the inputs, shape (n,), and of the outputs, shape (m,): the
            Jacobian is that between inputs and outputs in these units.
        directions: Whether to find the weakest directions.
        identity: Whether to find how far the Jacobian, which is to be square, is from the identity.
        outputs: m, if it is known: by default it is found by evaluating the function at a point.
        check: As in :func:`~lightning_invert.batched_jacobian`.

    Returns:
        The spectra.

    Example:
        >>> found = measure_spectra(torch.square, torch.tensor([[1.0, 2.0]]))
        >>> found.singular_values.tolist(), found.complete
        ([[4.0, 2.0]], True)
        >>> measure_spectra(torch.square, torch.ones(1, 2000)).complete
        False
    """
    if outputs is None:
        with differentiable(inputs.device.type), torch.no_grad():
            outputs = evaluate(function, inputs[:1].clone()).numel()
    m, n = outputs, inputs[0].numel()
    if min(m, n) > MOST_SINGULAR_VALUES or m * n > MOST_ENTRIES:
        limit = condition_limit(inputs.dtype, (m, n))
        found = extreme_singular_values(*_in_units(function, inputs, scales))
        v, u = found.input_direction, found.output_direction
        weakest = WeakestDirections(found.smallest, v, u) if directions else None
        if found.complete:
            return Spectra(found.lower_bounds, None, weakest, (m, n), limit)
        ends = torch.stack([found.largest, found.smallest], dim=1)
        return Spectra(ends, found, weakest, (m, n), limit)
    sigmas, weakests, deviations = [], [], []
    for points in inputs.split(max(1, NUMBERS_AT_ONCE // max(1, m * n))):
        jacobian = batched_jacobian(function, points, chunk_size=default_chunk(m + n), check=check)
        check, limit = False, condition_limit(jacobian.dtype, (m, n))
        if scales is not None:
            jacobian = jacobian * scales[0] / scales[1][:, None]
        sigmas.append(singular_values(jacobian))
        if directions:
            weakests.append(weakest_directions(jacobian))
        if identity:
            off = jacobian - torch.eye(m, dtype=jacobian.dtype, device=jacobian.device)
            deviations.append(off.square().sum((1, 2)).div(m).sqrt())
    weakest = (
        WeakestDirections(*map(torch.cat, zip(*weakests, strict=True))) if directions else None
    )
    deviation = torch.cat(deviations) if identity else None
    return Spectra(torch.cat(sigmas), None, weakest, (m, n), limit, deviation)


def _in_units(
    function: Callable[[Tensor], Tensor], inputs: Tensor, scales: tuple[Tensor, Tensor] | None
) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """Return the function between inputs and outputs in other units, and the inputs in them."""
    if scales is None:
        return function, inputs
    of_x, of_y = (scale.to(inputs) for scale in scales)

    def scaled(z: Tensor) -> Tensor:
        return function((z * of_x).reshape(-1, *inputs.shape[1:])).flatten(1) / of_y

    return scaled, inputs.flatten(1) / of_x
