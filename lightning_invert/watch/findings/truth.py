"""How true the Jacobians of a map are, and which truly fragile points the map knows."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lightning_invert.arguments import expected_but_got
from lightning_invert.watch.correlation import MIN_POINTS, rank_correlation
from lightning_invert.watch.finding import Finding, MapQuestion, Measurement, Observed
from lightning_invert.watch.functions import FUNCTION, find_function
from lightning_invert.watch.maps import MapError, WatchedMap
from lightning_invert.watch.numerals import counted, percent
from lightning_invert.watch.points import Points
from lightning_invert.watch.quantities import capped_log10, to_numpy
from lightning_invert.watch.roughness import MAX_NUMBERS_CAST
from lightning_invert.watch.scalars import Array

__all__ = ["AgainstTruth", "Fragile", "Truth"]

TIE = 1e-4
"""Of log10 of a condition number: what varies by less, as that of a linear map does by rounding, does
not vary."""


class Fragile(NamedTuple):
    r"""How many points are fragile, :math:`\kappa` beyond the first band, by the truth and by the map."""

    compared: int  # points at which both condition numbers are known
    true: int  # of these, fragile by the truth
    found: int  # of those, fragile by the map, too
    false_alarms: int  # fragile by the map alone


@dataclass(frozen=True, repr=False)
class Truth(Finding):
    """Jacobians J of a map, compared with J* of the true map, at N points."""

    key = "truth"

    # ‖J - J*‖_F / ‖J*‖_F, (N,): 0 where both are zero, inf where only J* is, NaN where either is not
    # finite.
    error: Tensor
    singular_values: Tensor  # of J*, (N, k), descending; NaN where it is not finite
    name: str = "truth"  # or what else J* belongs to: "other run"

    def condition(self, observation: Observed) -> Tensor:
        """Return the true condition numbers, shape (N,)."""
        return observation.thresholds.condition(self.singular_values)

    def comparable(self, observation: Observed) -> Tensor:
        """Return at which points both condition numbers are known, shape (N,)."""
        return ~(observation.condition.isnan() | self.condition(observation).isnan())

    def fragile(self, observation: Observed) -> Fragile:
        """Count the truly fragile points, and those that the map finds."""
        comparable, edge = self.comparable(observation), observation.thresholds.bands[0]
        true, reported = (
            condition[comparable] >= edge
            for condition in (self.condition(observation), observation.condition)
        )
        counts = (true, true & reported, reported & ~true)
        return Fragile(int(comparable.sum()), *(int(kind.sum()) for kind in counts))

    def quantities(self, observation: Observed) -> dict[str, Array]:
        """Return the error, where both condition numbers are known."""
        error = self.error.where(self.comparable(observation), torch.nan)
        return {"jacobian_error": to_numpy(error)}

    def scalars(self, observation: Observed) -> dict[str, float]:
        """Return the rank correlation of the condition numbers, and which fragile points are found."""
        count = self.fragile(observation)
        conditions = (observation.condition, self.condition(observation))
        log10 = (capped_log10(to_numpy(condition)) for condition in conditions)
        reported = count.found + count.false_alarms
        return {
            "cond_rank_correlation": rank_correlation(*log10, tie=TIE),
            "fragile_precision": count.found / reported if reported else math.nan,
            "fragile_recall": count.found / count.true if count.true else math.nan,
        }

    def words(self, observation: Observed) -> str:
        """Say how true the Jacobians are."""
        count, scalars = self.fragile(observation), observation.scalars
        points = len(observation.condition)
        if not count.compared:
            return f"{self.name}: not known at any of the points."
        known = f" at {count.compared} of {points} points" if count.compared < points else ""
        order = ""
        if count.compared >= MIN_POINTS:
            order = f", rank correlation of κ {scalars['cond_rank_correlation']:.3g}"
        sample = f"in a sample of {points} " if points < observation.num_points else ""
        return (
            f"{self.name}{known}: Jacobian off by {percent(scalars['jacobian_error_median'])} "
            f"(median; 95th percentile {percent(scalars['jacobian_error_p95'])}){order}; {sample}"
            f"{self._fragile_words(count, observation.thresholds.bands[0])}."
        )

    def _fragile_words(self, count: Fragile, edge: float) -> str:
        if self.name != "truth":
            return (
                f"fragile points (κ ≥ {edge:g}): {count.found} in both, "
                f"{count.true - count.found} there alone, {count.false_alarms} here alone"
            )
        return (
            f"of {counted(count.true, 'truly fragile point')} (κ ≥ {edge:g}) {count.found} found, "
            f"{counted(count.false_alarms, 'false alarm')}"
        )

    def columns(self, observation: Observed) -> dict[str, Array]:
        """Return the condition number and the error."""
        owner = "true" if self.name == "truth" else "other"
        return {
            f"{owner}_condition_number": to_numpy(self.condition(observation)),
            "jacobian_error": to_numpy(self.error),
        }


@dataclass(frozen=True)
class AgainstTruth(MapQuestion):
    """How far are the Jacobians from those of the true map?"""

    key = "truth"

    name: str  # of the map that is asked
    truth: WatchedMap  # of the same inputs, contexts and outputs; its name is that of the answer

    @classmethod
    def check(cls, where: str, value: Any) -> None:
        """Raise TypeError if the value is no function."""
        if not isinstance(value, str) and not callable(value):
            raise TypeError(expected_but_got(where, FUNCTION, value))

    @classmethod
    def resolve(cls, name: str, where: str, value: Any, root: nn.Module) -> AgainstTruth:
        """Find the function."""
        return cls(name, WatchedMap("truth", *find_function(where, value, root)))

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """The module of the true map."""
        return (self.truth.owner,)

    def options(self, points: Points) -> dict[str, Any]:
        """Ask for a comparison of each Jacobian with the true one."""
        return {"reference": self.reference(points)}

    def measure(self, measurement: Measurement) -> Truth | None:
        """Take what the spectrum has, which compares Jacobians that were formed."""
        comparison = measurement.spectrum.comparison
        return comparison and Truth(*comparison, self.truth.name)

    def reference(self, points: Points) -> Callable[..., Tensor]:
        """Return the truth as a function of the points in float64, which raises MapError if it fails.

        Parameters are cast, but of a large module only if it does not follow without. What insists on a
        dtype of its own, or has sharded weights, is evaluated in the dtype of the points.
        """
        device = "cpu" if points.inputs.device.type == "mps" else None
        double = points.to(device, torch.float64)
        cast: Callable[[], WatchedMap] = lambda: self.truth.in_float64(device)
        as_it_is: Callable[[], WatchedMap] = lambda: self.truth
        # A formula's owner is the whole project, which may be too large to be copied for nothing.
        large = sum(p.numel() for p in self.truth.owner.parameters()) > MAX_NUMBERS_CAST
        ways = (as_it_is, cast) if large else (cast, as_it_is)

        def reference(*rows: Tensor) -> Tensor:
            for way in ways:
                with suppress(ValueError, MapError):
                    y = double.call(way())(*rows)
                    if y.dtype == torch.float64:
                        return y  # type: ignore[no-any-return]
            native = [row.to(like) for row, like in zip(rows, points.rows, strict=True)]
            try:
                return points.call(self.truth)(*native)  # type: ignore[no-any-return]
            except MapError as error:
                raise MapError(self.name, "truth", error.why) from error.__cause__

        return reference
