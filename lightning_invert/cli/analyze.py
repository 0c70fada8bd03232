"""The command ``lightning-invert analyze``: where can a trained map be inverted?"""

from __future__ import annotations

import importlib
import json
import math
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor, nn

from lightning_invert.analysis.analyze import analyze
from lightning_invert.cli.checkpoint import current_folder, opened_pair
from lightning_invert.cli.command import run_command
from lightning_invert.cli.options import listed
from lightning_invert.jacobians.thresholds import Thresholds
from lightning_invert.pair.module import ForwardInverseModule
from lightning_invert.problems import KNOWN
from lightning_invert.report.files import replace_file
from lightning_invert.report.words import report_table
from lightning_invert.tables import read_table, unused
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
  lightning-invert analyze --export surrogate.pt2 --allow_export true --data points.npy
  lightning-invert analyze --function package.module:name --data points.parquet --inputs a,b,c
"""


def analyze_map(
    data: str,
    ckpt: str | None = None,
    export: str | None = None,
    function: str | None = None,
    maps: str | None = None,
    inputs: str | None = None,
    outputs: str | None = None,
    folder: str = "analysis",
    table: Literal["parquet", "csv", "none"] = "parquet",
    figures: bool = True,
    directions: bool = True,
    truth: str | None = None,
    runs: str | None = None,
    scale: Literal["standardized", "physical"] | None = None,
    precision: Literal["native", "float64"] = "native",
    allow: str | None = None,
    allow_export: bool = False,
    rank_atol: float = Thresholds.rank_atol,
    rank_rtol: float = Thresholds.rank_rtol,
    singular_floor: float = Thresholds.singular_floor,
    bands: tuple[float, float] = Thresholds.bands,
) -> None:
    """Analyse the maps of a checkpoint, an exported program or a function of one's own.

    Args:
        data: Where the points come from: a .csv, .tsv, .csv.gz, .tsv.gz, .parquet or .pq file, a
            .npy file with an array of shape (N, ...), or ``package.module:name`` of a data module,
            whose validation points are taken, or of a tensor or an iterable of batches.
        ckpt: Checkpoint of a ForwardInverseModule.
        export: File that ``torch.export.save`` wrote, exported with a dynamic batch dimension. To
            load it is to run what it holds: only with ``--allow_export true``.
        function: ``package.module:name`` of a module or function (N, n) -> (N, m).
        maps: Which maps of a checkpoint: some of forward,inverse,round_trip; by default all.
        inputs: Columns of the file that go in, separated by commas. By default those of the names
            that the checkpoint knows, else all columns.
        outputs: Names of the outputs, separated by commas.
        folder: Where to write the tables, figures and summary.json. An existing folder is not
            touched: a number is added to the name.
        table: Kind of the tables with a row for each point.
        figures: Whether to draw.
        directions: Whether the tables name the weakest directions, which takes an SVD a point.
        truth: What the Jacobians are held against: ``package.module:name`` of the true map (N, n) ->
            (N, m), in physical units and differentiable; the name of a known process, such as
            blast_furnace; or another checkpoint, of another run.
        runs: Checkpoints of other runs, separated by commas (of ``--function``: names like it):
            the spread of the condition numbers over all of them is the error bar of each.
        scale: In what units; by default standardised where the map has statistics.
        precision: In what the Jacobians are computed.
        allow: Packages, modules and classes, separated by commas, that checkpoints may have
            imported and run. Without it, only torch's layers and this package's own networks and
            schedules.
        allow_export: Whether the program of ``--export`` may run whatever it holds. Say true only
            if you know who made the file.
        rank_atol: A singular value counts for the rank if it is above this ...
        rank_rtol: ... and above this times the largest.
        singular_floor: The condition number is infinite if the smallest singular value is below.
        bands: Condition numbers where *stable* ends and *ill-conditioned* begins.
    """
    names = (_names(inputs), _names(outputs))
    if export is not None and not allow_export:
        raise ValueError(
            f"Expected --allow_export true with --export, as loading {export!r} runs whatever code "
            "it holds: torch.export.load cannot tell a program from an attack. Say so if you know "
            "who made it."
        )
    tasks = _tasks(ckpt, export, function, _names(maps), *names, allow=listed(allow))
    others = {name: _opened(name, listed(allow)) for name in (*listed(truth), *listed(runs))}
    where = unused(Path(folder))
    found: list[Observation] = []
    for task in tasks:
        try:
            one = analyze(
                _held_against(task.watched, truth, listed(runs), others),
                _points(data, task),
                scale=scale,
                thresholds=Thresholds(rank_atol, rank_rtol, singular_floor, bands),
                precision=precision,
                table=None if table == "none" else where / f"{task.watched.name}.{table}",
                directions=directions,
            )
        except RuntimeError as error:
            raise ValueError(
                f"Expected {data!r} to hold points for the map {task.watched.name!r}, but there it "
                f"fails: {error}"
            ) from error
        found.append(one)
        if figures:
            found[-1].save_figures(where)
    replace_file(where / "summary.json", _summary(found))
    print(report_table(found))
    print(f"Tables, figures, summary: {where}")


@dataclass(frozen=True)
class _Task:
    watched: WatchedMap
    columns: tuple[str, ...] | None


def _tasks(
    ckpt: str | None,
    export: str | None,
    function: str | None,
    maps: tuple[str, ...] | None,
    inputs: tuple[str, ...] | None,
    outputs: tuple[str, ...] | None,
    *,
    allow: Sequence[str],
) -> list[_Task]:
    given = [name for name in (ckpt, export, function) if name is not None]
    if len(given) != 1:
        raise ValueError(
            f"Expected exactly one of --ckpt, --export and --function, but got {len(given)} of them."
        )
    if ckpt is not None:
        return _of_pair(ckpt, maps, inputs, outputs, allow)
    if maps is not None:
        raise ValueError("Expected --maps only with --ckpt: there is one map without.")
    if export is not None:
        name, (found, root) = Path(export).stem, _exported(export)
    else:
        name, found = str(function).rpartition(":")[2], _imported(str(function))
        root = found if isinstance(found, nn.Module) else nn.Module()
    if not callable(found):
        raise TypeError(
            f"Expected --function to name a module or a function, but {function} is of type "
            f"{type(found).__name__}."
        )
    spec = {"module": found, "input_names": inputs, "output_names": outputs}
    (watched,) = resolve_maps({name: spec}, root)
    return [_Task(watched, inputs)]


def _of_pair(
    ckpt: str,
    maps: tuple[str, ...] | None,
    inputs: tuple[str, ...] | None,
    outputs: tuple[str, ...] | None,
    allow: Sequence[str],
) -> list[_Task]:
    pair = opened_pair(ckpt, allow)
    inputs, outputs = inputs or pair.input_names, outputs or pair.output_names
    known = {watched.name: watched for watched in resolve_maps(None, pair)}
    unknown = sorted(set(maps or ()) - set(known))
    if unknown:
        raise ValueError(f"Expected --maps to be some of {','.join(known)}, but got {unknown}.")
    columns = {"forward": inputs, "inverse": outputs, "round_trip": outputs}
    return [_Task(known[name], columns[name]) for name in maps or known]


def _opened(name: str, allow: Sequence[str]) -> Any:
    """Return what --truth or --runs names: a pair, a known process, or what is importable."""
    if name.endswith(".ckpt"):
        return opened_pair(name, allow, "--truth and --runs")
    if name in KNOWN:
        return KNOWN[name]().forward
    return _imported(name)


def _held_against(
    watched: WatchedMap, truth: str | None, runs: Sequence[str], others: Mapping[str, Any]
) -> WatchedMap:
    """Return a map with its truth, and the same map of other runs."""
    if truth is not None and (true := _truth(truth, others[truth], watched)) is not None:
        watched = watched.asking(AgainstTruth(watched.name, true))
    if not runs:
        return watched
    return watched.asking(OverRuns(tuple(_same_map(name, others[name], watched) for name in runs)))


def _truth(name: str, truth: Any, watched: WatchedMap) -> WatchedMap | None:
    """Return what a map is held against; an inverse has no truth, but another run has one, too."""
    if isinstance(truth, ForwardInverseModule):
        return replace(_same_map(name, truth, watched), name="other run")
    if isinstance(watched.owner, ForwardInverseModule):
        maps = resolve_maps(watched.owner.invertibility_maps(truth), watched.owner)
        (against,) = (other.question(AgainstTruth) for other in maps if other.name == watched.name)
        return None if against is None else against.truth
    return replace(_same_map(name, truth, watched), name="truth")


def _same_map(name: str, other: Any, watched: WatchedMap) -> WatchedMap:
    if isinstance(other, ForwardInverseModule) != isinstance(watched.owner, ForwardInverseModule):
        raise ValueError(
            f"Expected --truth and --runs to name checkpoints with --ckpt, and package.module:name "
            f"without, but got {name!r}."
        )
    if isinstance(other, ForwardInverseModule):
        return next(one for one in resolve_maps(None, other) if one.name == watched.name)
    (found,) = resolve_maps({name: other}, other if isinstance(other, nn.Module) else nn.Module())
    return found


def _exported(file: str) -> tuple[Callable[[Tensor], Tensor], nn.Module]:
    if not Path(file).is_file():
        raise FileNotFoundError(f"Expected --export to name a file, but there is no {file!r}.")
    try:
        program = torch.export.load(file).module()
    except Exception as error:  # a damaged file can fail anywhere in the reader
        raise ValueError(
            f"Expected {file!r} to be a file of torch.export.save, but it cannot be read: {error}"
        ) from error

    def evaluate(x: Tensor) -> Tensor:
        try:
            return program(x)  # type: ignore[no-any-return]
        except (AssertionError, RuntimeError) as error:
            # What torch 2.6 raises for a length is a RuntimeError, as so much else is.
            if isinstance(error, RuntimeError) and ".shape[0]" not in str(error):
                raise
            raise ValueError(
                f"Expected {file!r} to take batches of any length, but it refused {len(x)} points "
                f"({error}). Export it with a dynamic batch dimension: dynamic_shapes="
                "({0: torch.export.Dim('batch')},)."
            ) from error

    return evaluate, program


def _imported(name: str) -> Any:
    module, colon, attribute = name.partition(":")
    if not colon:
        raise ValueError(f"Expected package.module:name, but got {name!r}.")
    try:
        with current_folder():
            found = importlib.import_module(module)
            for part in attribute.split("."):
                found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"Expected {name!r} to be importable, but: {error}") from error
    return found


def _points(data: str, task: _Task) -> Any:
    if data.endswith(".npy"):
        if not Path(data).is_file():
            raise FileNotFoundError(f"Expected --data to name a file, but there is no {data!r}.")
        try:
            # A copy on write, so that no more of it is in memory than is looked at.
            return torch.from_numpy(np.load(data, mmap_mode="c", allow_pickle=False))
        except (ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"Expected {data!r} to hold an array of numbers, but it cannot be read: "
                f"{str(error).partition('.')[0]}."  # what follows advises to load it all the same
            ) from error
    if ":" not in data or Path(data).exists():
        # A function without weights of its own is given what its author would have given it.
        module = any(True for _ in task.watched.owner.parameters())
        return _Batches(data, task.columns, None if module else torch.get_default_dtype())
    points = _imported(data)
    if isinstance(points, type) and issubclass(points, LightningDataModule):
        points = points()
    if isinstance(points, LightningDataModule):
        points.prepare_data()
        points.setup("validate")
        return points.val_dataloader()
    return points() if callable(points) else points


@dataclass(frozen=True)
class _Batches:
    """The rows of a file; unlike a generator it can be read again."""

    file: str
    columns: Sequence[str] | None
    dtype: torch.dtype | None

    def __iter__(self) -> Iterator[Tensor]:
        for piece in read_table(self.file, self.columns):
            yield piece.to_torch().to(self.dtype)


def _names(text: str | None) -> tuple[str, ...] | None:
    return tuple(listed(text)) or None


def _summary(observations: Sequence[Observation]) -> str:
    return json.dumps({one.name: _record(one) for one in observations}, indent=2)


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
        "held_against": None if truth is None else truth.name,
        "bands": list(observation.thresholds.bands),
        **scalars,
        "weakest_inputs": inputs,
        "weakest_outputs": outputs,
    }


def main(args: Sequence[str]) -> None:
    """Run the command.

    Args:
        args: The arguments after ``analyze``.
    """
    run_command("analyze", DESCRIPTION, analyze_map, args)
