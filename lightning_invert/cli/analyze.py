"""The command ``lightning-invert analyze``: measure where a trained map can be inverted."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor, nn

from lightning_invert.analysis.analyze import analyze
from lightning_invert.cli.checkpoint import folder_of_results, import_name, load_pair
from lightning_invert.cli.options import ALLOW, Names, check_names, listed, option, run_command
from lightning_invert.cli.tables import open_table
from lightning_invert.jacobians.thresholds import Thresholds
from lightning_invert.pair.module import ForwardInverseModule
from lightning_invert.problems import KNOWN
from lightning_invert.report.files import replace_file
from lightning_invert.report.words import report_table
from lightning_invert.tables import TableFormat, TableReader, TableWriter
from lightning_invert.watch.findings.directions import Directions
from lightning_invert.watch.findings.runs import OverRuns
from lightning_invert.watch.findings.truth import AgainstTruth, Truth
from lightning_invert.watch.maps import WatchedMap
from lightning_invert.watch.observation import Observation
from lightning_invert.watch.resolution import resolve_maps

__all__ = ["main"]

DESCRIPTION = """\
Measure where a trained map can be inverted, at all points of a file.

  lightning-invert analyze --ckpt pair.ckpt --data measurements.csv
  lightning-invert analyze --ckpt pair.ckpt --data measurements.csv --runs a.ckpt,b.ckpt
  lightning-invert analyze --function package.module:name --data points.csv --inputs a,b,c
