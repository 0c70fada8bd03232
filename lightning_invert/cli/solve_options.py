"""The options of ``lightning-invert solve``; its help loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lightning_invert.cli.options import (
    ALLOW,
    BOUNDS,
    CKPT,
    FILES,
    FIXED,
    NEW_FOLDER,
    PRICES,
    PROGRESS,
    Names,
    option,
)
from lightning_invert.tables import TableFormat

__all__ = ["DESCRIPTION", "FIRST", "Options", "Within"]

FIRST = "targets"
"""The option whose name may be left out of the first word."""

DESCRIPTION = """\
Propose settings for target outcomes: read a table of targets, write a table of proposals.

  lightning-invert solve targets.csv --ckpt pair.ckpt
  lightning-invert solve targets.csv --ckpt pair.ckpt --within 2% --cost prices.yaml
  lightning-invert solve targets.csv --ckpt pair.ckpt --fixed '{wind_rate: 200}'

A row is a target. Its columns:
  NAME of an outcome    the wanted value; the outcome is free if the cell is empty or the column missing
  NAME_low, NAME_high   the ends of an interval; an empty end is open
  NAME of a setting     the value at which this setting is fixed
"""

Within = float | str | dict[str, float | str]
"""An amount or a percentage, for all outcomes or by name: ``5%`` or ``{rate: 2%, gas: 10}``."""


@dataclass(frozen=True, kw_only=True)
class Options(TableFormat):
    """Options of ``solve``, and how its tables are written."""

    ckpt: str = option(CKPT)
    targets: str = option(
        f"Table of targets in physical units ({FILES}); or one target, '{{yield: 90, purity_low: 99}}'."
    )
    cost: dict[str, float] | None = option(
        f"{PRICES} Propose the cheapest settings that reach a target.", None
    )
    near: str | None = option(
        "Table of the present settings: one row, or a row for each target. Propose the settings nearest "
        "to them that reach a target, in standard units.",
        None,
    )
    max_changes: int | None = option(
        "How many settings may differ from those of --near. --cost may then rank the proposals.",
        None,
    )
    ramp: dict[str, float] | None = option(
        "How far a setting may move from that of --near, {name: amount} or a YAML file. --cost may then "
        "rank the proposals.",
        None,
    )
    constraints: dict[str, dict[str, float]] | None = option(
        "Constraints between settings, by name or in a YAML file: weights of a sum and its ends, such as "
        "{fuel: {coal: 1, gas: 1, low: 100, high: 200}}. Equal ends make an equation. Default: those of "
        "the checkpoint; {} for none.",
        None,
    )
    like_data: float | None = option(
        "Keep proposals like the data: none is less like the training rows than this share of them, such as "
        "0.9. A cost drives settings to where nobody has measured.",
        None,
    )
    plausible: bool = option(
        "Propose the settings most like the training data that reach a target: what varies together "
        "there stays together.",
        False,
    )
    weights: dict[str, float] | None = option(
        "How much the miss of an outcome counts if a target cannot be reached, {name: weight} or a YAML "
        "file; 1 for the others.",
        None,
    )
    setting_error: dict[str, float] | None = option(
        "Standard deviation of what a setting is really set to, {name: amount} or a YAML file. The table "
        "then says how far the outcomes spread.",
        None,
    )
    robust: bool = option(
        "Propose the settings that reach a target and at which --setting_error spreads the outcomes "
        "least.",
        False,
    )
    fixed: dict[str, float] | None = option(FIXED, None)
    within: Within | None = option(
        "How far an outcome may be from its value: a percentage for all, such as 5%, or by name, in "
        "percent or in the outcome's unit, such as {rate: 2%, gas: 10}. Default: 0.",
        None,
    )
    bounds: dict[str, tuple[float | None, float | None]] | None = option(BOUNDS, None)
    windows: float | dict[str, float] | None = option(
        "Also find how far each setting can go while the others compensate and each outcome stays this "
        "near to its target: in standard units, or by name in the outcome's unit, such as {rate: 5}.",
        None,
    )
    num_starts: int = option("Number of starts of the search for each target.", 8)
    tolerance: float = option("A target is reached at this distance, in standard units.", 1e-3)
    folder: str | None = option(
        f"Folder of table, figures and summary.json. Default: `proposals` {NEW_FOLDER}", None
    )
    table: Literal["csv", "parquet"] = option("Format of the table of proposals.", "csv")
    figures: bool = option("Whether to draw figures.", True)
    allow: Names | None = option(ALLOW, None)
    progress: bool = option(PROGRESS, True)
