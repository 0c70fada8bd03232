"""The command ``lightning-invert analyze``: measure where a trained map can be inverted."""

from __future__ import annotations

import json
import math
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor, nn

from lightning_invert.analysis.analyze import analyze
from lightning_invert.analysis.points import TableRows
from lightning_invert.cli.analyze_options import Options
from lightning_invert.cli.checkpoint import folder_of_results, import_name, load_pair
from lightning_invert.cli.next_steps import print_next, solve_step
from lightning_invert.cli.options import check_names, listed
from lightning_invert.cli.tables import open_table
from lightning_invert.jacobians.thresholds import Thresholds
from lightning_invert.pair.module import ForwardInverseModule
from lightning_invert.pair.settings import read_settings
from lightning_invert.problems import KNOWN
from lightning_invert.report.files import replace_file
from lightning_invert.report.words import report_table
from lightning_invert.tables import TableWriter
from lightning_invert.watch.findings.directions import Directions
from lightning_invert.watch.findings.runs import OverRuns
from lightning_invert.watch.findings.truth import AgainstTruth, Truth
from lightning_invert.watch.maps import WatchedMap
from lightning_invert.watch.observation import Observation
from lightning_invert.watch.resolution import resolve_maps

__all__ = ["run"]


def run(options: Options) -> None:
    """Analyse the maps of a checkpoint or a function."""
    tasks = _tasks(options)
    allow = listed(options.allow)
    truths = [] if options.truth is None else [options.truth]
    others = {name: _open(name, allow) for name in (*truths, *listed(options.runs))}
    folder = folder_of_results(options.folder, options.ckpt, "analysis")
    thresholds = read_settings(Thresholds, "thresholds", options.thresholds or {})
    observations: list[Observation] = []
    said = set[str]()
    for task in tasks:
        watched = _with_others(task, options, others)
        points = _points(options, task, said)
        table = None
        if options.table != "none":
            form = points.reader.found if isinstance(points, TableRows) else None
            table = TableWriter(folder / f"{watched.name}.{options.table}", form)
        try:
            observation = analyze(
                watched,
                points,
                scale=options.scale,
                thresholds=thresholds,
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
    if options.ckpt is not None and tasks[0].pair is not None:
        print_next(solve_step(options.ckpt, tasks[0].pair))


@dataclass(frozen=True)
class _Task:
    """A map, the columns of a file that are its inputs, and the pair that it belongs to."""

    watched: WatchedMap
    columns: tuple[str, ...] | None
    pair: ForwardInverseModule | None = None


def _tasks(options: Options) -> list[_Task]:
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


def _with_others(task: _Task, options: Options, others: dict[str, Any]) -> WatchedMap:
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


def _points(options: Options, task: _Task, said: set[str]) -> Any:
    data = options.data
    if data.endswith(".npy"):
        return _array(data)
    if ":" not in data or Path(data).exists():
        # A function without weights gets the dtype that its author would have used.
        has_weights = any(True for _ in task.watched.owner.parameters())
        pair = task.pair
        known = () if pair is None else (*(pair.inputs or ()), *(pair.outputs or ()))
        reader = open_table(data, task.columns, options, known, said)
        dtype = None if has_weights else torch.get_default_dtype()
        fill = None
        if pair is not None and task.watched.name == "forward":
            fill = pair.proposer.surrogate.filled
        return TableRows(reader, dtype, fill)
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
        # What follows advises to load the file all the same.
        reason = re.split(r"\.| when allow_pickle", str(error))[0]
        raise ValueError(
            f"Expected {file!r} to hold an array of numbers, but it cannot be read: {reason}."
        ) from error


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
