"""How far a round trip is from the identity, in value and in slope."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from lightning_invert.arguments import check_flag
from lightning_invert.watch.finding import Finding, MapQuestion, Measurement, Observed
from lightning_invert.watch.findings.accuracy import POOR, POOR_R2
from lightning_invert.watch.numerals import short
from lightning_invert.watch.points import Points
from lightning_invert.watch.quantities import to_numpy
from lightning_invert.watch.scalars import Array

__all__ = ["Identity", "RoundTrip"]


@dataclass(frozen=True, repr=False)
class RoundTrip(Finding):
    """Deviation of a round trip from the identity: standardised root mean squares over m outputs."""

    key = "round_trip"

    value: Tensor  # of F(I(y)) - y, (N,)
    slope: Tensor | None  # of J - 1, over its entries times m, (N,); None: J was not formed

    def accuracy(self, observation: Observed) -> str:
        """Say how far what comes back is off."""
        error = observation.scalars["consistency_error"]
        poor = f": {POOR}" if error**2 > 1 - POOR_R2 else ""
        return f"comes back to within {short(error, 3)} standard units (root mean square){poor}"

    def quantities(self, observation: Observed) -> dict[str, Array]:
        """Return both errors."""
        quantities = {"consistency_error": to_numpy(self.value)}
        if self.slope is not None:
            quantities["jacobian_consistency_error"] = to_numpy(self.slope)
        return quantities


@dataclass(frozen=True)
class Identity(MapQuestion):
    """How far is the map from the identity?"""

    key = "identity"

    @classmethod
    def check(cls, where: str, value: Any) -> None:
        """Raise TypeError if the value is no flag."""
        check_flag(where, value)

    @classmethod
    def resolve(cls, name: str, where: str, value: Any, root: nn.Module) -> Identity | None:
        """Return the question if the flag is set."""
        return cls() if value else None

    def options(self, points: Points) -> dict[str, Any]:
        """Ask for the distance of each Jacobian from the identity."""
        return {"identity": True}

    def measure(self, measurement: Measurement) -> RoundTrip:
        """Measure how far the outputs are from the inputs."""
        spectrum = measurement.spectrum
        deviation = spectrum.outputs - measurement.points.inputs.flatten(1)
        slope = spectrum.identity_error
        return RoundTrip(
            (deviation / measurement.find_stds()[1]).square().mean(1).sqrt(),
            None if slope is None else slope.sqrt(),
        )
