"""From a map and points to what was found there: the one way that everything goes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor
from typing_extensions import Self

from lightning_invert.jacobians.contexts import differentiable, evaluation_mode
from lightning_invert.jacobians.spectrum import Effort, measure_spectrum
from lightning_invert.jacobians.thresholds import Thresholds
from lightning_invert.variables import ColumnStatistics
from lightning_invert.watch.members import (
    Members,
    members_quantities,
    members_scalars,
    spread_over,
)
from lightning_invert.watch.points import Points
from lightning_invert.watch.quantities import probes_quantities, spectrum_quantities, to_numpy
from lightning_invert.watch.reachability import Reachability, reach_outcomes, reach_quantities
from lightning_invert.watch.scalars import Array, summarise
from lightning_invert.watch.truth import reference_of, truth_quantities, truth_scalars

if TYPE_CHECKING:
    from lightning_invert.jacobians.comparison import Comparison
    from lightning_invert.jacobians.lanczos import Probes
    from lightning_invert.jacobians.singular_values import WeakestDirections
    from lightning_invert.watch.maps import WatchedMap

__all__ = ["Observation", "Precision", "Scale", "column_stds", "observe", "scale_in_force"]

Scale = Literal["standardized", "physical"]
Precision = Literal["native", "float64"]


class RoundTrip(NamedTuple):
    """How far a round trip is from the identity at N points, each of shape (N,), in standard units."""

    consistency_error: Tensor
    jacobian_consistency_error: Tensor | None

    def at(self, rows: Tensor) -> Self:
        """Return the same at some of the points."""
        return self._replace(**{k: v[rows] for k, v in self._asdict().items() if v is not None})


@dataclass(frozen=True)
class Observation:
    r"""What was found of a map at some points, on the CPU.

    Figures, tables and loggers take it whole.

    Attributes:
        name: The map.
        shape: (m, n) of its Jacobian.
        num_points: How many points there were; the tensors may hold a sample of them.
        inputs: The points, shape (N, \*), in the units of the data.
        outputs: What the map makes of them, shape (N, m), likewise.
        singular_values: Shape (N, k), descending, float64; NaN where the Jacobian was not finite.
            Where it was not formed, shape (N, 1): a lower bound of :math:`\sigma_1`.
        condition: :math:`\kappa`, shape (N,); NaN where the Jacobian was not finite, and where it
            was not formed.
        rank: Shape (N,); likewise 0.
        scalars: The summary: see :class:`~lightning_invert.InvertibilityMetric`.
        round_trip: How far a map that says it is a round trip is from the identity.
        thresholds: What counts as full rank, as singular, as ill-conditioned.
        condition_limit: The largest condition number that the arithmetic can tell.
        probes: What is known of a Jacobian that was not formed: bounds and estimates. Nothing is
            said of its rank or condition number but what they say.
        scale: In what units: ``"standardized"`` or ``"physical"``.
        input_names: Of the n inputs, with units.
        output_names: Of the m outputs.
        weakest: The singular vectors of the smallest singular value, if they were asked for.
        part: Which of several dataloaders the points come from, where each is watched for itself.
        truth: How far the Jacobians are from those of the true map, where that was given.
        members: How far the condition numbers spread over several runs, where these were given.
        reach: How near the solver came to the points' outcomes, where these were given.
    """

    name: str
    shape: tuple[int, int]
    num_points: int
    inputs: Tensor
    outputs: Tensor
    singular_values: Tensor
    condition: Tensor
    rank: Tensor
    scalars: dict[str, float]
    thresholds: Thresholds
    condition_limit: float
    probes: Probes | None = None
    scale: str = "physical"
    input_names: tuple[str, ...] = ()
    output_names: tuple[str, ...] = ()
    round_trip: RoundTrip | None = None
    weakest: WeakestDirections | None = None
    part: str = ""
    truth: Comparison | None = None
    members: Members | None = None
    reach: Reachability | None = None

    @classmethod
    def of(
        cls,
        singular_values: Tensor,
        *,
        inputs: Tensor | None = None,
        outputs: Tensor | None = None,
        name: str = "map",
        shape: tuple[int, int] | None = None,
        thresholds: Thresholds | None = None,
        condition_limit: float = float("inf"),
        probes: Probes | None = None,
        input_names: Sequence[str] | None = None,
        output_names: Sequence[str] | None = None,
        truth: Comparison | None = None,
        members: Members | None = None,
        reach: Reachability | None = None,
        **known: Any,
    ) -> Self:
        r"""Judge singular values: the condition number and rank of each point, and the summary.

        Args:
            singular_values: Shape (N, k), descending; NaN where the Jacobian was not finite.
            inputs: The points, shape (N, \*); by default of no input at all.
            outputs: Shape (N, m), likewise.
            name: Of the map.
            shape: (m, n); by default as many of each as there are singular values.
            thresholds: By default those of :class:`~lightning_invert.Thresholds`.
            condition_limit: The largest condition number that the arithmetic can tell.
            probes: What is known of Jacobians that were not formed, if that is so.
            input_names: By default x0, x1, ...
            output_names: By default y0, y1, ...
            truth: How far the Jacobians are from those of the true map, if it is known.
            members: How far the condition numbers spread over several runs, likewise.
            reach: How near the solver came to the points' outcomes, likewise.
            known: Any other of the attributes.

        Returns:
            The observation.

        Raises:
            ValueError: If there are more or fewer names than inputs or outputs.

        Example:
            >>> found = Observation.of(torch.tensor([[2.0, 1.0], [3.0, 0.0]]))
            >>> found.rank.tolist(), found.scalars["singular_fraction"]
            ([2, 1], 0.5)
        """
        thresholds = thresholds or Thresholds()
        sigma = singular_values.detach().cpu()
        count, k = sigma.shape
        inputs = sigma.new_zeros(count, 0) if inputs is None else inputs.detach().cpu()
        outputs = sigma.new_zeros(count, 0) if outputs is None else outputs.detach().cpu()
        condition, rank = thresholds.condition(sigma), thresholds.rank(sigma)
        if probes is not None:
            condition, rank = torch.full_like(condition, torch.nan), torch.zeros_like(rank)
        observation = cls(
            name=name,
            shape=shape or (k, k),
            num_points=count,
            inputs=inputs,
            outputs=outputs,
            singular_values=sigma,
            condition=condition,
            rank=rank,
            scalars={},
            thresholds=thresholds,
            condition_limit=condition_limit,
            probes=probes,
            input_names=_names("input", input_names, inputs[:1].flatten(1).shape[1]),
            output_names=_names("output", output_names, outputs.shape[1]),
            truth=truth,
            members=members,
            reach=reach,
            **known,
        )
        scalars = summarise(observation.quantities())
        if truth is not None:
            scalars |= truth_scalars(condition, truth, thresholds)
        if members is not None:
            scalars |= members_scalars(members, truth, thresholds)
        return replace(observation, scalars=scalars)

    def quantities(self) -> dict[str, Array]:
        """Return what the scalars summarise, each of shape (N,), NaN where it is not known."""
        quantities = (
            spectrum_quantities(
                self.singular_values,
                self.condition,
                self.rank,
                bands=self.thresholds.bands,
                condition_limit=self.condition_limit,
            )
            if self.probes is None
            else probes_quantities(self.probes)
        )
        if self.truth is not None:
            quantities |= truth_quantities(self.condition, self.truth, self.thresholds)
        if self.members is not None:
            quantities |= members_quantities(self.members, self.truth, self.thresholds)
        if self.reach is not None:
            quantities |= reach_quantities(self.reach)
        if self.round_trip is not None:
            quantities |= {
                name: to_numpy(error)
                for name, error in self.round_trip._asdict().items()
                if error is not None
            }
        return quantities

    @property
    def label(self) -> str:
        """The map's name, and of which dataloader it is."""
        return f"{self.name}_{self.part}" if self.part else self.name

    @property
    def formed(self) -> bool:
        """Whether the Jacobian was formed: all its singular values are known then."""
        return self.probes is None

    @property
    def full_rank(self) -> int:
        """The most that a rank can be: k = min(m, n)."""
        return min(self.shape)

    def finite(self) -> Self:
        """Return the same without the points whose Jacobian is not finite; the summary stays."""
        kept = self.singular_values.isfinite().all(1)
        if kept.all():
            return self
        parts = ("inputs", "outputs", "singular_values", "condition", "rank")
        also: dict[str, Any] = {
            part: None if (held := getattr(self, part)) is None else held.at(kept)
            for part in ("probes", "truth", "members", "reach", "round_trip")
        }
        return replace(self, **also, **{part: getattr(self, part)[kept] for part in parts})


