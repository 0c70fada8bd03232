"""An observation: what one look found of one map."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import torch
from torch import Tensor
from typing_extensions import Self

from lightning_invert.doorway import Drawn
from lightning_invert.jacobians.arithmetic import coarsest_dtype
from lightning_invert.jacobians.contexts import differentiable, evaluation_mode
from lightning_invert.jacobians.evaluation import with_context
from lightning_invert.jacobians.independence import MixedRowsError
from lightning_invert.jacobians.spectrum import Effort, measure_spectrum
from lightning_invert.jacobians.thresholds import Thresholds, noise_level
from lightning_invert.variables import ColumnStatistics
from lightning_invert.watch.finding import Finding, Measurement
from lightning_invert.watch.findings.probes import ProbeQuestion
from lightning_invert.watch.maps import MapError
from lightning_invert.watch.points import Points
from lightning_invert.watch.quantities import spectrum_quantities
from lightning_invert.watch.scalars import Array, summarise

if TYPE_CHECKING:
    from pathlib import Path

    from lightning_invert.watch.maps import WatchedMap

__all__ = ["Observation", "Precision", "Scale", "column_stds", "observe", "scale_in_force"]

Scale = Literal["standardized", "physical"]
Precision = Literal["native", "float64"]
F = TypeVar("F", bound=Finding)


@dataclass(frozen=True, repr=False)
class Observation(Drawn):
    r"""What one look found of one map, on the CPU. ``print`` shows a table and a verdict.

    Attributes:
        name: Name of the map.
        shape: (m, n) of its Jacobian.
        num_points: Number of points; the tensors may hold a sample of them.
        inputs: The points, shape (N, \*), in the units of the data.
        outputs: The outputs of the map, shape (N, m), likewise.
        singular_values: Shape (N, k), descending, float64; NaN where the Jacobian is not finite. If it
            was not formed, shape (N, 1): a lower bound of :math:`\sigma_1`.
        condition: :math:`\kappa`, shape (N,); NaN where the Jacobian is not finite or was not formed.
        rank: Numerical rank, shape (N,); 0 where the condition number is NaN.
        scalars: The summary, see :class:`~lightning_invert.InvertibilityMetric`; NaN where these points
            cannot tell.
        thresholds: What counts as full rank, singular and ill-conditioned.
        condition_limit: The largest condition number that the arithmetic can resolve.
        arithmetic: The coarsest dtype between inputs and outputs; ``None``: not known.
        findings: What else was found at the points: ``"accuracy"``, ``"truth"``, ``"runs"``, ``"reach"``,
            ``"round_trip"``, ``"probes"`` (if the Jacobian was not formed) or ``"directions"``.
        scale: Units of the Jacobian: ``"standardized"`` or ``"physical"``.
        input_names: Names of the n inputs, with units.
        output_names: Names of the m outputs, with units.
        part: The dataloader of the points, if each is watched by itself.
        table: The file with a row for each point, if :func:`~lightning_invert.analyze` wrote one.
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
    arithmetic: torch.dtype | None = None
    findings: dict[str, Finding] = field(default_factory=dict)
    scale: str = "physical"
    input_names: tuple[str, ...] = ()
    output_names: tuple[str, ...] = ()
    part: str = ""
    table: Path | None = None

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
        input_names: Sequence[str] | None = None,
        output_names: Sequence[str] | None = None,
        arithmetic: torch.dtype | None = None,
        findings: Iterable[Finding] = (),
        **attributes: Any,
    ) -> Self:
        """Judge singular values (N, k): the condition number and rank of each point, and the summary.

        Raises:
            ValueError: If the names are not as many as the inputs or outputs.

        Example:
            >>> observation = Observation.of(torch.tensor([[2.0, 1.0], [3.0, 0.0]]))
            >>> observation.rank.tolist(), observation.scalars["singular_fraction"]
            ([2, 1], 0.5)
        """
        thresholds = thresholds or Thresholds()
        sigma = singular_values.detach().cpu()
        count, k = sigma.shape
        inputs = sigma.new_zeros(count, 0) if inputs is None else inputs.detach().cpu()
        outputs = sigma.new_zeros(count, 0) if outputs is None else outputs.detach().cpu()
        by_key = {finding.key: finding for finding in findings}
        shape = shape or (k, k)
        condition = thresholds.condition(sigma)
        rank = thresholds.rank(sigma, noise_level(arithmetic, shape))
        if "probes" in by_key:  # the Jacobian was not formed: neither is known
            condition, rank = torch.full_like(condition, torch.nan), torch.zeros_like(rank)
        observation = cls(
            name=name,
            shape=shape,
            num_points=count,
            inputs=inputs,
            outputs=outputs,
            singular_values=sigma,
            condition=condition,
            rank=rank,
            scalars={},
            thresholds=thresholds,
            condition_limit=condition_limit,
            arithmetic=arithmetic,
            findings=by_key,
            input_names=_names("input", input_names, inputs[:1].flatten(1).shape[1]),
            output_names=_names("output", output_names, outputs.shape[1]),
            **attributes,
        )
        scalars = summarise(observation.quantities())
        for finding in observation.findings.values():
            scalars |= finding.scalars(observation)
        return replace(observation, scalars=scalars)

    def at_rows(
        self, singular_values: Tensor, inputs: Tensor, outputs: Tensor, findings: Iterable[Finding]
    ) -> Self:
        """Judge the same map at other rows, with a summary of these."""
        of_map = (
            *("name", "shape", "thresholds", "condition_limit", "arithmetic", "scale", "part"),
            *("input_names", "output_names"),
        )
        known = {name: getattr(self, name) for name in of_map}
        return self.of(singular_values, inputs=inputs, outputs=outputs, findings=findings, **known)

    @property
    def label(self) -> str:
        """The map's name, with its dataloader."""
        return f"{self.name}_{self.part}" if self.part else self.name

    @property
    def formed(self) -> bool:
        """Whether the Jacobian was formed, so that all its singular values are known."""
        return "probes" not in self.findings

    @property
    def full_rank(self) -> int:
        """The largest possible rank: k = min(m, n)."""
        return min(self.shape)

    def finding(self, kind: type[F]) -> F | None:
        """Return the finding of a kind, or ``None``."""
        findings = self.findings.values()
        return next((finding for finding in findings if isinstance(finding, kind)), None)

    def quantities(self) -> dict[str, Array]:
        """Return what the scalars summarise, each of shape (N,), NaN where it is not known."""
        quantities = {}
        if self.formed:
            quantities = spectrum_quantities(
                self.singular_values,
                self.condition,
                self.rank,
                self.thresholds.bands,
                self.condition_limit,
            )
        for finding in self.findings.values():
            quantities |= finding.quantities(self)
        return quantities

    def finite(self) -> Self:
        """Return the observation without the points whose Jacobian is not finite; the summary stays."""
        finite = self.singular_values.isfinite().all(1)
        if finite.all():
            return self
        tensors: dict[str, Any] = {
            name: getattr(self, name)[finite]
            for name in ("inputs", "outputs", "singular_values", "condition", "rank")
        }
        findings = {key: finding.at(finite) for key, finding in self.findings.items()}
        return replace(self, findings=findings, **tensors)


