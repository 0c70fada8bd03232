"""How far inputs move for a change of the target, and outputs where the inputs err."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_invert.jacobians.jacobian import default_chunk
from lightning_invert.solver.model import Model
from lightning_invert.solver.query import Query
from lightning_invert.solver.rows import finite_rows

__all__ = ["outcome_spread", "sensitivity"]


def sensitivity(query: Query, inputs: Tensor) -> Tensor:
    r"""Return how far each input moves, at most, when the target moves by one unit, (N, n), float64.

    The least change of the inputs for a change dy of the target is :math:`J^+ dy`. So over all dy of
    length one, input i moves by at most the length of row i of :math:`J^+`, in its own units. Where
    fewer inputs may move than outputs have a target, they follow as far as they can. 0 for a fixed
    input, infinite for the others where the Jacobian is singular, NaN where it is not finite.
    """
    model = query.model
    result = torch.full(inputs.shape, torch.nan, dtype=torch.float64, device=inputs.device)
    places = finite_rows(inputs).nonzero()[:, 0]
    for rows in places.split(default_chunk(inputs.shape[1] * model.num_outputs)):
        part = query.rows(rows)
        jacobian, count = part.moving_jacobian(inputs[rows])
        finite = finite_rows(jacobian)
        movable = part.bounds.movable[finite]
        result[rows[finite]] = _lengths(jacobian[finite], count[finite], movable)
    return result * model.input_spread


def outcome_spread(model: Model, inputs: Tensor, setting_error: Tensor) -> Tensor:
    r"""Return how far outputs spread where inputs (N, n) err by (n,): :math:`\sqrt{\mathrm{diag}(J S J^T)}`, (N, m).

    Both are standard deviations, in physical units; F is taken as linear within the error.
    """
    spread = inputs.new_full((len(inputs), model.num_outputs), torch.nan, dtype=torch.float64)
    places = finite_rows(inputs).nonzero()[:, 0]
    share = setting_error.to(model.input_spread) / model.input_spread
    for rows in places.split(default_chunk(inputs.shape[1] * model.num_outputs)):
        jacobian = model.jacobian(inputs[rows], model.output_spread.expand(len(rows), -1))
        spread[rows] = (jacobian * share).norm(dim=2)
    return spread


def _lengths(jacobian: Tensor, count: Tensor, movable: Tensor) -> Tensor:
    """Return the lengths of the rows of the pseudoinverses of (N, m, n), shape (N, n)."""
    _, sigma, v = torch.linalg.svd(jacobian, full_matrices=False)
    # What does not count adds singular values of 0, which come last. The others have to exceed rounding.
    counts = torch.arange(sigma.shape[1], device=sigma.device) < count[:, None]
    floor = torch.finfo(sigma.dtype).eps * max(jacobian.shape[1:]) * sigma[:, :1]
    singular = (counts & (sigma <= floor)).any(1, keepdim=True)
    inverse = torch.where(counts & (sigma > floor), 1 / sigma, 0.0)
    lengths = (v * inverse[:, :, None]).square().sum(1).sqrt()
    return torch.where(movable, lengths.masked_fill(singular, torch.inf), 0.0)
