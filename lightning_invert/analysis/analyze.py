"""Look at a trained map outside of training, at as many points as there are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor, nn
from tqdm.auto import tqdm

from lightning_invert.jacobians.contexts import differentiable, evaluation_mode
from lightning_invert.jacobians.singular_values import log_volume
from lightning_invert.jacobians.spectrum import Spectra, measure_spectra
from lightning_invert.jacobians.thresholds import (
    BAND_NAMES,
    Thresholds,
    condition_number,
    numerical_rank,
)
from lightning_invert.report.words import MapReport, report_table
from lightning_invert.tables import TableWriter
from lightning_invert.watch.intervals import wilson_interval
from lightning_invert.watch.maps import WatchedMap, resolve_maps
from lightning_invert.watch.metric import InvertibilityMetric
from lightning_invert.watch.sampling import StreamSample

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Analysis", "analyze"]

KEPT = 2**18
"""So many points are kept for quantiles and figures: of more, a uniform sample."""

MOST_NUMBERS_KEPT = 2**26

POINTS_AT_ONCE = 2**15


@dataclass(frozen=True)
class Analysis:
    r"""What :func:`analyze` found.

    Attributes:
        report: The scalars of :class:`~lightning_invert.InvertibilityMetric` over all points, and
            what they were measured with. ``print`` shows it as a table with a verdict.
        inputs: The points, shape (N, \*), in the order in which they came; of more than 262 144 a
            uniform sample of so many, like the three below.
        singular_values: Shape (N, k), descending, float64; NaN where the Jacobian was not finite.
            Of Jacobians too large to be formed shape (N, 2): bounds of the largest and smallest.
        condition: :math:`\kappa`, shape (N,).
        rank: Shape (N,).
        input_names: Of the n inputs.
        output_names: Of the m outputs.
        weakest_inputs: Share of each input in the direction of :math:`\sigma_k`, if the directions
            were asked for: the mean square of its component, over all points. They add up to 1.
        weakest_outputs: Likewise of each output.
        table: The file with a row for each point, if one was asked for.
    """

    report: MapReport
    inputs: Tensor
    singular_values: Tensor
    condition: Tensor
    rank: Tensor
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    weakest_inputs: dict[str, float] | None
    weakest_outputs: dict[str, float] | None
    table: Path | None

    def __str__(self) -> str:
        return "\n".join([report_table([self.report]), *self.directions()])

    def directions(self) -> list[str]:
        """Say which outcome is the most expensive to reach, if the directions were asked for."""
        if self.weakest_inputs is None or self.weakest_outputs is None:
            return []
        outputs, inputs = _largest(self.weakest_outputs), _largest(self.weakest_inputs)
        return [f"{self.report.name}: most expensive to reach: {outputs}; it takes: {inputs}"]

    def figures(self) -> dict[str, Figure]:
        """Draw all figures of the map; those that show where, of up to 1024 inputs."""
        from lightning_invert.report.figures import map_figures

        return map_figures(
            self.report,
            self.singular_values,
            self.inputs.flatten(1) if len(self.input_names) <= 1024 else None,
            self.input_names,
        )

    def save_figures(self, folder: str | Path) -> list[Path]:
        """Save the figures as ``{map}_{figure}.png``.

        Args:
            folder: Where to; it is made if need be.

        Returns:
            The files.
        """
        from lightning_invert.report.figures import to_png

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        files = []
        for name, figure in self.figures().items():
            files.append(folder / f"{self.report.name}_{name}.png")
            files[-1].write_bytes(to_png(figure))
        return files


def analyze(
    function: Callable[[Tensor], Tensor] | nn.Module | WatchedMap,
    points: Any,
    *,
    name: str = "map",
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    scale: Literal["standardized", "physical"] | None = None,
    rank_atol: float = 1e-5,
    rank_rtol: float = 0.0,
    singular_floor: float = 1e-12,
    bands: tuple[float, float] = (100.0, 1e4),
    precision: Literal["native", "float64"] = "native",
    table: str | Path | None = None,
    directions: bool = False,
    progress: bool = True,
    seed: int = 42,
) -> Analysis:
    r"""Measure where a map can be inverted: what the callback logs, and a table of all points.

    The points pass in pieces: neither they nor the table have to fit into memory.

    The table has a row for each point, in the order in which they came: ``input/{name}``,
    ``output/{name}``, ``condition_number``, ``band`` (stable, moderate, ill-conditioned, singular
    or nonfinite), ``unresolved`` (whether :math:`\kappa` is beyond what the arithmetic can tell),
    ``rank``, ``log_volume`` and ``sigma_1``, ``sigma_2``, ... Where a Jacobian is too large to be
    formed (see :func:`~lightning_invert.jacobians.spectrum.measure_spectra`), these are ``rank_at_least``,
    ``sigma_max``, ``sigma_max_error``, ``sigma_min`` and ``sigma_min_error``. With ``directions`` also
    ``weakest_input/{name}`` and ``weakest_output/{name}``: the components of the singular vectors
    of :math:`\sigma_k`, see :func:`~lightning_invert.jacobians.singular_values.weakest_directions`.

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
        progress: Show a progress bar, if the output is a terminal.
        seed: Of the sample that is kept of more than 262 144 points.

    Returns:
        The summary, and the points with their spectra.

    Raises:
        ValueError: If an argument is out of its range or there are no points.
        TypeError: If the points are not floating tensors.

    Example:
        >>> a = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.01, 0.0]])
        >>> found = analyze(lambda x: x @ a.T, torch.randn(1000, 3))
        >>> found.report.scalars["full_rank_fraction"], round(found.condition.max().item())
        (1.0, 100)
    """
    watched = _as_map(function, name, input_names, output_names)
    metric = InvertibilityMetric(
        rank_atol=rank_atol, rank_rtol=rank_rtol, singular_floor=singular_floor, bands=bands
    )
    for argument, value, choices in (
        ("scale", scale, (None, "standardized", "physical")),
        ("precision", precision, ("native", "float64")),
    ):
        if value not in choices:
            raise ValueError(
                f"Expected argument `{argument}` to be one of {choices}, but got {value!r}."
            )
    given = watched.input_scale is not None and watched.output_scale is not None
    scale = scale or ("standardized" if given else "physical")
    pieces = _Pieces(watched, points, progress=progress, double=precision == "float64")
    if precision == "float64":
        watched = watched.in_float64()
    tally = _Tally(metric, seed)
    with (
        evaluation_mode([watched.owner]),
        TableWriter(table) if table is not None else nullcontext() as writer,
    ):
        scales = _scales(watched, pieces) if scale == "standardized" else None
        for x in pieces:
            found = _look(watched, x, scales, directions, check=tally.last is None)
            tally.add(found)
            if writer is not None:
                writer.write(_rows(found, metric))
    if tally.last is None:
        raise ValueError("Expected argument `points` to hold at least one point, but got none.")
    inputs, sigma = tally.kept()
    report = MapReport(
        watched.name,
        tally.last.spectra.shape,
        tally.total,
        tally.scalars(sigma),
        tally.last.spectra.resolvable,
        scale,
        bands,
        tally.last.spectra.complete,
        rank_atol,
        rank_rtol,
        singular_floor,
    )
    return Analysis(
        report,
        inputs,
        sigma,
        condition_number(sigma, floor=singular_floor),
        numerical_rank(sigma, atol=rank_atol, rtol=rank_rtol),
        tally.last.input_names,
        tally.last.output_names,
        tally.weakest(0),
        tally.weakest(1),
        writer.path if writer is not None else None,
    )


@dataclass(frozen=True)
class _Found:
    """What was found at some of the points, on the CPU."""

    inputs: Tensor  # (N, *)
    outputs: Tensor  # (N, m)
    spectra: Spectra
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]


class _Pieces:
    """The points, piece by piece, as the map takes them."""

    def __init__(self, watched: WatchedMap, points: Any, *, progress: bool, double: bool) -> None:
        if isinstance(points, np.ndarray):
            points = torch.from_numpy(points)
        if isinstance(points, Tensor):
            points = [points]
        if not isinstance(points, Iterable):
            raise TypeError(
                "Expected argument `points` to be a tensor, an array or an iterable of batches, "
                f"but got {type(points).__name__}."
            )
        self.watched, self.batches, self.progress = watched, points, progress
        whole = isinstance(points, list) and all(isinstance(part, Tensor) for part in points)
        self.total = sum(map(len, points)) if whole else None
        self.again = not isinstance(points, Iterator)
        own = (*watched.owner.parameters(), *watched.owner.buffers())
        floating = [tensor for tensor in own if tensor.is_floating_point()]
        self.device = floating[0].device if floating else None
        self.dtype = torch.float64 if double else floating[0].dtype if floating else None

    def __iter__(self) -> Iterator[Tensor]:
        # None: no bar where nobody sees it.
        silent = None if self.progress else True
        with tqdm(
            desc=self.watched.name,
            total=self.total,
            unit=" points",
            unit_scale=True,
            disable=silent,
        ) as bar:
            for batch in self.batches:
                x = batch if isinstance(batch, Tensor) else self.watched.select(batch)
                if not x.is_floating_point() or x.ndim < 2:
                    raise TypeError(
                        "Expected argument `points` to be floating, of shape (N, n), but got "
                        f"{x.dtype} of shape {tuple(x.shape)}."
                    )
                for some in x.split(POINTS_AT_ONCE) if len(x) else ():
                    yield some.to(device=self.device, dtype=self.dtype)
                    bar.update(len(some))


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


def _scales(watched: WatchedMap, pieces: _Pieces) -> tuple[Tensor, Tensor]:
    """Return the spread of each input and output: the map's own, or that of the points."""
    if watched.input_scale is not None and watched.output_scale is not None:
        return watched.input_scale, watched.output_scale
    if not pieces.again:
        raise ValueError(
            "Expected argument `points` to be something that can be read twice with "
            "`scale='standardized'`, but got an iterator: give a tensor, a list or a DataLoader."
        )
    count, mean, squares = 0, torch.zeros(()), torch.zeros(())
    for x in pieces:
        with torch.no_grad():
            y = watched(x)
        rows = torch.cat([x.flatten(1), y.reshape(len(x), -1)], 1).cpu().double()
        # The update of T. F. Chan, G. H. Golub and R. J. LeVeque (1979): no large squares cancel.
        total, shift = count + len(rows), rows.mean(0) - mean
        squares = squares + (rows - rows.mean(0)).square().sum(0)
        squares = squares + shift.square() * count * len(rows) / total
        mean, count = mean + shift * len(rows) / total, total
        n = x.flatten(1).shape[1]
    if count == 0:
        raise ValueError("Expected argument `points` to hold at least one point, but got none.")
    spread = (squares / max(1, count - 1)).sqrt()
    spread = torch.where(spread > 0, spread, 1.0).to(x.device)
    return spread[:n], spread[n:]