def observe(
    watched: WatchedMap,
    points: Points | Tensor,
    *,
    thresholds: Thresholds | None = None,
    scale: Scale | None = None,
    stds: tuple[Tensor, Tensor] | None = None,
    precision: Precision = "native",
    num_outputs: int | None = None,
    arithmetic: torch.dtype | None = None,
    effort: Effort | None = None,
    part: str = "",
    outcomes: Tensor | None = None,
    check: bool = True,
) -> Observation:
    r"""Look at a map at points, or inputs (N, \*) alone, and put its questions.

    The modules are in evaluation mode meanwhile. ``stds`` (by default the map's, or else those of the
    points) are what is standardised by; ``outcomes`` (R, \*) are to be reached at the first R points.
    ``check``: whether to raise MapError where the map, or a truth, mixes the rows of a batch.
    ``arithmetic`` limits what is resolved; an earlier look may have found it.
    """
    points = Points.of([points]) if isinstance(points, Tensor) else points
    thresholds, double = thresholds or Thresholds(), precision == "float64"
    if double:
        watched, points = watched.in_float64(), points.to(dtype=torch.float64)
    questions = (ProbeQuestion(), *watched.questions)
    options: dict[str, Any] = {}
    for question in questions:
        options |= question.options(points)
    with evaluation_mode(watched.owners), differentiable(points.inputs.device.type):
        scale = scale_in_force(watched, scale)
        arithmetic = arithmetic or _arithmetic(watched, points)
        if stds is None and scale == "standardized":
            stds = column_stds(watched, [points])
        unit_stds = stds if scale == "standardized" else None
        try:
            spectrum = measure_spectrum(
                points.call(watched),
                points.inputs,
                context=points.context,
                stds=unit_stds,
                num_outputs=num_outputs,
                effort=effort,
                check=check,
                arithmetic=arithmetic,
                **options,
            )
        except MixedRowsError as error:
            raise _mixing(watched.name, error) from error
        measurement = Measurement(
            owner=watched.owner,
            function=points.call(watched),
            points=points,
            spectrum=spectrum,
            unit_stds=unit_stds,
            find_stds=lambda: stds or column_stds(watched, [points]),
            thresholds=thresholds,
            double=double,
            outcomes=outcomes,
        )
        answers = [question.measure(measurement) for question in questions]
    return Observation.of(
        spectrum.singular_values,
        inputs=points.inputs,
        outputs=spectrum.outputs,
        name=watched.name,
        shape=spectrum.shape,
        thresholds=thresholds,
        condition_limit=spectrum.condition_limit,
        arithmetic=arithmetic,
        findings=[_on_cpu(answer) for answer in answers if answer is not None],
        scale=scale,
        input_names=watched.input_names,
        output_names=watched.output_names,
        part=part,
    )


