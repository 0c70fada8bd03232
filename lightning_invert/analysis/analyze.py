"""Look at a trained map outside of training, at as many points as there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

from torch import Tensor, nn
from tqdm.auto import tqdm

from lightning_invert.analysis.points import PointSource, table_points
from lightning_invert.analysis.tally import Tally
from lightning_invert.arguments import check_choice, check_flag, check_text, expected_but_got
from lightning_invert.devices import making_tensors_on_cpu
from lightning_invert.jacobians.singular_values import log_volume
from lightning_invert.jacobians.thresholds import BAND_NAMES, Thresholds
from lightning_invert.tables import TableWriter
from lightning_invert.watch.domain import observe_domain
from lightning_invert.watch.findings.directions import DirectionQuestion
from lightning_invert.watch.findings.runs import OverRuns
from lightning_invert.watch.findings.truth import AgainstTruth
from lightning_invert.watch.maps import WatchedMap
from lightning_invert.watch.observation import (
    Observation,
    Precision,
    Scale,
    column_stds,
    observe,
    scale_in_force,
)
from lightning_invert.watch.points import Points
from lightning_invert.watch.resolution import resolve_maps
from lightning_invert.watch.voice import Voice

__all__ = ["analyze"]

Function = Callable[[Tensor], Tensor] | nn.Module


@making_tensors_on_cpu()
def analyze(
    function: Function | WatchedMap | Mapping[str, Any],
    points: Any,
    *,
    name: str | None = None,
    inputs: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
    scale: Literal["standardized", "physical"] | None = None,
    thresholds: Thresholds | None = None,
    precision: Literal["native", "float64"] = "native",
    table: str | Path | TableWriter | None = None,
    directions: bool = False,
    truth: Function | Mapping[str, Function] | None = None,
    runs: Sequence[Function] = (),
) -> Observation:
    r"""Measure where a map can be inverted: what the callback logs, and a table of all points.

    The points pass in pieces, so that neither they nor the table need to fit into memory. A terminal shows
    a progress bar (``TQDM_DISABLE=1`` hides it). Of more than 262 144 points the observation holds a
    uniform sample of that size, in order; ``num_points``, shares and means are of all points.

    The table has a row for each point, in order: ``input/{name}``, ``output/{name}``,
    ``condition_number``, ``band`` (stable, moderate, ill-conditioned, singular or nonfinite),
    ``unresolved`` (whether :math:`\kappa` is beyond what the arithmetic can resolve), ``rank``,
    ``log_volume`` and ``sigma_1``, ``sigma_2``, ... For a Jacobian that is too large to be formed, these are
    bounds and estimates (:class:`~lightning_invert.jacobians.lanczos.Probes`). ``directions`` adds
    ``weakest_input/{name}`` and ``weakest_output/{name}``, see
    :func:`~lightning_invert.weakest_directions`. ``truth`` adds ``true_condition_number`` and
    ``jacobian_error``, :math:`\|J - J^*\|_F / \|J^*\|_F`; ``runs`` add ``log10_cond_mean`` and
    ``log10_cond_std``.

    Args:
        function: Maps (N, \*) to (N, \*), each row by itself. A module is evaluated in evaluation mode
            and on its own device; afterwards it is as it was. A point at which it raises counts as not
            finite. Of a module with ``invertibility_maps()``, such as a pair, one map is analysed, with
            its names and standard units; such an entry can also be given by itself.
        points: Shape (N, \*): a tensor, an array, or an iterable of batches such as a ``DataLoader``. Of
            a batch with several parts the first counts, or what a ``WatchedMap`` selects. Or a table:
            a file name, a data frame or a dictionary of columns.
        name: Name of the map in the report and in file names. Of a module with several maps it selects
            one; by default the first, which is a pair's ``"forward"``.
        inputs: Names of the n inputs; of a table, the columns to read. Default: those that the map
            names, else all columns, else x0, x1, ...
        outputs: Names of the m outputs. Default: those that the map names, else y0, y1, ...
        scale: ``"standardized"``: Jacobians between standardised inputs and outputs, by the map's own
            statistics, else by the spread of the points, which are then read twice. ``"physical"``: as
            the map computes them. ``None``: standardised for a map with statistics, else physical.
        thresholds: What counts as full rank, singular and ill-conditioned. Default:
            :class:`~lightning_invert.Thresholds`.
        precision: Arithmetic of the Jacobian: ``"native"`` or ``"float64"``.
        table: Where to write the table: a .csv or .parquet file, or a ``TableWriter``. An existing
            file is not replaced: the new name gets a number.
        directions: Whether to find the weakest directions, which takes an SVD for each point.
        truth: The true map, of the same inputs and outputs, differentiable: its Jacobians are compared.
            It is evaluated in float64 if it can be. To name it otherwise: ``{"other run": function}``.
        runs: The same map of other runs. The spread of condition numbers over all runs is the error bar
            of each, see :class:`~lightning_invert.watch.findings.runs.Runs`.

    Returns:
        The summary, and the points with their spectra.

    Raises:
        ValueError: If an argument is out of range, or there are no points.
        TypeError: If an argument has the wrong type, or the points are not floating tensors.

    Example:
        >>> import torch
        >>> a = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.01, 0.0]])
        >>> observation = analyze(lambda x: x @ a.T, torch.randn(1000, 3))
        >>> observation.scalars["full_rank_fraction"], round(observation.condition.max().item())
        (1.0, 100)
    """
    if name is not None:
        check_text("name", name)
    check_choice("scale", scale, (None, *get_args(Scale)))
    check_choice("precision", precision, get_args(Precision))
    check_flag("directions", directions)
    thresholds = thresholds or Thresholds()
    watched = _as_map(function, name, inputs, outputs)
    points, watched = table_points(points, watched, inputs)
    watched = _asking(watched, truth, runs, directions)
    source = PointSource(points, watched, double=precision == "float64")
    settings = {"thresholds": thresholds, "scale": scale, "precision": precision}
    tally, path = _pool(watched, source, table, **settings)
    if not source.settle():
        if path is not None:
            path.unlink(missing_ok=True)
        tally, path = _pool(watched, source, table, **settings)
    if source.left_out:
        Voice("analyze").warn(source.left_out)
    observation = tally.observation()
    if not observation.formed and (watched.question(AgainstTruth) or watched.question(OverRuns)):
        Voice("analyze").info(
            f"the Jacobian of map {watched.name!r} is too large to be formed. It is not "
            "compared with those of a truth or of other runs."
        )
    return replace(observation, table=path)


def _pool(
    watched: WatchedMap,
    source: PointSource,
    table: str | Path | TableWriter | None,
    **settings: Any,
) -> tuple[Tally, Path | None]:
    """Pool the observations of all pieces, and write the table."""
    stds = None
    if scale_in_force(watched, settings["scale"]) == "standardized" and watched.stds is None:
        source.check_rereadable()
        mapped = watched.in_float64() if settings["precision"] == "float64" else watched
        stds = column_stds(mapped, _with_bar(source, watched.name))
    tally, voice, inside = Tally(), Voice("analyze"), None
    opened = TableWriter(table) if isinstance(table, str | Path) else table or nullcontext()
    with opened as writer:
        for piece in _with_bar(source, watched.name):
            look = partial(
                observe,
                watched,
                stds=stds,
                num_outputs=tally.num_outputs,
                check=tally.num_outputs is None,
                arithmetic=tally.arithmetic,
                **settings,
            )
            observation = observe_domain(
                look, watched, piece, voice, inside=inside, most=None, hopeless=set()
            )
            finite = observation.singular_values.isfinite().all(1)
            if inside is None and finite.any():
                inside = piece[(row := int(finite.int().argmax())) : row + 1]
            tally.add(observation)
            if writer is not None:
                writer.write(_columns(observation))
    return tally, None if writer is None else writer.path


def _as_map(
    function: Any,
    name: str | None,
    inputs: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
    argument: str = "function",
) -> WatchedMap:
    names = {"input_names": inputs, "output_names": outputs}
    columns: dict[str, Any] = {key: value for key, value in names.items() if value is not None}
    if isinstance(function, WatchedMap):
        return replace(function, **columns)
    if not callable(function) and not isinstance(function, Mapping):
        raise TypeError(expected_but_got(argument, "a module or a function", function))
    if callable(getattr(function, "invertibility_maps", None)):
        maps = {watched.name: watched for watched in resolve_maps(None, function)}
        if name is not None and name not in maps:
            raise ValueError(
                f"Expected argument `name` to be one of the maps of {type(function).__name__}, "
                f"{list(maps)}, but got {name!r}."
            )
        return replace(maps[name or next(iter(maps))], **columns)
    entry = dict(function) if isinstance(function, Mapping) else {"module": function}
    root = function if isinstance(function, nn.Module) else nn.Module()
    (watched,) = resolve_maps({name or "map": {**entry, **columns}}, root)
    return watched


def _asking(watched: WatchedMap, truth: Any, runs: Sequence[Any], directions: bool) -> WatchedMap:
    """Return the map with what is asked of it; a ``WatchedMap`` is asked something already."""
    if truth is not None:
        ((name, function),) = truth.items() if isinstance(truth, Mapping) else [("truth", truth)]
        true = replace(_same_map(function, watched.name, "truth"), name=name)
        watched = watched.asking(AgainstTruth(watched.name, true))
    if runs:
        others = [_same_map(run, watched.name, "runs") for run in runs]
        others = [replace(run, name=f"run {i}") for i, run in enumerate(others, 1)]
        watched = watched.asking(OverRuns(tuple(others)))
    return watched.asking(DirectionQuestion()) if directions else watched


def _same_map(function: Any, name: str, argument: str) -> WatchedMap:
    """Return the map of that name of a truth or of another run, or what it consists of alone."""
    own = getattr(function, "invertibility_maps", None)
    return _as_map(function, name if callable(own) and name in own() else None, argument=argument)


def _with_bar(source: PointSource, name: str) -> Iterator[Points]:
    # None: no bar where nobody sees it.
    with tqdm(desc=name, total=source.total, unit=" points", unit_scale=True, disable=None) as bar:
        for points in source:
            yield points
            bar.update(len(points))


def _columns(observation: Observation) -> dict[str, Any]:
    """Return the columns of the table."""
    import polars

    columns = {
        **_by_name("input", observation.input_names, observation.inputs.flatten(1)),
        **_by_name("output", observation.output_names, observation.outputs),
    }
    if observation.formed:
        sigma, cond = observation.singular_values, observation.condition
        band = observation.thresholds.band(cond)
        bands = polars.Series(BAND_NAMES, dtype=polars.Enum(BAND_NAMES))
        columns |= {
            "condition_number": cond.numpy(),
            "band": bands.gather(band.numpy()),
            "unresolved": (cond > observation.condition_limit).numpy(),
            "rank": observation.rank.numpy(),
            "log_volume": log_volume(sigma).numpy(),
            **{f"sigma_{i}": values for i, values in enumerate(sigma.numpy().T, start=1)},
        }
    for finding in observation.findings.values():
        columns |= finding.columns(observation)
    return columns


def _by_name(what: str, names: Sequence[str], table: Tensor) -> dict[str, Any]:
    columns = table.float() if table.element_size() < 4 else table  # NumPy has no bfloat16
    return {f"{what}/{name}": column for name, column in zip(names, columns.numpy().T, strict=True)}
