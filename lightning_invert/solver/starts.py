"""Where to begin: of known points, those from which it is not far to the targets."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_invert.solver.model import Box, Model
from lightning_invert.solver.rows import finite_rows
from lightning_invert.solver.targets import Targets

__all__ = ["Pool"]

POOL_SIZE = 512
FAR = 1e15

MAX_NUMBERS_AT_ONCE = 2**22
"""Outcomes of targets times pool that are compared at once."""


class Pool:
    """Points of which each target gets those whose outcomes come nearest to it.

    Which they are depends on the points and the target alone, not on the other targets.

    Args:
        model: F.
        inputs: The points, shape (K, n).
        count: How many starts a target is to get; of fewer points all.

    Attributes:
        inputs: The points.
    """

    def __init__(self, model: Model, inputs: Tensor, count: int) -> None:
        self.inputs = inputs
        outputs = model.outputs(inputs) / model.output_spread.to(inputs)
        # What is not finite is far from everything, and would be NaN where an output is free.
        self._outputs = torch.where(finite_rows(outputs)[:, None], outputs, FAR)
        self._spread, self._count = model.output_spread.to(inputs), min(count, len(inputs))

    @classmethod
    def drawn(cls, model: Model, low: Tensor, high: Tensor, *, seed: int, count: int) -> Pool:
        """Draw the points from a box whose ends, shape (n,) each, are finite."""
        generator = torch.Generator().manual_seed(seed)
        # Drawn in float64 on the processor, so that it is the same for every dtype and device.
        size = (max(POOL_SIZE, count), len(low))
        share = torch.rand(size, generator=generator, dtype=torch.float64).to(low)
        return cls(model, low + (high - low) * share, count)

    def starts(self, targets: Targets, box: Box) -> Tensor:
        """Return the nearest points for each of N targets, inside their boxes: (N, S, n)."""
        inputs = self.inputs[self.nearest(targets)]
        return inputs.clamp(box.low[:, None], box.high[:, None])

    def nearest(self, targets: Targets) -> Tensor:
        """Return which points' outcomes are nearest to each of N targets, (N, S)."""
        some = max(1, MAX_NUMBERS_AT_ONCE // self._outputs.numel())
        nearest = []
        for begin in range(0, len(targets.low), some):
            low, high = (end / self._spread for end in targets.rows(slice(begin, begin + some)))
            missing = self._outputs.clamp(low[:, None], high[:, None]) - self._outputs
            distance = missing.square().sum(2)
            nearest.append(distance.topk(self._count, dim=1, largest=False).indices)
        return torch.cat(nearest)
