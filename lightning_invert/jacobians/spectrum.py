"""From a map and points to singular values: by the whole Jacobian, or without it if it is large."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_invert.jacobians.contexts import differentiable, twice_differentiable
from lightning_invert.jacobians.evaluation import evaluate, with_context
from lightning_invert.jacobians.independence import check_independence
from lightning_invert.jacobians.jacobian import count_outputs, default_chunk, jacobian_and_outputs
from lightning_invert.jacobians.lanczos import Probes, probe_jacobians
from lightning_invert.jacobians.singular_values import (
    WeakestDirections,
    distance_from_identity,
    singular_values,
    weakest_directions,
)
from lightning_invert.jacobians.thresholds import condition_limit
from lightning_invert.jacobians.work import MAX_ENTRIES

__all__ = ["Effort", "Spectrum", "compare_jacobians", "measure_spectrum"]

MAX_SINGULAR_VALUES = 1024
"""A Jacobian with more is not formed unless a plan says so: its SVD takes seconds."""


class Effort(NamedTuple):
    """The effort at each point."""

    formed: bool | None = None  # whether the Jacobian is formed; None: unless it is too large
    probes: int = 4  # random starts where it is not formed
    steps: int = 8  # of Lanczos from each start


class Comparison(NamedTuple):
    r"""The Jacobians J of a map compared with J* of a reference, at N points.

    The error is :math:`\|J - J^*\|_F / \|J^*\|_F`: 0 where both are zero, inf where only J* is, NaN
    where either is not finite.
    """

    error: Tensor  # (N,), float64
    singular_values: Tensor  # (N, k) of J*, descending, float64; NaN where it is not finite


class Spectrum(NamedTuple):
    r"""The singular values of a map's Jacobian at N points.

    ``singular_values`` are (N, k), descending, float64, and NaN where the Jacobian is not finite.
    Where it was not formed they are (N, 1): a lower bound of :math:`\sigma_1`.
    """

    singular_values: Tensor
    outputs: Tensor  # (N, m)
    shape: tuple[int, int]  # (m, n)
    condition_limit: float  # the largest condition number that the arithmetic resolves
    probes: Probes | None = None  # where the Jacobian was not formed
    weakest: WeakestDirections | None = None  # with directions=True
    identity_error: Tensor | None = None  # (N,): squared distance from the identity / m
    comparison: Comparison | None = None  # with a reference

    @property
    def formed(self) -> bool:
        """Whether ``singular_values`` holds all of them."""
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
    r"""Return the singular values of the Jacobian at each of N >= 1 points.

    ``context`` are further arguments, (N, \*) each, held fixed. ``stds``, (n,) and (m,), give the
    Jacobian between standardised inputs and outputs. ``arithmetic`` is the dtype inside of the
    function where that is coarser than the dtype of the inputs. By default a Jacobian with more
    than 1024 singular values or 16 777 216 entries is not formed, but probed.
    """
    n = inputs.shape[1:].numel()
    m = num_outputs or count_outputs(with_context(function, context), inputs)
    _check_sizes(m, n, stds, identity)
    effort = effort or Effort()
    formed = effort.formed
    if formed is None:
        formed = min(m, n) <= MAX_SINGULAR_VALUES and m * n <= MAX_ENTRIES
    if not formed:
        if check:
            with twice_differentiable():
                check_independence(with_context(function, context), inputs)
        return _probed(function, inputs, context, stds, (m, n), effort, arithmetic)
    function = function if stds is None else _in_units(function, stds[1])
    size = max(1, MAX_ENTRIES // max(1, m * n))
    if context:  # so few that all are taken at once, with their context
        size = min(size, default_chunk(m + n))
    spectra: list[Spectrum] = []
    for points, *rows in zip(*(part.split(size) for part in (inputs, *context)), strict=True):
        jacobian, outputs = jacobian_and_outputs(
            with_context(function, rows),
            points,
            num_outputs=m,
            chunk_size=size if context else None,
            check=check and not spectra,
        )
        limit = _limit(jacobian.dtype, arithmetic, (m, n))
        if stds is not None:
            scaled = outputs.dtype == stds[1].dtype
            jacobian = jacobian * stds[0] if scaled else jacobian * stds[0] / stds[1][:, None]
            outputs = outputs * stds[1] if scaled else outputs
        finite = outputs.isfinite().all(1)
        if not finite.all():  # a logarithm below 0 is NaN, but has a slope
            jacobian = jacobian.masked_fill(~finite[:, None, None], torch.nan)
        comparison = None
        if reference is not None:
            comparison = compare_jacobians(
                jacobian, reference, points, context=rows, stds=stds, check=check and not spectra
            )
        spectrum = Spectrum(
            singular_values(jacobian),
            outputs,
            (m, n),
            limit,
            weakest=weakest_directions(jacobian) if directions else None,
            identity_error=distance_from_identity(jacobian) if identity else None,
            comparison=comparison,
        )
        spectra.append(spectrum)
    whole: Spectrum = _joined(spectra)
    return whole


def compare_jacobians(
    jacobian: Tensor,
    reference: Callable[..., Tensor],
    inputs: Tensor,
    *,
    context: Sequence[Tensor] = (),
    stds: tuple[Tensor, Tensor] | None = None,
    check: bool = False,
) -> Comparison:
    r"""Compare Jacobians, (N, m, n), with those of a reference, which is computed in float64.

    ``reference`` maps (N, \*), and the rows of the ``context``, to (N, \*), each row by itself. With
    ``stds``, (n,) and (m,), the Jacobians are between standardised inputs and outputs.
    """
    function, points = with_context(reference, list(map(_doubled, context))), _doubled(inputs)
    if check:
        check_independence(function, points, "truth")
    true, _ = jacobian_and_outputs(
        function,
        points,
        chunk_size=max(1, len(inputs)) if context else None,
        num_outputs=jacobian.shape[1],
        check=False,
    )
    true = _doubled(true)
    if true.shape != jacobian.shape:
        raise ValueError(
            f"Expected the reference to have {jacobian.shape[1]} outputs, as the map has, but it "
            f"has {true.shape[1]}."
        )
    if stds is not None:
        x_std, y_std = (std.to(true) for std in stds)
        true = true * x_std / y_std[:, None]
    deviation = (jacobian.detach().to(true) - true).flatten(1)
    size, finite = true.flatten(1).norm(dim=1), deviation.isfinite().all(1)
    distance = deviation.norm(dim=1)
    error = torch.where(distance == 0, 0.0, distance / size).where(finite, torch.nan)
    return Comparison(error, singular_values(true))


def _doubled(tensor: Tensor) -> Tensor:
    """Return a tensor in float64 if it is floating, on the CPU where the device has none."""
    tensor = tensor.cpu() if tensor.device.type == "mps" else tensor
    return tensor.double() if tensor.is_floating_point() else tensor


def _check_sizes(m: int, n: int, stds: tuple[Tensor, Tensor] | None, identity: bool) -> None:
    if identity and m != n:
        raise ValueError(
            f"Expected a round trip to have as many outputs as inputs, but it maps {n} to {m}. "
            "Leave `identity` out for such a map."
        )
    for side, std, count in zip(("input", "output"), stds or (), (n, m), strict=False):
        if std.shape != (count,):
            raise ValueError(
                f"Expected argument `{side}_std` to hold a number for each of the {count} {side}s, "
                f"but got {len(std)}."
            )


def _joined(parts: Sequence[Any]) -> Any:
    """Join the fields of the chunks' spectra: tensors one after the other, all else from the first."""
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.cat(list(parts))
    if hasattr(first, "_fields"):  # a named tuple
        return type(first)(*map(_joined, zip(*parts, strict=True)))
    return first


