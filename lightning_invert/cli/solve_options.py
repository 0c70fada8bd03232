"""The options of ``lightning-invert solve``, and the settings that they speak of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from lightning_invert.cli.options import ALLOW, Names, check_names, option
from lightning_invert.cli.tables import open_table
from lightning_invert.cli.targets import TargetTable, Within, read_columns
from lightning_invert.solver.cost import Near
from lightning_invert.solver.rows import first_index
from lightning_invert.tables import TableFormat
from lightning_invert.variables import Bounds, Variable

__all__ = ["SolveOptions", "read_bounds", "read_cost", "read_fixed"]


@dataclass(frozen=True, kw_only=True)
class SolveOptions(TableFormat):
    """Options of ``solve``, and how its tables are written."""

    ckpt: str = option("Checkpoint of a ForwardInverseModule.")
    targets: str = option(
        "Table of targets in physical units, a row for each: a .csv, .tsv, .txt, .dat, each also as "
        ".gz, .parquet, .pq or .xlsx file."
    )
    cost: dict[str, float] | None = option(
        "Prices of a unit of the settings, {name: price} or a YAML file. Of all settings that reach "
        "a target, the cheapest are proposed.",
        None,
    )
    near: str | None = option(
        "Table of the present settings, with one row, or a row for each target. Of all settings "
        "that reach a target, the nearest to them are proposed, in standard units.",
        None,
    )
    fixed: dict[str, float] | None = option("Fixed settings, {name: value} or a YAML file.", None)
    within: Within | None = option(
        "How far an outcome may be from its value: a percentage for all, like 5%, or by name, in "
        "percent or in the outcome's unit, like {rate: 2%, gas: 10}. By default 0.",
        None,
    )
    bounds: dict[str, tuple[float | None, float | None]] | None = option(
        "Bounds of the settings, {name: [low, high]} or a YAML file. They replace the ranges that "
        "the checkpoint knows; null keeps an end.",
        None,
    )
    num_starts: int = option("Number of starts of the search for each target.", 8)
    tolerance: float = option("A target is reached at this distance, in standard units.", 1e-3)
    folder: str | None = option(
        "Folder of the proposals, figures and summary.json, which holds the units; by default "
        "`proposals` in the run of the checkpoint, or else here. An existing folder is not touched: a "
        "number is added to its name.",
        None,
    )
    table: Literal["csv", "parquet"] = option("Kind of the table of proposals.", "csv")
    figures: bool = option("Whether to draw figures.", True)
    allow: Names | None = option(ALLOW, None)
    progress: bool = option(
        "Whether to show a progress bar if it takes long and the output is a terminal.", True
    )


def read_bounds(
    bounds: Mapping[str, tuple[float | None, float | None]] | None,
    known: Bounds | None,
    inputs: Sequence[Variable],
) -> Bounds:
    """Return the known bounds of the n inputs with the ends that ``bounds`` replaces."""
    names = [variable.name for variable in inputs]
    check_names("--bounds", bounds or {}, names, "settings")
    read = (known or Bounds.of_variables(inputs)).replaced(bounds or {}, inputs)
    if not read.closed.all():
        missing = [name for name, closed in zip(names, read.closed, strict=True) if not closed]
        raise ValueError(
            f"Expected bounds of {', '.join(map(repr, missing))}, but the checkpoint has neither "
            f"ranges nor rows of its data. Give --bounds '{{{missing[0]}: [low, high]}}' or a YAML "
            "file."
        )
    return read


def read_fixed(
    fixed: Mapping[str, float] | None, targets: TargetTable, inputs: Sequence[str]
) -> dict[str | int, Any]:
    """Return the fixed settings of the option and of the table of targets."""
    check_names("--fixed", fixed or {}, inputs, "settings")
    if both := [name for name in fixed or {} if name in targets.fixed]:
        raise ValueError(
            f"Expected {both[0]!r} in --fixed or in a column of {str(targets.reader.file)!r}, but got both."
        )
    values: dict[str | int, Any] = {}
    values.update(targets.fixed)
    values.update(fixed or {})
    return values


def read_cost(
    options: SolveOptions, variables: Sequence[Variable], num_targets: int
) -> dict[str, float] | Near | None:
    """Return the cost of the n inputs: prices, or the distance from a table of settings."""
    prices, near = options.cost, options.near
    inputs = [variable.name for variable in variables]
    if prices is not None and near is not None:
        raise ValueError("Expected at most one of --cost and --near, but got both.")
    if prices is not None:
        check_names("--cost", prices, inputs, "settings")
        return prices
    if near is None:
        return None
    reader = open_table(near, inputs, options, variables)
    reference = torch.stack(list(read_columns(reader).values()), 1)
    if len(reference) not in (1, num_targets):
        raise ValueError(
            f"Expected {near!r} to have one row, or one for each of the {num_targets} targets, but it "
            f"has {len(reference)}."
        )
    missing = ~reference.isfinite()
    if missing.any():
        row = first_index(missing.any(1))
        raise ValueError(
            f"Expected column {inputs[first_index(missing[row])]!r} of {near!r} to have a finite number in "
            f"every row, but {reader.row_name(row)} has none."
        )
    return Near(reference[0] if len(reference) == 1 else reference)
