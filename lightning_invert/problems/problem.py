"""A process whose true map is known."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from lightning_invert.arguments import check_integer
from lightning_invert.devices import making_tensors_on_cpu
from lightning_invert.jacobians.jacobian import batched_jacobian
from lightning_invert.variables import Bounds, Variable

__all__ = ["Problem"]


class Problem(ABC):
    r"""Describe a process whose true map :math:`f: R^n \to R^m` and true Jacobian are known.

    A trained map is judged against it. A subclass sets ``name``, ``inputs`` and ``outputs``, and defines
    :meth:`draw` and :meth:`outcomes`.

    Attributes:
        name: Short name, for YAML.
        inputs: Variables of the n inputs, with their bounds.
        outputs: Variables of the m outputs.

    Example:
        >>> class Lever(Problem):
        ...     name = "lever"
        ...     inputs = (Variable("force", "N", 0.0, 10.0), Variable("arm", "m", 0.0, 2.0))
        ...     outputs = (Variable("torque", "N m"),)
        ...     def draw(self, num_points, generator):
        ...         unit = torch.rand(num_points, 2, generator=generator, dtype=torch.float64)
        ...         return unit * torch.tensor([10.0, 2.0])
        ...     def outcomes(self, x):
        ...         return x[:, :1] * x[:, 1:]
        >>> lever = Lever()
        >>> x = lever.sample(5, seed=0)
        >>> lever.forward(x).shape, lever.jacobian(x).shape
        (torch.Size([5, 1]), torch.Size([5, 1, 2]))
    """

    name: str
    inputs: tuple[Variable, ...]
    outputs: tuple[Variable, ...]

    @abstractmethod
    def draw(self, num_points: int, generator: torch.Generator) -> Tensor:
        """Draw points from the prior, (num_points, n), float64, with no other randomness than ``generator``."""

    @abstractmethod
    def outcomes(self, x: Tensor) -> Tensor:
        """Compute the outputs, (N, n) -> (N, m), float64, differentiably."""

    @property
    def bounds(self) -> Bounds:
        """The bounds of the inputs: low and high, each of shape (n,), float64; infinite where open."""
        return Bounds.of_variables(self.inputs)

    @making_tensors_on_cpu()
    def sample(self, num_points: int, seed: int) -> Tensor:
        """Draw points from the prior.

        Args:
            num_points: Number of points, at least 1.
            seed: The same seed gives the same points. The global random stream stays as it is.

        Returns:
            Shape (num_points, n), float64, in the order and units of ``inputs``.

        Raises:
            TypeError: If an argument is not a whole number.
            ValueError: If an argument is out of range.
        """
        check_integer("num_points", num_points, low=1)
        check_integer("seed", seed, low=0, high=2**63 - 1)
        with torch.no_grad():
            return self.draw(num_points, torch.Generator().manual_seed(seed))

    def forward(self, x: Tensor) -> Tensor:
        """Compute the true outputs, without measurement noise.

        Args:
            x: Points, shape (N, n), in the order and units of ``inputs``.

        Returns:
            Shape (N, m), float64, differentiable; NaN where the process has no outcome.

        Raises:
            ValueError: If ``x`` has another shape.
        """
        return self.outcomes(self._checked(x))

    def jacobian(self, x: Tensor) -> Tensor:
        """Compute the true Jacobian by autograd.

        Args:
            x: Points, shape (N, n).

        Returns:
            J[i, j] = d out_i / d in_j, in physical units: shape (N, m, n), float64.

        Raises:
            ValueError: If ``x`` has another shape.
        """
        return batched_jacobian(self.outcomes, self._checked(x), check=False)

    def _checked(self, x: Tensor) -> Tensor:
        n = len(self.inputs)
        if x.ndim != 2 or x.shape[1] != n:
            raise ValueError(
                f"Expected argument `x` to be of shape (N, {n}), the inputs of {self.name!r}, but "
                f"got {tuple(x.shape)}."
            )
        return x.double()
