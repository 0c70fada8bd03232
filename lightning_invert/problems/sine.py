"""The sum of two waves: one outcome, stationary at 42 points."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lightning_invert.problems.problem import Problem
from lightning_invert.variables import Variable

__all__ = ["Sine"]


class Sine(Problem):
    r"""Add two waves, 2 -> 1: :math:`y = \sin(3 \pi x_1) + \cos(3 \pi x_2)`.

    From S. Ren, W. Padilla and J. Malof, *Benchmarking deep inverse models over time, and the
    neural-adjoint method*, NeurIPS 2020. Prior and bounds: uniform on :math:`[-1, 1]^2` (they take a
    grid).

    A map with one output has :math:`\kappa = 1` wherever it has a rank. The rank drops where both
    waves are at an extremum, :math:`x_1 \in \{\pm 1/6, \pm 1/2, \pm 5/6\}` and
    :math:`x_2 \in \{0, \pm 1/3, \pm 2/3, \pm 1\}`: the gradient vanishes at these 42 points. Around
    them a small change of the outcome needs a large change of the inputs. Elsewhere a whole curve of
    inputs, in several pieces, gives the same outcome.

    Example:
        >>> sine = Sine()
        >>> sine.forward(torch.zeros(1, 2)).tolist()
        [[1.0]]
        >>> [[round(slope, 3) for slope in row] for row in sine.jacobian(torch.zeros(1, 2))[0].tolist()]
        [[9.425, 0.0]]
    """

    name = "sine"
    inputs = (Variable("x1", "", -1.0, 1.0), Variable("x2", "", -1.0, 1.0))
    outputs = (Variable("y", "", -2.0, 2.0),)

    def draw(self, num_points: int, generator: torch.Generator) -> Tensor:
        """Draw uniformly from the square."""
        return 2.0 * torch.rand(num_points, 2, generator=generator, dtype=torch.float64) - 1.0

    def outcomes(self, x: Tensor) -> Tensor:
        """Add the two waves."""
        phase = 3.0 * math.pi * x
        return phase[:, :1].sin() + phase[:, 1:].cos()
