"""The function as the solver sees it: inputs and outputs in their own units, Jacobians without any."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_invert.jacobians.contexts import differentiable
from lightning_invert.jacobians.evaluation import evaluate
from lightning_invert.jacobians.jacobian import default_chunk, jacobian_and_outputs

__all__ = ["Box", "Model"]


class Box(NamedTuple):
    """Where the inputs may be; one that is fixed has ends that are the same.

    Attributes:
        low: Shape (N, n), infinite where open.
        high: Shape (N, n).
    """

    low: Tensor
    high: Tensor

    def rows(self, rows: Tensor | slice) -> Box:
        """Return the boxes of some points."""
        return Box(self.low[rows], self.high[rows])

    def steps(self, inputs: Tensor, spread: Tensor, *, share: float = 1.0) -> tuple[Tensor, Tensor]:
        """Return the least and the most by which inputs may change, (N, n) each, float64.

        Args:
            inputs: Shape (N, n), inside the box.
            spread: The unit of each input, shape (n,), float64.
            share: How much of the way to the ends.
        """
        inputs, unit = inputs.double(), spread / share
        return (self.low.double() - inputs) / unit, (self.high.double() - inputs) / unit


class Model(NamedTuple):
    """A function with the units in which its inputs and outputs are measured.

    Attributes:
        function: Maps (N, n) to (N, m), each row by itself.
        num_outputs: m.
        input_spread: Shape (n,), float64.
        output_spread: Shape (m,), float64.
    """

    function: Callable[[Tensor], Tensor]
    num_outputs: int
    input_spread: Tensor
    output_spread: Tensor

    def outputs(self, inputs: Tensor) -> Tensor:
        """Return F at inputs of shape (P, n), shape (P, m), without a graph."""
        chunk = default_chunk(inputs.shape[1] + self.num_outputs)
        with differentiable(inputs.device.type):
            parts = [evaluate(self.function, part).detach() for part in inputs.split(chunk)]
        return torch.cat(parts).reshape(len(inputs), self.num_outputs)

    def jacobian(self, inputs: Tensor, wanted: Tensor) -> Tensor:
        """Return the Jacobians between inputs and outputs in their spreads, (P, m, n), float64.

        Args:
            inputs: Shape (P, n).
            wanted: Of which outputs something is wanted, (P, m): the rows of the others are 0.
        """
        if len(inputs) == 0:
            return self.input_spread.new_zeros(0, self.num_outputs, inputs.shape[1])
        jacobian, _ = jacobian_and_outputs(
            self.function, inputs, num_outputs=self.num_outputs, check=False
        )
        return jacobian.double() * self.input_spread * (wanted / self.output_spread)[:, :, None]

    def moved(self, inputs: Tensor, step: Tensor, box: Box) -> Tensor:
        """Return inputs moved by a step in their spreads, (P, n) each, no further than the box."""
        there = (inputs.double() + step * self.input_spread).to(inputs.dtype)
        return there.clamp(box.low, box.high)
