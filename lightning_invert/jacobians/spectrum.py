"""From a map and points to singular values: by the whole Jacobian, or without it if it is large."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_invert.jacobians.comparison import Comparison, compare_jacobians
from lightning_invert.jacobians.contexts import differentiable
from lightning_invert.jacobians.evaluation import evaluate, with_context
from lightning_invert.jacobians.jacobian import (
    count_outputs,
    default_chunk,
    jacobian_and_outputs,
)
from lightning_invert.jacobians.lanczos import Probes, probe_jacobians
from lightning_invert.jacobians.singular_values import (
    WeakestDirections,
    distance_from_identity,
    singular_values,
    weakest_directions,
)
from lightning_invert.jacobians.thresholds import condition_limit

__all__ = ["Effort", "Spectrum", "measure_spectrum"]

MAX_SINGULAR_VALUES = 1024
MAX_ENTRIES = 2**22
"""A Jacobian with more than either is not formed."""

MAX_ENTRIES_AT_ONCE = 2**24
"""Entries of the Jacobians that are in memory together."""


class Effort(NamedTuple):
    """What is spent on a point.

    Attributes:
        formed: Whether the Jacobian is formed; ``None``: unless it is too large.
        probes: Where it is not: how many random starts ...
        steps: ... of how many steps each.
    """

    formed: bool | None = None
    probes: int = 4
    steps: int = 8


class Spectrum(NamedTuple):
    r"""The singular values of a map at some points.

    Attributes:
        singular_values: Shape (N, k), descending, float64; NaN where the Jacobian is not finite.
            Where it was not formed, shape (N, 1): a lower bound of :math:`\sigma_1`, mostly it to
            all digits.
        outputs: What the map makes of the points, shape (N, m).
        shape: (m, n) of the Jacobian.
        condition_limit: The largest condition number that the arithmetic can tell.
        probes: What is known of it, where the Jacobian was not formed.
        weakest: The singular vectors of the smallest singular value, if they were asked for.
        identity_error: How far each Jacobian is from the identity, :math:`\|J - 1\|_F^2 / m`,
            shape (N,), if that was asked for and it was formed.
        comparison: How far it is from that of a reference, likewise.
    """

    singular_values: Tensor
    outputs: Tensor
    shape: tuple[int, int]
    condition_limit: float
    probes: Probes | None = None
    weakest: WeakestDirections | None = None
    identity_error: Tensor | None = None
    comparison: Comparison | None = None

    @property
    def formed(self) -> bool:
        """Whether these are all singular values."""
        return self.probes is None


def measure_spectrum(
    function: Callable[..., Tensor],
    inputs: Tensor,
    *,
    context: Sequence[Tensor] = (),
    stds: tuple[Tensor, Tensor] | None = None,
    directions: bool = False,
    identity: bool = False,
    reference: Callable[..., Tensor] | None = None,
    num_outputs: int | None = None,
    effort: Effort | None = None,
    check: bool = True,
    arithmetic: torch.dtype | None = None,
) -> Spectrum:
    r"""Return the singular values of the Jacobian at each point.

    A Jacobian with more than 1024 singular values or 4 194 304 entries is not formed: see
    :func:`~lightning_invert.jacobians.lanczos.probe_jacobians`.

    Args:
        function: Maps (N, \*), and the rows of the context, to (N, \*), each row by itself.
        inputs: The points, shape (N, \*), floating, at least one.
        context: Further arguments of the function, shape (N, \*) each, which are held fixed.
        stds: Standard deviations of the inputs, shape (n,), and of the outputs, shape (m,): the
            Jacobian is that between standardised inputs and outputs.
        directions: Whether to find the weakest directions.
        identity: Whether to find how far the Jacobian, which is to be square, is from the identity.
        reference: What to hold the Jacobian against where it is formed, see
            :func:`~lightning_invert.jacobians.comparison.compare_jacobians`.
        num_outputs: m, if it is known: by default it is found by evaluating the function at a point.
        effort: Whether to form it, and how hard to look where it is not.
        check: As in :func:`~lightning_invert.batched_jacobian`.
        arithmetic: In which dtype the function computes inside, where that is coarser than the
            dtype of its inputs.

    Returns:
        The spectrum.

    Raises:
        ValueError: If the Jacobian is not square, though it is to be compared with the identity; or
            if there are not as many standard deviations as columns.

    Example:
        >>> found = measure_spectrum(torch.square, torch.tensor([[1.0, 2.0]]))
        >>> found.singular_values.tolist(), found.formed
        ([[4.0, 2.0]], True)
        >>> measure_spectrum(torch.square, torch.ones(1, 2000)).formed
        False
    """
    n = inputs.shape[1:].numel()
    if num_outputs is None:
        num_outputs = count_outputs(with_context(function, context), inputs)
    m = num_outputs
    if identity and m != n:
        raise ValueError(
            f"Expected a round trip to have as many outputs as inputs, but it maps {n} to {m}. "
            "Leave `identity` out where a map does not end where it began."
        )
    for side, std, count in zip(("input", "output"), stds or (), (n, m), strict=False):
        if std.shape != (count,):
            raise ValueError(
                f"Expected argument `{side}_std` to hold a number for each of the {count} {side}s, "
                f"but got {len(std)}."
            )
    effort = effort or Effort()
    formed = min(m, n) <= MAX_SINGULAR_VALUES and m * n <= MAX_ENTRIES
    if not (formed if effort.formed is None else effort.formed):
        return _not_formed(function, inputs, context, stds, (m, n), effort, arithmetic)
    function = function if stds is None else _in_units(function, stds[1])
    sigmas, outputs, weakests, errors, compared = [], [], [], [], []
    size = max(1, MAX_ENTRIES_AT_ONCE // max(1, m * n))
    if context:  # so few that all are taken at once, with their context
        size = min(size, default_chunk(m + n))
    for points, *rows in zip(*(part.split(size) for part in (inputs, *context)), strict=True):
        jacobian, y = jacobian_and_outputs(
            with_context(function, rows),
            points,
            num_outputs=m,
            chunk_size=size if context else None,
            check=check,
        )
        check, limit = False, _limit(jacobian.dtype, arithmetic, (m, n))
        if stds is not None:
            scaled = y.dtype == stds[1].dtype
            jacobian = jacobian * stds[0] if scaled else jacobian * stds[0] / stds[1][:, None]
            y = y * stds[1] if scaled else y
        outputs.append(y)
        sigmas.append(singular_values(jacobian))
        if directions:
            weakests.append(weakest_directions(jacobian))
        if identity:
            errors.append(distance_from_identity(jacobian))
        if reference is not None:
            compared.append(compare_jacobians(jacobian, reference, points, context=rows, stds=stds))
    return Spectrum(
        torch.cat(sigmas),
        torch.cat(outputs),
        (m, n),
        limit,
        weakest=WeakestDirections(*map(torch.cat, zip(*weakests, strict=True)))
        if directions
        else None,
        identity_error=torch.cat(errors) if identity else None,
        comparison=Comparison(
            torch.cat([one.error for one in compared]),
            torch.cat([one.singular_values for one in compared]),
        )
        if compared
        else None,
    )


def _not_formed(
    function: Callable[..., Tensor],
    inputs: Tensor,
    context: Sequence[Tensor],
    stds: tuple[Tensor, Tensor] | None,
    shape: tuple[int, int],
    effort: Effort,
    arithmetic: torch.dtype | None,
) -> Spectrum:
    outputs = []
    size = default_chunk(sum(shape))
    for points, *rows in zip(*(part.split(size) for part in (inputs, *context)), strict=True):
        with differentiable(points.device.type):
            y = evaluate(with_context(function, rows), points.clone()).detach()
        outputs.append(y.reshape(len(points), -1))
    mapped, z = _standardized(function, inputs, stds)
    limit = _limit(inputs.dtype, arithmetic, shape)
    if arithmetic is not None and limit < condition_limit(inputs.dtype, shape):
        mapped, context = _around(mapped, arithmetic), (z, *context)
        z = torch.zeros_like(z, dtype=arithmetic)
    probes = probe_jacobians(mapped, z, context=context, probes=effort.probes, steps=effort.steps)
    return Spectrum(probes.sigma_max[:, None], torch.cat(outputs), shape, limit, probes)


def _standardized(
    function: Callable[..., Tensor], inputs: Tensor, stds: tuple[Tensor, Tensor] | None
) -> tuple[Callable[..., Tensor], Tensor]:
    """Return the function between standardised inputs and outputs, and the inputs so."""
    if stds is None:
        return function, inputs
    of_x, of_y = (std.to(inputs) for std in stds)

    def scaled(z: Tensor, *context: Tensor) -> Tensor:
        x = (z * of_x).reshape(-1, *inputs.shape[1:])
        return function(x, *context).flatten(1) / of_y

    return scaled, inputs.flatten(1) / of_x


def _in_units(function: Callable[..., Tensor], of_y: Tensor) -> Callable[..., Tensor]:
    """Return the function with outputs in these units, if they are in the dtype of these.

    Numbers that float32 does not hold are then not met on the way back through a function that
    computes in float32 inside.
    """

    def scaled(*arguments: Tensor) -> Tensor:
        y = function(*arguments)
        return y.flatten(1) / of_y if y.dtype == of_y.dtype else y

    return scaled


def _around(function: Callable[..., Tensor], dtype: torch.dtype) -> Callable[..., Tensor]:
    """Return the function of a step away from a point, from that dtype to itself.

    What is rounding is then told by the dtype in which the function computes.
    """
    return lambda step, x, *context: function(x + step, *context).to(dtype)


def _limit(found: torch.dtype, inside: torch.dtype | None, shape: tuple[int, int]) -> float:
    return min(condition_limit(dtype, shape) for dtype in (found, inside or found))
