"""How much of the variance of known outcomes a map explains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

from lightning_invert.watch.finding import Finding, MapQuestion, Measurement, Observed
from lightning_invert.watch.maps import MapError
from lightning_invert.watch.numerals import percent
from lightning_invert.watch.parts import Part, describe, parse_part
from lightning_invert.watch.scalars import Array
from lightning_invert.watch.voice import explain

__all__ = ["POOR", "POOR_R2", "Accuracy", "Target"]

POOR_R2 = 0.9
"""Below it, the slopes of a model are not those of the process."""

POOR = "the κ of so poor a model says nothing of the process"

MAX_NAMED = 6
"""Outputs that are named one by one."""

MAX_NUMBERS_AT_ONCE = 2**22


@dataclass(frozen=True, repr=False)
class Accuracy(Finding):
    """The known outcomes of the points, which the outputs of the map are compared with."""

    key = "accuracy"

    targets: Tensor  # (N, m), of any real dtype

    def r2(self, observation: Observed) -> Array:
        """Return R² of each output, (m,): NaN if its outcome does not vary, -inf if no output is finite."""
        width = max(1, MAX_NUMBERS_AT_ONCE // max(1, len(self.targets)))
        blocks = (side.split(width, dim=1) for side in (observation.outputs, self.targets))
        pairs = zip(*blocks, strict=True)
        return np.concatenate([_r2(y.double().numpy(), t.double().numpy()) for y, t in pairs])

    def scalars(self, observation: Observed) -> dict[str, float]:
        """Return the mean and the smallest over the outputs whose outcome varies."""
        r2 = self.r2(observation)
        known = r2[~np.isnan(r2)]
        known = known if len(known) else np.array([np.nan])
        return {"r2_mean": float(known.mean()), "r2_min": float(known.min())}

    def accuracy(self, observation: Observed) -> str:
        """Say how much is explained, and of a poor model that the rest says nothing."""
        if not len(self.targets):
            return ""
        r2 = self.r2(observation)
        varies = ~np.isnan(r2)
        names = [name for name, v in zip(observation.output_names, varies, strict=True) if v]
        known = r2[varies]
        if not len(known):
            return "explains nothing yet: no outcome varies at these points"
        if len(known) > MAX_NAMED:
            worst = names[int(known.argmin())]
            what = (
                f"{percent(max(0.0, known.mean()))} of the variance of the {len(known)} outputs "
                f"(mean; the worst is {worst}: {_share(known.min())})"
            )
        else:
            shares = [_share(value).removesuffix(" %") for value in known]
            each = "each of " if len(names) > 1 and len({*shares}) == 1 else ""
            shown = shares[:1] if each else shares
            what = f"{', '.join(shown)} % of the variance of {each}{', '.join(names)}"
        poor = f": {POOR}" if known.min() < POOR_R2 else ""
        return f"explains {what} at these points{poor}"


def _share(r2: float) -> str:
    """Write R² in %; a model that is worse than the mean explains nothing."""
    return percent(max(0.0, r2))


def _r2(y: Array, targets: Array) -> Array:
    """Return R² of each column, over the rows in which both are finite."""
    with np.errstate(invalid="ignore", over="ignore"):
        error = y - targets
    known = np.isfinite(error)
    count, low, high, is_lost = np.array(len(targets)), targets, targets, np.array(False)
    if not (is_whole := known.all()):
        count = known.sum(0)
        error, low, high = (
            np.where(known, *sides)
            for sides in ((error, 0.0), (targets, np.inf), (targets, -np.inf))
        )
        is_lost = (count == 0) & np.isfinite(targets).any(0)
        targets = np.where(known, targets, 0.0)
    centred = targets - targets.sum(0) / count.clip(1)
    centred = centred if is_whole else np.where(known, centred, 0.0)
    # Not by the squares: the mean of a constant column is rounded.
    varies = high.max(0, initial=-np.inf) > low.min(0, initial=np.inf)
    total = np.einsum("ij,ij->j", centred, centred)
    r2 = 1.0 - np.einsum("ij,ij->j", error, error) / np.where(varies, total, 1.0)
    return np.where(varies, r2, np.where(is_lost, -np.inf, np.nan))


@dataclass(frozen=True)
class Target(MapQuestion):
    """How much of the variance of the known outcomes does the map explain?"""

    key = "target"

    name: str  # of the map that is asked
    part: Part  # of a batch: the known outcomes, a row for each point

    @classmethod
    def check(cls, where: str, value: Any) -> None:
        """Raise TypeError if it is no part of a batch."""
        parse_part(where, value)

    @classmethod
    def resolve(cls, name: str, where: str, value: Any, root: nn.Module) -> Target:
        """Read the part."""
        return cls(name, parse_part(where, value))

    @property
    def parts(self) -> tuple[Part, ...]:
        """The outcomes."""
        return (self.part,)

    def targets(self, batch: Any, root: nn.Module | None, count: int) -> Tensor:
        """Take the known outcomes of ``count`` points out of a batch, or raise MapError."""
        try:
            targets = self.part(batch, root)
        except Exception as error:
            raise self._error(explain(error)) from error
        if not isinstance(targets, Tensor) or targets.is_complex() or len(targets.shape) == 0:
            raise self._error(
                f"expected a tensor with a row for each point, but got {describe(targets)}."
            )
        if len(targets) != count:
            raise self._error(
                f"expected {count} rows, one for each point, but got {describe(targets)}."
            )
        return targets.detach()

    def measure(self, measurement: Measurement) -> Accuracy | None:
        """Take the outcomes, or raise MapError if they are not as many as the outputs."""
        targets, outputs = measurement.points.targets, measurement.spectrum.outputs
        if targets is None:
            return None
        if targets[:1].numel() != outputs.shape[1]:
            raise self._error(
                f"expected the {outputs.shape[1]} numbers for each point that the map returns, but got "
                f"{describe(targets)}."
            )
        return Accuracy(targets.reshape(len(targets), -1))

    def _error(self, why: str) -> MapError:
        return MapError(self.name, self.key, why)
