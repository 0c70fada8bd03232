"""Compare the Jacobians of a map with those of a reference, such as the true map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_invert.jacobians.evaluation import with_context
from lightning_invert.jacobians.jacobian import jacobian_and_outputs
from lightning_invert.jacobians.singular_values import singular_values

__all__ = ["Comparison", "compare_jacobians"]


class Comparison(NamedTuple):
    r"""The Jacobians J of a map compared with J* of a reference, at N points.

    The error is :math:`\|J - J^*\|_F / \|J^*\|_F`: 0 where both are zero, inf where only J* is, NaN
    where either is not finite.
    """

    error: Tensor  # (N,), float64
    singular_values: Tensor  # (N, k) of J*, descending, float64; NaN where it is not finite


def compare_jacobians(
    jacobian: Tensor,
    reference: Callable[..., Tensor],
    inputs: Tensor,
    *,
    context: Sequence[Tensor] = (),
    stds: tuple[Tensor, Tensor] | None = None,
) -> Comparison:
    r"""Compare Jacobians, (N, m, n), with those of a reference, which is computed in float64.

    ``reference`` maps (N, \*), and the rows of the ``context``, to (N, \*), each row by itself. With
    ``stds``, (n,) and (m,), the Jacobians are between standardised inputs and outputs.
    """
    true, _ = jacobian_and_outputs(
        with_context(reference, [doubled(part) for part in context]),
        doubled(inputs),
        chunk_size=max(1, len(inputs)) if context else None,
        num_outputs=jacobian.shape[1],
        check=False,
    )
    true = doubled(true)
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


def doubled(tensor: Tensor) -> Tensor:
    """Return a tensor in float64 if it is floating, on the CPU where the device has none."""
    tensor = tensor.cpu() if tensor.device.type == "mps" else tensor
    return tensor.double() if tensor.is_floating_point() else tensor