"""


@dataclass(frozen=True, kw_only=True)
class AnalyzeOptions(TableFormat):
    """Options of ``analyze``, and how its table is written."""

    data: str = option(
        "Points: a table (.csv, .tsv, .txt, .dat, each also as .gz, .parquet, .pq, .xlsx), a .npy file "
        "with an array (N, ...), or package.module:name of a data module (its validation points are taken), of a "
        "tensor or of an iterable of batches."
    )
    ckpt: str | None = option("Checkpoint of a ForwardInverseModule. Or give --function.", None)
    function: str | None = option(
        "package.module:name of a module or function (N, n) -> (N, m).", None
    )
    maps: Names | None = option(
        "Maps of the checkpoint: forward, inverse, round_trip; one, or a,b. By default all.",
        None,
    )
    inputs: Names | None = option(
        "Columns of the file that are the inputs of the map. By default those that the checkpoint "
        "names, or else all columns.",
        None,
    )
    outputs: Names | None = option("Names of the outputs of the map.", None)
    truth: str | None = option(
        "Compare the Jacobians with the true map: package.module:name of a differentiable function "
        "(N, n) -> (N, m) in physical units, the name of a known process such as blast_furnace, or "
        "the checkpoint of another run.",
        None,
    )
    runs: Names | None = option(
        "Other trainings of the same map: checkpoints (with --function: names like it). The spread "
        "of their condition numbers is the error bar of each.",
        None,
    )
    scale: Literal["standardized", "physical"] | None = option(
        "Units of the Jacobians. By default standardized where the map has statistics.", None
    )
    precision: Literal["native", "float64"] = option(
        "Arithmetic of the Jacobians: that of the map, or float64.", "native"
    )
    thresholds: Thresholds = option("Thresholds of rank, condition number and bands", Thresholds())
    folder: str | None = option(
        "Folder of the tables, figures and summary.json, by default `analysis` in the run of the "
        "checkpoint, or else here. An existing folder is not touched: a number is added to its name.",
        None,
    )
    table: Literal["csv", "parquet", "none"] = option(
        "Kind of the tables, which have a row for each point.", "csv"
    )
    figures: bool = option("Whether to draw figures.", True)
    directions: bool = option(
        "Whether the tables name the weakest directions, which takes an SVD a point.", True
    )
    allow: Names | None = option(ALLOW, None)


def analyze_maps(options: AnalyzeOptions) -> None:
    """Analyse the maps of a checkpoint or a function."""
    tasks = _tasks(options)
    allow = listed(options.allow)
    truths = [] if options.truth is None else [options.truth]
    others = {name: _open(name, allow) for name in (*truths, *listed(options.runs))}
    folder = folder_of_results(options.folder, options.ckpt, "analysis")
    observations: list[Observation] = []
    for task in tasks:
        watched = _with_others(task, options, others)
        points = _points(options, task)
        table = None
        if options.table != "none":
            form = points.reader.found if isinstance(points, _Batches) else None
            table = TableWriter(folder / f"{watched.name}.{options.table}", form)
        try:
            observation = analyze(
                watched,
                points,
                scale=options.scale,
                thresholds=options.thresholds,
                precision=options.precision,
                table=table,
                directions=options.directions,
            )
        except RuntimeError as error:
            raise ValueError(
                f"Expected {options.data!r} to hold points of the map {watched.name!r}, but the map "
                f"fails there: {error}"
            ) from error
        observations.append(observation)
        if options.figures:
            observation.save_figures(folder)
    summary = {observation.name: _record(observation) for observation in observations}
    replace_file(folder / "summary.json", json.dumps(summary, indent=2))
    print(report_table(observations))
    print(f"Tables, figures, summary: {folder}")


@dataclass(frozen=True)
class _Task:
    """A map, the columns of a file that are its inputs, and the pair that it belongs to."""

    watched: WatchedMap
    columns: tuple[str, ...] | None
    pair: ForwardInverseModule | None = None


def _tasks(options: AnalyzeOptions) -> list[_Task]:
    inputs, outputs = (tuple(listed(names)) or None for names in (options.inputs, options.outputs))
    if (options.ckpt is None) == (options.function is None):
        raise ValueError("Expected exactly one of --ckpt and --function.")
    if options.function is not None:
        if options.maps is not None:
            raise ValueError("Expected --maps only with --ckpt: --function has one map.")
        function = import_name(options.function)
        if not callable(function):
            raise TypeError(
                f"Expected --function to name a module or a function, but {options.function} is of "
                f"type {type(function).__name__}."
            )
        root = function if isinstance(function, nn.Module) else nn.Module()
        spec = {"module": function, "input_names": inputs, "output_names": outputs}
        (watched,) = resolve_maps({options.function.rpartition(":")[2]: spec}, root)
        return [_Task(watched, inputs)]
    pair = load_pair(str(options.ckpt), listed(options.allow))
    maps = {watched.name: watched for watched in resolve_maps(None, pair)}
    names = listed(options.maps) or list(maps)
    check_names("--maps", names, maps, "maps of the checkpoint")
    inputs, outputs = inputs or pair.input_names, outputs or pair.output_names
    return [_Task(maps[name], inputs if name == "forward" else outputs, pair) for name in names]


def _open(name: str, allow: Sequence[str]) -> Any:
    """Return the pair, known process or importable object that --truth or --runs names."""
    if name.endswith(".ckpt"):
        return load_pair(name, allow, "--truth and --runs")
    return KNOWN[name]().forward if name in KNOWN else import_name(name)


def _with_others(task: _Task, options: AnalyzeOptions, others: dict[str, Any]) -> WatchedMap:
    """Return a map with its truth and with the same map of other runs."""
    watched = task.watched
    if options.truth is not None:
        truth = _truth(options.truth, others[options.truth], task)
        if truth is not None:
            watched = watched.asking(AgainstTruth(watched.name, truth))
    runs = tuple(_same_map(name, others[name], task) for name in listed(options.runs))
    return watched.asking(OverRuns(runs)) if runs else watched


def _truth(name: str, truth: Any, task: _Task) -> WatchedMap | None:
    """Return the truth of a map; an inverse has none but in another run."""
    if isinstance(truth, ForwardInverseModule):
        return replace(_same_map(name, truth, task), name="other run")
    if task.pair is not None:
        maps = resolve_maps(task.pair.invertibility_maps(truth), task.pair)
        (against,) = (m.question(AgainstTruth) for m in maps if m.name == task.watched.name)
        return None if against is None else against.truth
    return replace(_same_map(name, truth, task), name="truth")


def _same_map(name: str, other: Any, task: _Task) -> WatchedMap:
    if isinstance(other, ForwardInverseModule) != (task.pair is not None):
        raise ValueError(
            "Expected --truth and --runs to name checkpoints with --ckpt, and package.module:name "
            f"with --function, but got {name!r}."
        )
    if isinstance(other, ForwardInverseModule):
        return next(run for run in resolve_maps(None, other) if run.name == task.watched.name)
    (resolved,) = resolve_maps(
        {name: other}, other if isinstance(other, nn.Module) else nn.Module()
    )
    return resolved


def _points(options: AnalyzeOptions, task: _Task) -> Any:
    data = options.data
    if data.endswith(".npy"):
        return _array(data)
    if ":" not in data or Path(data).exists():
        # A function without weights gets the dtype that its author would have used.
        has_weights = any(True for _ in task.watched.owner.parameters())
        pair = task.pair
        known = () if pair is None else (*(pair.inputs or ()), *(pair.outputs or ()))
        reader = open_table(data, task.columns, options, known)
        return _Batches(reader, None if has_weights else torch.get_default_dtype())
    points = import_name(data)
    if isinstance(points, type) and issubclass(points, LightningDataModule):
        points = points()
    if isinstance(points, LightningDataModule):
        points.prepare_data()
        points.setup("validate")
        return points.val_dataloader()
    return points() if callable(points) else points


def _array(file: str) -> Tensor:
    if not Path(file).is_file():
        raise FileNotFoundError(f"Expected --data to name a file, but there is no {file!r}.")
    try:
        # Copied on write: no more of it is in memory than is looked at.
        return torch.from_numpy(np.load(file, mmap_mode="c", allow_pickle=False))
    except (ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        # What follows the first sentence advises to load the file all the same.
        reason = str(error).partition(".")[0]
        raise ValueError(
            f"Expected {file!r} to hold an array of numbers, but it cannot be read: {reason}."
        ) from error


@dataclass(frozen=True)
class _Batches:
    """The rows of a file; unlike a generator it can be read again."""

    reader: TableReader
    dtype: torch.dtype | None

    def __iter__(self) -> Iterator[Tensor]:
        for piece in self.reader.read():
            yield piece.to_torch().to(self.dtype)


def _record(observation: Observation) -> dict[str, Any]:
    truth, directions = observation.finding(Truth), observation.finding(Directions)
    inputs, outputs = (None, None) if directions is None else directions.shares(observation)
    scalars = {  # JSON has no infinity
        name: value if math.isfinite(value) else str(value)
        for name, value in observation.scalars.items()
    }
    return {
        "outputs": observation.shape[0],
        "inputs": observation.shape[1],
        "points": observation.num_points,
        "scale": observation.scale,
        "truth": None if truth is None else truth.name,
        "bands": list(observation.thresholds.bands),
        **scalars,
        "weakest_inputs": inputs,
        "weakest_outputs": outputs,
    }


def main(args: Sequence[str]) -> None:
    """Run the command with the arguments after ``analyze``."""
    run_command("analyze", DESCRIPTION, AnalyzeOptions, analyze_maps, args)