def _look(
    watched: WatchedMap,
    x: Tensor,
    scales: tuple[Tensor, Tensor] | None,
    directions: bool,
    *,
    check: bool,
) -> _Found:
    with differentiable(x.device.type):
        x = x.detach().clone()
        with torch.no_grad():
            y = watched(x).reshape(len(x), -1)
        n, m = x[:1].numel(), y.shape[1]
        input_names = _names("input", watched.input_names, n)
        output_names = _names("output", watched.output_names, m)
        spectra = measure_spectra(watched, x, scales=scales, directions=directions, check=check)
    x, y, spectra = apply_to_collection((x, y, spectra), Tensor, Tensor.cpu)
    return _Found(x, y, spectra, input_names, output_names)


def _names(side: str, given: Sequence[str] | None, count: int) -> tuple[str, ...]:
    if given is None:
        return tuple(f"{'x' if side == 'input' else 'y'}{i}" for i in range(count))
    if len(given) != count:
        raise ValueError(
            f"Expected argument `{side}_names` to name the {count} {side}s, but got {len(given)}: "
            f"{list(given)}."
        )
    return tuple(given)


def _largest(shares: Mapping[str, float], most: int = 3) -> str:
    ordered = sorted(shares.items(), key=lambda item: -item[1])[:most]
    return ", ".join(f"{name} ({share:.0%})" for name, share in ordered if share >= 0.005)


