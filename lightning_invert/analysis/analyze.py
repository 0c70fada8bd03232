"""Look at a trained map outside of training, at as many points as there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from torch import Tensor, nn
from tqdm.auto import tqdm

from lightning_invert.analysis.points import PointSource
from lightning_invert.analysis.tally import Tally
from lightning_invert.arguments import check_choice, check_flag, check_integer, check_text, wrong
from lightning_invert.jacobians.singular_values import log_volume
from lightning_invert.jacobians.thresholds import BAND_NAMES, Thresholds
from lightning_invert.report.files import file_name
from lightning_invert.report.words import report_table
from lightning_invert.tables import TableWriter
from lightning_invert.watch.maps import WatchedMap, resolve_maps
from lightning_invert.watch.observation import (
    Observation,
    Precision,
    Scale,
    column_stds,
    observe,
    scale_in_force,
)
from lightning_invert.watch.points import Points
from lightning_invert.watch.voice import Voice

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Analysis", "analyze"]


@dataclass(frozen=True)
class Analysis(Observation):
    r"""What :func:`analyze` found: an observation, ``print`` of which shows a table and a verdict.

    Of more than 262 144 points, the tensors hold a uniform sample of so many, in the order in which
    they came; ``num_points`` and the shares in ``scalars`` are of all.

    Attributes:
        weakest_inputs: Share of each input in the direction of :math:`\sigma_k`, if the directions
            were asked for: the mean square of its component, over all points. They add up to 1.
        weakest_outputs: Likewise of each output.
        table: The file with a row for each point, if one was asked for.
    """

    weakest_inputs: dict[str, float] | None = None
    weakest_outputs: dict[str, float] | None = None
    table: Path | None = None

    def __str__(self) -> str:
        return "\n".join([report_table([self]), *self.directions()])

    def directions(self) -> list[str]:
        """Say which outcome is the most expensive to reach, if the directions were asked for."""
        if self.weakest_inputs is None or self.weakest_outputs is None:
            return []
        outputs, inputs = _largest(self.weakest_outputs), _largest(self.weakest_inputs)
        return [f"{self.name}: most expensive to reach: {outputs}; it takes: {inputs}"]

    def figures(self) -> dict[str, Figure]:
        """Draw all figures of the map; those that show where, of up to 1024 inputs."""
        from lightning_invert.report.figures import map_figures

        return map_figures(self)

    def save_figures(self, folder: str | Path) -> list[Path]:
        """Save the figures as ``{map}_{figure}.png``.

        A former figure is replaced once the new one is whole. Of a map's name that is no safe name
        of a file, what is safe is kept and a digest added.

        Args:
            folder: Where to; it is made if need be.

        Returns:
            The files.
        """
        from lightning_invert.report.figures import save_all

        return save_all(self.figures(), folder, f"{file_name(self.name)}_")


def analyze(
    function: Callable[[Tensor], Tensor] | nn.Module | WatchedMap,
    points: Any,
    *,
    name: str = "map",
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    scale: Literal["standardized", "physical"] | None = None,
    rank_atol: float = Thresholds.rank_atol,
    rank_rtol: float = Thresholds.rank_rtol,
    singular_floor: float = Thresholds.singular_floor,
    bands: tuple[float, float] = Thresholds.bands,
    precision: Literal["native", "float64"] = "native",
    table: str | Path | None = None,
    directions: bool = False,
    truth: Callable[[Tensor], Tensor] | nn.Module | None = None,
    truth_name: str = "truth",
    members: Sequence[Callable[[Tensor], Tensor] | nn.Module] = (),
    progress: bool = True,
    seed: int = 42,
) -> Analysis:
    r"""Measure where a map can be inverted: what the callback logs, and a table of all points.

    The points pass in pieces: neither they nor the table have to fit into memory.

    The table has a row for each point, in the order in which they came: ``input/{name}``,
    ``output/{name}``, ``condition_number``, ``band`` (stable, moderate, ill-conditioned, singular
    or nonfinite), ``unresolved`` (whether :math:`\kappa` is beyond what the arithmetic can tell),
    ``rank``, ``log_volume`` and ``sigma_1``, ``sigma_2``, ... Where a Jacobian is too large to be
    formed (see :func:`~lightning_invert.jacobians.spectrum.measure_spectrum`), these are what
    :class:`~lightning_invert.jacobians.lanczos.Probes` holds. With ``directions`` also
    ``weakest_input/{name}`` and ``weakest_output/{name}``: the components of the singular vectors
    of :math:`\sigma_k`, see :func:`~lightning_invert.weakest_directions`. With a truth also
    ``true_condition_number`` and ``jacobian_error``, :math:`\|J - J^*\|_F / \|J^*\|_F`; with members
    ``log10_cond_mean`` and ``log10_cond_std``.

    Args:
        function: Maps (N, \*) to (N, \*), each row by itself. A module is evaluated in evaluation
            mode and on its own device; afterwards it is as it was.
        points: Shape (N, \*): a tensor, an array, or an iterable of batches, such as a
            ``DataLoader``. Of a batch with several parts the first is taken, or what a
            ``WatchedMap`` selects.
        name: Of the map, in the report and in file names.
        input_names: Names of the n inputs; by default x0, x1, ...
        output_names: Names of the m outputs; by default y0, y1, ...
        scale: ``"standardized"``: Jacobians between standardised inputs and outputs, by the map's
            own statistics or else by the spread of the points, which then are read twice.
            ``"physical"``: as the map computes them. ``None``: standardised for a map with
            statistics, physical for any other.
        rank_atol: A singular value counts for the rank if it is above this ...
        rank_rtol: ... and above this times the largest.
        singular_floor: The condition number is infinite if the smallest singular value is below.
        bands: Condition numbers where *stable* ends and *ill-conditioned* begins.
        precision: In what the Jacobian is computed: ``"native"`` or ``"float64"``.
        table: Where to write the table; the name ends in .csv or .parquet. An existing file is not
            replaced: a number is added to the name.
        directions: Whether the table gets the weakest directions, which takes an SVD a point.
        truth: The true map, or any other to hold the Jacobians against: of the same inputs to the same
            outputs, differentiable. It is evaluated in float64 if it follows there.
        truth_name: What it is called in the report; ``"other run"`` if it is no truth.
        members: The same map of other runs: how far condition numbers spread over all of them is
            the error bar of each, see :class:`~lightning_invert.watch.members.Members`.
        progress: Show a progress bar, if the output is a terminal.
        seed: Of the sample that is kept of more than 262 144 points.

    Returns:
        The summary, and the points with their spectra.

    Raises:
        ValueError: If an argument is out of its range or there are no points.
        TypeError: If the points are not floating tensors.

    Example:
        >>> import torch
        >>> a = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.01, 0.0]])
        >>> found = analyze(lambda x: x @ a.T, torch.randn(1000, 3))
        >>> found.scalars["full_rank_fraction"], round(found.condition.max().item())
        (1.0, 100)
    """
    check_text("name", name)
    check_choice("scale", scale, (None, *get_args(Scale)))
    check_choice("precision", precision, get_args(Precision))
    check_flag("directions", directions)
    check_flag("progress", progress)
    check_text("truth_name", truth_name)
    seed = check_integer("seed", seed, low=0)
    thresholds = Thresholds(rank_atol, rank_rtol, singular_floor, bands)
    watched = _as_map(function, name, input_names, output_names)
    watched = _with_others(watched, truth, truth_name, members)
    source = PointSource(points, watched, double=precision == "float64")
    stds = None
    if scale_in_force(watched, scale) == "standardized" and watched.stds is None:
        source.check_rereadable()
        mapped = watched.in_float64() if precision == "float64" else watched
        stds = column_stds(watched, _with_bar(source, watched.name, progress), mapped)
    tally = Tally(thresholds, seed)
    with TableWriter(table) if table is not None else nullcontext() as writer:
        for piece in _with_bar(source, watched.name, progress):
            found = observe(
                watched,
                piece,
                thresholds=thresholds,
                scale=scale,
                stds=stds,
                precision=precision,
                directions=directions,
                num_outputs=tally.num_outputs,
                check=tally.num_outputs is None,
            )
            tally.add(found)
            if writer is not None:
                writer.write(_rows(found))
    kept = tally.kept()
    if not kept.formed and (watched.truth is not None or watched.members):
        Voice("analyze").info(
            f"the Jacobian of {watched.name!r} is too large to be formed: it is not compared with "
            "those of a truth or of other runs."
        )
    inputs, outputs = tally.weakest()
    return Analysis(
        **{part.name: getattr(kept, part.name) for part in fields(Observation)},
        weakest_inputs=inputs,
        weakest_outputs=outputs,
        table=writer.path if writer is not None else None,
    )


def _as_map(
    function: Any,
    name: str,
    input_names: Sequence[str] | None,
    output_names: Sequence[str] | None,
) -> WatchedMap:
    names = {"input_names": input_names, "output_names": output_names}
    given: dict[str, Any] = {key: value for key, value in names.items() if value is not None}
    if isinstance(function, WatchedMap):
        return replace(function, **given)
    if not callable(function):
        raise TypeError(
            "Expected argument `function` to be a module or a function, but got "
            f"{type(function).__name__}."
        )
    root = function if isinstance(function, nn.Module) else nn.Module()
    (watched,) = resolve_maps({name: {"module": function, **given}}, root)
    return watched


def _with_others(
    watched: WatchedMap, truth: Any, truth_name: str, members: Sequence[Any]
) -> WatchedMap:
    """Return the map with what it is to be held against; a ``WatchedMap`` has some already."""
    for argument, other in (("truth", truth), *(("members", member) for member in members)):
        if other is not None and not callable(other):
            expected = "a module or a function" if argument == "truth" else "modules or functions"
            raise TypeError(wrong(argument, expected, other))
    others = [_as_map(member, f"member {i}", None, None) for i, member in enumerate(members, 1)]
    if truth is not None:
        true = replace(_as_map(truth, truth_name, None, None), name=truth_name)
        watched = replace(watched, truth=true)
    return replace(watched, members=(*watched.members, *others))


def _with_bar(source: PointSource, name: str, progress: bool) -> Iterator[Points]:
    # None: no bar where nobody sees it.
    silent = None if progress else True
    with tqdm(
        desc=name, total=source.total, unit=" points", unit_scale=True, disable=silent
    ) as bar:
        for points in source:
            yield points
            bar.update(len(points))


def _largest(shares: Mapping[str, float], most: int = 3) -> str:
    ordered = sorted(shares.items(), key=lambda item: -item[1])[:most]
    return ", ".join(f"{name} ({share:.0%})" for name, share in ordered if share >= 0.005)


def _rows(found: Observation) -> dict[str, Any]:
    """Return the columns of the table."""
    import polars

    sigma, cond = found.singular_values, found.condition
    band = found.thresholds.band(cond)
    where = {
        **_by_name("input", found.input_names, found.inputs.flatten(1)),
        **_by_name("output", found.output_names, found.outputs),
    }
    if found.probes is not None:
        known = found.probes._asdict().items()
        return where | {name: v.numpy() for name, v in known if isinstance(v, Tensor)}
    columns = {
        **where,
        "condition_number": cond.numpy(),
        "band": polars.Series(BAND_NAMES, dtype=polars.Enum(BAND_NAMES)).gather(band.numpy()),
        "unresolved": (cond > found.condition_limit).numpy(),
    }
    columns |= {
        "rank": found.rank.numpy(),
        "log_volume": log_volume(sigma).numpy(),
        **{f"sigma_{i}": values for i, values in enumerate(sigma.numpy().T, start=1)},
    }
    if found.truth is not None:
        true = found.thresholds.condition(found.truth.singular_values).numpy()
        whose = "true" if found.truth.name == "truth" else "other"
        columns |= {
            f"{whose}_condition_number": true,
            "jacobian_error": found.truth.error.numpy(),
        }
    if found.members is not None:
        columns |= {
            "log10_cond_mean": found.members.mean.numpy(),
            "log10_cond_std": found.members.std.numpy(),
        }
    if found.weakest is not None:
        columns |= _by_name("weakest_input", found.input_names, found.weakest.inputs)
        columns |= _by_name("weakest_output", found.output_names, found.weakest.outputs)
    return columns


def _by_name(what: str, names: Sequence[str], table: Tensor) -> dict[str, Any]:
    columns = table.float() if table.element_size() < 4 else table  # NumPy has no bfloat16
    return {f"{what}/{name}": column for name, column in zip(names, columns.numpy().T, strict=True)}
