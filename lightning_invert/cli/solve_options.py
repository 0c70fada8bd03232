"""The options of ``lightning-invert solve``; its help loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lightning_invert.cli.options import ALLOW, Names, option
from lightning_invert.tables import TableFormat

__all__ = ["DESCRIPTION", "FIRST", "Options", "Within"]

FIRST = "targets"
"""The option whose name may be left out of the first word."""

DESCRIPTION = """\
Read a table with a row for each target; write a table with a row for each proposal.

  lightning-invert solve targets.csv --ckpt pair.ckpt
  lightning-invert solve targets.csv --ckpt pair.ckpt --within 2% --cost prices.yaml
  lightning-invert solve targets.csv --ckpt pair.ckpt --fixed '{wind_rate: 200}'

A column of the targets with the name of an outcome holds its values; `name_low` and `name_high` hold
the ends of an interval. An outcome without a column, or with an empty cell, is free; an empty end is
open. A column with the name of a setting fixes it.
"""

Within = float | str | dict[str, float | str]
"""An amount or a percentage, for all outcomes or by name: ``5%`` or ``{rate: 2%, gas: 10}``."""


@dataclass(frozen=True, kw_only=True)
class Options(TableFormat):
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
    max_changes: int | None = option(
        "How many settings may differ from the present ones of --near. Beside it, --cost may say which "
        "of these settings are proposed.",
        None,
    )
    ramp: dict[str, float] | None = option(
        "How far a setting may be from the present one of --near, {name: amount} or a YAML file. "
        "Beside it, --cost may say which of these settings are proposed.",
        None,
    )
    constraints: dict[str, dict[str, float]] | None = option(
        "Constraints between settings, by name or in a YAML file: the weights of a sum and its ends, "
        "low and high, like {fuel: {coal: 1, gas: 1, high: 200}}. Equal ends make an equation. By default "
        "those that the checkpoint keeps; {} for none.",
        None,
    )
    plausible: bool = option(
        "Of all settings that reach a target, whether to propose the most like the training data: what "
        "varies together there stays together.",
        False,
    )
    weights: dict[str, float] | None = option(
        "What a miss of each outcome counts where a target cannot be reached, {name: weight} or a YAML "
        "file; 1 where it is not named.",
        None,
    )
    setting_error: dict[str, float] | None = option(
        "How exactly a setting is set, its standard deviation, {name: amount} or a YAML file: tells how "
        "far the outcomes spread.",
        None,
    )
    robust: bool = option(
        "Of all settings that reach a target, whether to propose those at which the outcomes spread least "
        "by --setting_error.",
        False,
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
    windows: float | dict[str, float] | None = option(
        "Also tell how far each setting can go while the others compensate and each outcome stays this "
        "near to its target: in standard units, or by name in the outcome's unit, like {rate: 5}.",
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