def observe(
    watched: WatchedMap,
    points: Points | Tensor,
    *,
    thresholds: Thresholds | None = None,
    scale: Scale | None = None,
    stds: tuple[Tensor, Tensor] | None = None,
    precision: Precision = "native",
    directions: bool = False,
    num_outputs: int | None = None,
    effort: Effort | None = None,
    check: bool = True,
    part: str = "",
    outcomes: Tensor | None = None,
    reachable_steps: int = 10,
) -> Observation:
    r"""Look at a map at some points.

    The map's module is in evaluation mode meanwhile, and afterwards as it was.

    Example:
        >>> from lightning_invert.watch.maps import resolve_maps
        >>> (watched,) = resolve_maps({"code": "0"}, torch.nn.Sequential(torch.nn.Linear(7, 4)))
        >>> found = observe(watched, torch.randn(100, 7))
        >>> found.shape, found.scalars["full_rank_fraction"]
        ((4, 7), 1.0)
    """
    if isinstance(points, Tensor):
        points = Points.of([points])
    mapped = watched
    if precision == "float64":
        mapped, points = watched.in_float64(), points.to(dtype=torch.float64)
    function, x = points.call(mapped), points.inputs
    with evaluation_mode(watched.owners), differentiable(x.device.type):
        scale = scale_in_force(watched, scale)
        if stds is None and (scale == "standardized" or watched.identity or outcomes is not None):
            stds = column_stds(watched, [points], mapped)
        applied = stds if scale == "standardized" else None
        spectrum = measure_spectrum(
            function,
            x,
            context=points.context,
            stds=applied,
            directions=directions,
            identity=watched.identity,
            reference=None if watched.truth is None else reference_of(watched, points),
            num_outputs=num_outputs,
            effort=effort,
            check=check,
            arithmetic=watched.arithmetic if precision == "native" else None,
        )
        members = None
        if watched.members and spectrum.formed:
            others = watched.members
            if precision == "float64":
                others = tuple(other.in_float64() for other in others)
            members = spread_over(others, points, spectrum, applied, thresholds or Thresholds())
        reach = None
        if outcomes is not None and spectrum.formed and stds is not None:
            reach = reach_outcomes(watched, function, x, outcomes, stds, reachable_steps)
    compared = spectrum.comparison
    if compared is not None and watched.truth is not None:
        compared = compared._replace(name=watched.truth.name)
    round_trip = None
    if watched.identity and stds is not None:
        deviation = (spectrum.outputs - x.flatten(1)) / stds[1]
        slope = spectrum.identity_error
        round_trip = RoundTrip(
            deviation.square().mean(1).sqrt(), None if slope is None else slope.sqrt()
        )
    return Observation.of(
        spectrum.singular_values,
        inputs=x,
        outputs=spectrum.outputs,
        name=watched.name,
        shape=spectrum.shape,
        thresholds=thresholds,
        condition_limit=spectrum.condition_limit,
        probes=_on_cpu(spectrum.probes),
        scale=scale,
        input_names=watched.input_names,
        output_names=watched.output_names,
        round_trip=_on_cpu(round_trip),
        weakest=_on_cpu(spectrum.weakest),
        part=part,
        truth=_on_cpu(compared),
        members=_on_cpu(members),
        reach=_on_cpu(reach),
    )