def _rows(found: _Found, metric: InvertibilityMetric) -> dict[str, Any]:
    """Return the columns of the table."""
    import polars

    spectra = found.spectra
    sigma = spectra.singular_values
    rank = partial(numerical_rank, atol=metric.rank_atol, rtol=metric.rank_rtol)
    cond = condition_number(sigma, floor=metric.singular_floor)
    band = Thresholds(bands=metric.bands).band(cond)
    columns = {
        **_by_name("input", found.input_names, found.inputs.flatten(1)),
        **_by_name("output", found.output_names, found.outputs),
        "condition_number": cond.numpy(),
        "band": polars.Series(BAND_NAMES, dtype=polars.Enum(BAND_NAMES)).gather(band.numpy()),
        "unresolved": (cond > spectra.resolvable).numpy(),
    }
    if spectra.extremes is None:
        columns |= {
            "rank": rank(sigma).numpy(),
            "log_volume": log_volume(sigma).numpy(),
            **{f"sigma_{i}": values for i, values in enumerate(sigma.numpy().T, start=1)},
        }
    else:
        columns |= {
            "rank_at_least": rank(spectra.extremes.lower_bounds).numpy(),
            "sigma_max": spectra.extremes.largest.numpy(),
            "sigma_max_error": spectra.extremes.largest_error.numpy(),
            "sigma_min": spectra.extremes.smallest.numpy(),
            "sigma_min_error": spectra.extremes.smallest_error.numpy(),
        }
    if spectra.weakest is not None:
        columns |= _by_name("weakest_input", found.input_names, spectra.weakest.inputs)
        columns |= _by_name("weakest_output", found.output_names, spectra.weakest.outputs)
    return columns


