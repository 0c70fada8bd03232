"""The weakest directions: the singular vectors of the smallest singular value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from lightning_invert.watch.finding import Finding, Measurement, Observed, Question
from lightning_invert.watch.points import Points
from lightning_invert.watch.quantities import to_numpy
from lightning_invert.watch.scalars import Array

__all__ = ["DirectionQuestion", "Directions"]

MAX_NAMED, LEAST_SHARE = 3, 0.005


@dataclass(frozen=True, repr=False)
class Directions(Finding):
    """Unit vectors, inputs of shape (N, n) and outputs of shape (N, m), of :func:`weakest_directions`."""

    key = "directions"

    inputs: Tensor
    outputs: Tensor

    def shares(self, observation: Observed) -> tuple[dict[str, float], dict[str, float]]:
        """Return the mean square of each input's and each output's component; each side adds up to 1."""
        return (
            _shares(observation.input_names, to_numpy(self.inputs)),
            _shares(observation.output_names, to_numpy(self.outputs)),
        )

    def words(self, observation: Observed) -> str:
        """Say which outcome is the hardest to change, and by which inputs."""
        inputs, outputs = map(_largest, self.shares(observation))
        return f"hardest to change: {outputs}; it takes: {inputs}"

    def columns(self, observation: Observed) -> dict[str, Array]:
        """Return the components."""
        sides = (
            ("input", observation.input_names, self.inputs),
            ("output", observation.output_names, self.outputs),
        )
        return {
            f"weakest_{side}/{name}": column
            for side, names, vectors in sides
            for name, column in zip(names, to_numpy(vectors).T, strict=True)
        }


@dataclass(frozen=True)
class DirectionQuestion(Question):
    """Which direction is the hardest to reach?"""

    key = "directions"

    def options(self, points: Points) -> dict[str, Any]:
        """Ask for the singular vectors, which takes an SVD a point."""
        return {"directions": True}

    def measure(self, measurement: Measurement) -> Directions | None:
        """Take what the spectrum has."""
        weakest = measurement.spectrum.weakest
        return None if weakest is None else Directions(weakest.inputs, weakest.outputs)


def _shares(names: Sequence[str], vectors: Array) -> dict[str, float]:
    finite = vectors[np.isfinite(vectors).all(1)]
    squares = (finite**2).sum(0) / max(1, len(finite))
    return dict(zip(names, squares.tolist(), strict=True))


def _largest(shares: Mapping[str, float]) -> str:
    ordered = sorted(shares.items(), key=lambda item: -item[1])[:MAX_NAMED]
    return ", ".join(f"{name} ({share:.0%})" for name, share in ordered if share >= LEAST_SHARE)