def scale_in_force(watched: WatchedMap, scale: Scale | None) -> Scale:
    """Return the scale, which by default depends on whether the map has statistics."""
    return scale or ("standardized" if watched.stds is not None else "physical")


def column_stds(
    watched: WatchedMap, pieces: Iterable[Points], mapped: WatchedMap | None = None
) -> tuple[Tensor, Tensor]:
    """Return standard deviations of inputs (n,) and outputs (m,): the map's own, or of the points.

    1 for a column that does not vary. ``mapped`` is evaluated instead of the map, as in float64.
    """
    if watched.stds is not None:
        return watched.stds
    of_x, of_y = ColumnStatistics(), ColumnStatistics()
    with evaluation_mode([watched.owner]):
        for points in pieces:
            x = points.inputs
            # With gradients, because a force is one.
            with differentiable(x.device.type):
                y = points.call(mapped or watched)(*points.rows).reshape(len(x), -1)
            y = y.detach()
            finite = y.isfinite().all(1) & x.flatten(1).isfinite().all(1)
            of_x.add(x[finite])
            of_y.add(y[finite])
    n, m = x[:1].numel(), y.shape[1]
    return of_x.spread.expand(n), of_y.spread.expand(m)  # where nothing is finite, () each


def _names(side: str, given: Sequence[str] | None, count: int) -> tuple[str, ...]:
    if given is None:
        return tuple(f"{'x' if side == 'input' else 'y'}{i}" for i in range(count))
    if len(given) != count:
        raise ValueError(
            f"Expected argument `{side}_names` to name the {count} {side}s, but got {len(given)}: "
            f"{list(given)}."
        )
    return tuple(given)


def _on_cpu(found: Any) -> Any:
    if found is None:
        return None
    return found._replace(
        **{k: v.cpu() for k, v in found._asdict().items() if isinstance(v, Tensor)}
    )