def _arithmetic(watched: WatchedMap, points: Points) -> torch.dtype | None:
    """Return the coarsest dtype that computes, or if that cannot be watched that of the weights."""
    try:
        function = with_context(points.call(watched), points.context)
        return coarsest_dtype(function, points.inputs[:2])
    except Exception:  # noqa: BLE001  # what lasts comes again where the Jacobian is formed
        return next(reversed(watched.dtypes), None)


def scale_in_force(watched: WatchedMap, scale: Scale | None) -> Scale:
    """Return the scale, which by default depends on whether the map has statistics."""
    return scale or ("standardized" if watched.stds is not None else "physical")


def column_stds(watched: WatchedMap, pieces: Iterable[Points]) -> tuple[Tensor, Tensor]:
    """Return standard deviations of inputs (n,) and outputs (m,): the map's own, or of the points.

    Where outcomes are known, theirs count: an outcome that a model has lost hardly varies in what it predicts.
    1 for a constant column.
    """
    if watched.stds is not None:
        return watched.stds
    of_x, of_y, of_targets = ColumnStatistics(), ColumnStatistics(), ColumnStatistics()
    y: Tensor | None = None
    for points in pieces:
        x = points.inputs
        try:
            y = watched.outputs(points).reshape(len(x), -1)
        except MapError:
            if y is None:
                raise
            continue  # all of its points are outside of the domain
        finite = y.isfinite().all(1) & x.flatten(1).isfinite().all(1)
        of_x.add(x[finite])
        of_y.add(y[finite])
        if points.targets is not None and points.targets[:1].numel() == y.shape[1]:
            targets = points.targets.flatten(1).to(y.device)
            of_targets.add(targets[targets.isfinite().all(1)])
    assert y is not None  # there are points
    n, m = x[:1].numel(), y.shape[1]
    of_y = of_targets if of_targets.count > 1 else of_y
    return of_x.spread.expand(n), of_y.spread.expand(m)  # where nothing is finite, () each


def _mixing(name: str, error: MixedRowsError) -> MapError:
    """Return the error of a map, or of its truth, that mixes the points of a batch."""
    part, it = ("forward", "it") if error.argument == "function" else ("truth", "the truth")
    return MapError(
        name,
        part,
        f"{it} mixes the points of a batch: the output of a point depends on other points, so "
        "no point has its own Jacobian. If the first dimension is time, let the batch come first "
        "(batch_first=True), or add a method `def rows(self, x): return self(x.transpose(0, "
        f"1)).transpose(0, 1)` and write maps={{{name!r}: {{'module': 'rows', 'input': lambda batch: "
        "batch[0].transpose(0, 1)}}. Of a module with attention over the batch, or BatchNorm that keeps no "
        "statistics, watch a part without it. Edges mix the nodes of a graph: watch what follows them, "
        f"maps={{{name!r}: {{'module': <path>, 'input': {{'module': <path of what takes the "
        "edges>, 'input': <nodes>, 'context': [[<edges>]]}}}}.",
    )


def _names(side: str, given: Sequence[str] | None, count: int) -> tuple[str, ...]:
    if given is None:
        return tuple(f"{'x' if side == 'input' else 'y'}{i}" for i in range(count))
    if len(given) != count:
        raise ValueError(
            f"Expected argument `{side}_names` to name the {count} {side}s, but got {len(given)}: "
            f"{list(given)}."
        )
    return tuple(given)


def _on_cpu(finding: Finding) -> Finding:
    return finding.with_rows({name: rows.cpu() for name, rows in finding.rows().items()})