def _by_name(what: str, names: Sequence[str], table: Tensor) -> dict[str, Any]:
    columns = table.float() if table.dtype in (torch.float16, torch.bfloat16) else table
    return {f"{what}/{name}": column for name, column in zip(names, columns.numpy().T, strict=True)}


class _Tally:
    """What is kept of all points: exact shares, and a sample for the rest."""

    def __init__(self, metric: InvertibilityMetric, seed: int) -> None:
        self.metric = metric
        self.seed = seed
        self.total = self.finite = 0
        self.last: _Found | None = None
        self.shares: dict[str, float] = {}
        self.sample: StreamSample | None = None
        self.squares: list[Tensor] | None = None

    def add(self, found: _Found) -> None:
        sigma = found.spectra.singular_values
        if self.sample is None:
            numbers = found.inputs[:1].numel() + sigma.shape[1]
            self.sample = StreamSample(min(KEPT, MOST_NUMBERS_KEPT // numbers), seed=self.seed)
        order = torch.arange(self.total, self.total + len(sigma))
        self.sample.add({"order": order, "inputs": found.inputs, "sigma": sigma})
        finite = int(sigma.isfinite().all(1).sum())
        for name, value in self._compute(sigma, found.spectra).items():
            if name.endswith("_fraction") or name == "effective_rank":
                weight = len(sigma) if name == "nonfinite_fraction" else finite
                self.shares[name] = self.shares.get(name, 0.0) + weight * value
        if found.spectra.weakest is not None:
            ends = (found.spectra.weakest.inputs, found.spectra.weakest.outputs)
            squares = [part.double().square().nan_to_num(0.0).sum(0) for part in ends]
            before = self.squares or [torch.zeros(()), torch.zeros(())]
            self.squares = [old + new for old, new in zip(before, squares, strict=True)]
        self.total += len(sigma)
        self.finite += finite
        self.last = found

    def weakest(self, side: int) -> dict[str, float] | None:
        """Return the share of each input (side 0) or output (side 1) in the weakest direction."""
        if self.squares is None or self.last is None:
            return None
        shares = self.squares[side] / max(1, self.finite)
        names = (self.last.input_names, self.last.output_names)[side]
        return dict(zip(names, shares.tolist(), strict=True))

    def kept(self) -> tuple[Tensor, Tensor]:
        """Return the points and singular values that were kept, in the order in which they came."""
        assert self.sample is not None
        rows = self.sample.rows()
        order = rows["order"].argsort()
        return rows["inputs"][order], rows["sigma"][order]

    def scalars(self, sigma: Tensor) -> dict[str, float]:
        """Return the summary: shares and means of all points, quantiles of those that were kept."""
        assert self.last is not None
        scalars = self._compute(sigma, self.last.spectra)
        for name, total in self.shares.items():
            count = self.total if name == "nonfinite_fraction" else self.finite
            scalars[name] = total / max(1, count)
        ends = wilson_interval(scalars["full_rank_fraction"], self.finite)
        scalars["full_rank_fraction_low"], scalars["full_rank_fraction_high"] = ends
        return scalars

    def _compute(self, sigma: Tensor, spectra: Spectra) -> dict[str, float]:
        self.metric.reset()
        self.metric.update(sigma, resolvable=spectra.resolvable, complete=spectra.complete)
        return {name: value.item() for name, value in self.metric.compute().items()}