def _probed(
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
    """Return the function between standardised inputs and outputs, and the standardised inputs."""
    if stds is None:
        return function, inputs
    x_std, y_std = (std.to(inputs) for std in stds)

    def scaled(z: Tensor, *context: Tensor) -> Tensor:
        x = (z * x_std).reshape(-1, *inputs.shape[1:])
        return function(x, *context).flatten(1) / y_std

    return scaled, inputs.flatten(1) / x_std


def _in_units(function: Callable[..., Tensor], y_std: Tensor) -> Callable[..., Tensor]:
    """Return the function with outputs divided by ``y_std``, where both are of one dtype.

    The backward pass of a function that computes in float32 inside then meets no number that
    float32 does not hold.
    """

    def scaled(*arguments: Tensor) -> Tensor:
        y = function(*arguments)
        return y.flatten(1) / y_std if y.dtype == y_std.dtype else y

    return scaled


def _around(function: Callable[..., Tensor], dtype: torch.dtype) -> Callable[..., Tensor]:
    """Return the function of a step away from a point, from ``dtype`` to ``dtype``.

    The dtype of the probes then tells how large rounding is.
    """
    return lambda step, x, *context: function(x + step, *context).to(dtype)


def _limit(outside: torch.dtype, inside: torch.dtype | None, shape: tuple[int, int]) -> float:
    return min(condition_limit(dtype, shape) for dtype in (outside, inside or outside))
