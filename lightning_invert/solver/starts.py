"""Starts of a search: points whose outcomes are near the targets."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lightning_invert.solver.constraints import Constraints, inside
from lightning_invert.solver.model import Description, Model
from lightning_invert.solver.rows import finite_rows, first_index
from lightning_invert.solver.targets import Targets
from lightning_invert.variables import Bounds, as_variables

__all__ = ["Pool", "Starts", "StartsOf"]

Starts = Callable[[Targets, Bounds], Tensor]
"""Returns the starts of N targets within their bounds, (N, S, n)."""

StartsOf = Callable[[Model, Bounds, Description, Constraints | None], Starts]
"""Makes starts, once the units, the bounds (n,) and the constraints of the inputs are known."""

POOL_SIZE = 512
FAR = 1e15

MAX_NUMBERS_AT_ONCE = 2**22
"""Bound on targets times pool points times outputs that are compared at once."""


class Pool:
    """Points (K, n), of which each target, by itself, gets the ``count`` with the nearest outcomes."""

    def __init__(self, model: Model, inputs: Tensor, count: int) -> None:
        self.inputs = inputs
        self._count = min(count, len(inputs))
        outputs = model.outputs(inputs) / model.output_spread.to(inputs)
        # What is not finite is far from everything, and would be NaN where an output is free.
        self._outputs = torch.where(finite_rows(outputs)[:, None], outputs, FAR)
        self._spread = model.output_spread.to(inputs)

    @classmethod
    def drawn(
        cls,
        model: Model,
        bounds: Bounds,
        about: Description,
        constraints: Constraints | None = None,
        *,
        seed: int,
        count: int,
    ) -> Pool:
        """Draw the points uniformly within the bounds, (n,) each, which have to be closed."""
        if not bounds.closed.all():
            variables = as_variables(about.inputs, "x", len(bounds.low))
            raise ValueError(
                f"Expected argument `bounds` to be closed, but they are open for input "
                f"{variables[first_index(~bounds.closed)].name!r}: write `bounds=(low, high)` with finite ends. `solve` also "
                f"takes `starts=` of shape (N, {len(bounds.low)})."
            )
        generator = torch.Generator().manual_seed(seed)
        # Drawn in float64 on the processor, so that every dtype and device gets the same points.
        size = (max(POOL_SIZE, count), len(bounds.low))
        share = torch.rand(size, generator=generator, dtype=torch.float64).to(bounds.low)
        points = bounds.low + (bounds.high - bounds.low) * share
        return cls(model, inside(points, bounds, constraints), count)

    def __call__(self, targets: Targets, bounds: Bounds) -> Tensor:
        """Return the nearest points of N targets, moved inside their bounds: (N, S, n)."""
        inputs = self.inputs[self.nearest(targets)]
        return inputs.clamp(bounds.low[:, None], bounds.high[:, None])

    def nearest(self, targets: Targets) -> Tensor:
        """Return the indices of the points whose outcomes are nearest to N targets, (N, S)."""
        chunk = max(1, MAX_NUMBERS_AT_ONCE // self._outputs.numel())
        nearest = []
        for begin in range(0, len(targets.low), chunk):
            part = targets.rows(slice(begin, begin + chunk))
            low, high = (end / self._spread for end in part)
            missing = self._outputs.clamp(low[:, None], high[:, None]) - self._outputs
            distance = missing.square().sum(2)
            nearest.append(distance.topk(self._count, dim=1, largest=False).indices)
        return torch.cat(nearest)
