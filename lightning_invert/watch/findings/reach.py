"""How many outcomes the solver reaches within a few steps from what an inverse proposes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lightning_invert.arguments import expected_but_got, to_builtin
from lightning_invert.jacobians.domain import evaluate_inside
from lightning_invert.jacobians.evaluation import in_parts
from lightning_invert.jacobians.snapshot import is_sharded
from lightning_invert.solver.least_squares import approach
from lightning_invert.solver.model import Model
from lightning_invert.solver.query import Query
from lightning_invert.solver.solve import points_at_once
from lightning_invert.solver.targets import Targets
from lightning_invert.variables import Bounds, without_none
from lightning_invert.watch.finding import Finding, MapQuestion, Measurement, Observed
from lightning_invert.watch.functions import FUNCTION, find_function
from lightning_invert.watch.maps import MapError, WatchedMap
from lightning_invert.watch.numerals import counted, percent_with_interval
from lightning_invert.watch.parts import Part, describe, parse_part
from lightning_invert.watch.quantities import to_numpy
from lightning_invert.watch.scalars import Array
from lightning_invert.watch.voice import explain

__all__ = ["TOLERANCE", "Reach", "Reachability", "read_bounds"]

TOLERANCE = 1e-2
"""Distance up to which an outcome is reached, in standard deviations of the outputs."""

_KEYS = ("inverse", "outcomes", "bounds")


@dataclass(frozen=True, repr=False)
class Reachability(Finding):
    """How near the solver came to the outcomes of N points, from the proposals for them."""

    key = "reach"

    # Euclidean, in standard deviations of the outputs, (N,), float64. inf: the proposal or its outcome
    # is not finite. NaN: the wanted outcome is not, or none was asked for.
    distance: Tensor
    steps: int  # how many were allowed; none are taken from a start that is near enough

    @property
    def reached(self) -> Tensor:
        """Whether each outcome is reached, shape (N,)."""
        return self.distance <= TOLERANCE

    def quantities(self, observation: Observed) -> dict[str, Array]:
        """Return whether each outcome is reached, NaN where none was asked for."""
        reached = self.reached.double().where(~self.distance.isnan(), torch.nan)
        return {"reached": to_numpy(reached)}

    def words(self, observation: Observed) -> str:
        """Say how many outcomes are reached; in brackets the 95 % interval of that share."""
        if self.distance.isnan().all():
            return "reach: none of the outcomes is finite."
        share = percent_with_interval(observation.scalars, "reachable_fraction")
        return (
            f"reach: {share} of the outcomes are reached from the proposals within "
            f"{counted(self.steps, 'step')} and the bounds."
        )


@dataclass(frozen=True)
class Reach(MapQuestion):
    """How many outcomes does the solver reach from what the inverse proposes, inside a box?"""

    key = "reach"

    name: str  # of the map F that is asked
    inverse: WatchedMap  # proposes inputs of F for wanted outcomes
    outcomes: Part  # the part of a batch that is wanted, a row for each point
    # Ends of each input, float64, () or (n,). inf: open. NaN: unknown, that of the sampled points.
    low: Tensor
    high: Tensor
    steps: int = 10  # of the solver, tried for each outcome

    @classmethod
    def check(cls, where: str, value: Any) -> None:
        """Raise TypeError or ValueError if it is no mapping of inverse, outcomes and bounds."""
        if not isinstance(value, Mapping):
            expected = "a mapping {'inverse': <path>, 'outcomes': <part of the batch>}"
            raise TypeError(expected_but_got(where, expected, value))
        unknown = sorted(map(str, set(value) - set(_KEYS)))
        missing = [key for key in ("inverse", "outcomes") if value.get(key) is None]
        if unknown or missing:
            raise ValueError(
                f"Expected `{where}` to have the keys 'inverse' and 'outcomes' and, if they are known, "
                f"'bounds', but got {list(map(str, value))}."
            )
        if not isinstance(value["inverse"], str) and not callable(value["inverse"]):
            raise TypeError(expected_but_got(f"{where}['inverse']", FUNCTION, value["inverse"]))
        parse_part(f"{where}['outcomes']", value["outcomes"])
        read_bounds(f"{where}['bounds']", value.get("bounds"))

    @classmethod
    def resolve(cls, name: str, where: str, value: Any, root: nn.Module) -> Reach:
        """Find the inverse, and read the rest."""
        inverse = find_function(f"{where}['inverse']", value["inverse"], root)
        return cls(
            name,
            WatchedMap("inverse", *inverse),
            parse_part(f"{where}['outcomes']", value["outcomes"]),
            *read_bounds(f"{where}['bounds']", value.get("bounds")),
        )

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """The module of the inverse."""
        return (self.inverse.owner,)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The outcomes."""
        return (self.outcomes,)

    def _error(self, why: str) -> MapError:
        return MapError(self.name, self.key, why)

    def take(self, batch: Any, root: nn.Module | None) -> Tensor:
        """Take the outcomes to be reached, (N, ...), out of a batch, or raise MapError."""
        try:
            y = self.outcomes(batch, root)
        except Exception as error:
            raise self._error(explain(error)) from error
        if not isinstance(y, Tensor) or not y.is_floating_point() or y.ndim < 2:
            raise self._error(
                f"expected its outcomes to be a floating tensor of shape (N, m), but got {describe(y)}."
            )
        return y.detach()

    def box(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the ends (n,); the finite inputs (N, n) stand in for an unknown one."""
        n = inputs.shape[1]
        for end in (self.low, self.high):
            if end.shape not in ((), (n,)):
                raise self._error(
                    f"expected `bounds` to be numbers or of shape ({n},) each, but got "
                    f"{tuple(end.shape)}."
                )
        low, high = (end.to(inputs.device, inputs.dtype).expand(n) for end in (self.low, self.high))
        finite = inputs.isfinite()
        lowest = torch.where(finite, inputs, torch.inf).amin(0)
        highest = torch.where(finite, inputs, -torch.inf).amax(0)
        # Not beyond the end that is known: all inputs may be outside of it.
        return (
            torch.where(low.isnan(), torch.fmin(lowest, high), low),
            torch.where(high.isnan(), torch.fmax(highest, low), high),
        )

    def measure(self, measurement: Measurement) -> Reachability | None:
        """Go from the proposals to the outcomes inside the box: one approach of Levenberg and Marquardt.

        :func:`~lightning_invert.solve` begins with that, and tries as many careful steps again at what it
        does not reach. It raises MapError if shapes do not fit or weights are sharded over processes.
        """
        if measurement.outcomes is None or not measurement.spectrum.formed:
            return None
        self._refuse_shards(measurement.owner)
        inputs = measurement.points.inputs
        x, outcomes = inputs.flatten(1), measurement.outcomes.detach().to(inputs.device)
        targets, (m, n) = outcomes.flatten(1).to(x.dtype), measurement.spectrum.shape
        start = self._start(outcomes, (m, n), measurement.points.frame.sizes).to(x.dtype)
        ends = self.box(x)
        units = [std.detach().to(x.device).double() for std in measurement.find_stds()]
        model = Model(
            lambda z: measurement.function(z.reshape(-1, *inputs.shape[1:])).flatten(1),
            m,
            input_spread=units[0],
            output_spread=units[1],
        )
        distance = torch.full((len(x),), torch.nan, dtype=torch.float64, device=x.device)
        for rows in targets.isfinite().all(1).nonzero()[:, 0].split(points_at_once(n, m)):
            query = Query(
                model,
                Targets(targets[rows], targets[rows]),
                Bounds(*(end.expand(len(rows), n) for end in ends)),
                tolerance=TOLERANCE,
                max_steps=self.steps,
            )
            distance[rows] = approach(query, start[rows].clamp(*ends)).residual
        return Reachability(distance, self.steps)

    def _start(self, outcomes: Tensor, shape: tuple[int, int], sizes: tuple[int, ...]) -> Tensor:
        """Return what the inverse proposes, shape (R, n)."""
        (m, n), width = shape, outcomes.flatten(1).shape[1]
        try:
            start = evaluate_inside(in_parts(self.inverse, *sizes), outcomes).detach().flatten(1)
        except MapError as error:
            raise self._error(error.why) from error.__cause__
        if (width, start.shape[1]) != (m, n):
            raise self._error(
                f"expected its inverse to take its {m} outputs and to propose its {n} inputs, but "
                f"it takes {width} and proposes {start.shape[1]}."
            )
        return start

    def _refuse_shards(self, owner: nn.Module) -> None:
        weights = (p for module in (owner, *self.modules) for p in module.parameters())
        if any(map(is_sharded, weights)):
            raise self._error(
                f"the weights of {type(owner).__name__} are sharded over processes, which all have "
                "to call it equally often; how many steps it takes may differ. Write "
                "`reachable_steps=None`."
            )


def read_bounds(where: str, bounds: Any) -> tuple[Tensor, Tensor]:
    """Return lower and upper ends, float64, shape () or (n,), NaN where an end is not known.

    ``bounds`` is None or a pair (low, high); each is None, a number, or a number or None for each input.
    """
    expected = "a pair (low, high) of numbers, one for each input or one for all, or None"
    if bounds is None:
        bounds = (None, None)
    bounds = to_builtin(bounds)
    if not isinstance(bounds, list | tuple) or len(bounds) != 2:
        raise TypeError(expected_but_got(where, expected, bounds))
    try:
        low, high = (
            torch.as_tensor(without_none(end), dtype=torch.float64).detach().cpu() for end in bounds
        )
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(expected_but_got(where, expected, bounds)) from error
    if max(low.ndim, high.ndim) > 1 or (low.ndim == high.ndim == 1 and len(low) != len(high)):
        raise ValueError(expected_but_got(where, expected, bounds))
    if (low > high).any():
        raise ValueError(expected_but_got(where, "a pair (low, high) with low <= high", bounds))
    return low, high
