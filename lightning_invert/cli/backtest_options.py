"""The options of ``lightning-invert backtest``; its help loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lightning_invert.cli.options import ALLOW, Names, option
from lightning_invert.tables import TableFormat

__all__ = ["DESCRIPTION", "FIRST", "Options"]

FIRST = "data"
"""The option whose name may be left out of the first word."""

DESCRIPTION = """\
Tell what a history would have cost with the cheapest settings for the same outcomes.

  lightning-invert backtest history.csv --ckpt pair.ckpt --cost prices.yaml

A row has a column of each setting that was in force and of each outcome, as measured; other columns are
left aside. Rows that the pair was trained on are left out. The pair itself predicts what its proposals
lead to, and is too kind to them: look at what is certified.
"""


@dataclass(frozen=True, kw_only=True)
class Options(TableFormat):
    """Options of ``backtest``, and how its tables are written."""

    ckpt: str = option("Checkpoint of a ForwardInverseModule.")
    data: str = option(
        "Table of the history in physical units: a .csv, .tsv, .txt, .dat, each also as .gz, .parquet, .pq or "
        ".xlsx file."
    )
    cost: dict[str, float] = option(
        "Prices of a unit of the settings, {name: price} or a YAML file."
    )
    constraints: dict[str, dict[str, float]] | None = option(
        "Constraints between settings, as for `solve`: like {fuel: {coal: 1, gas: 1, high: 200}}.",
        None,
    )
    fixed: dict[str, float] | None = option("Fixed settings, {name: value} or a YAML file.", None)
    bounds: dict[str, tuple[float | None, float | None]] | None = option(
        "Bounds of the settings, {name: [low, high]} or a YAML file. They replace the ranges that "
        "the checkpoint knows; null keeps an end.",
        None,
    )
    include_known: bool = option(
        "Whether to keep rows that the pair was trained on: the result is too good.", False
    )
    num_starts: int = option("Number of starts of the search for each row.", 8)
    tolerance: float = option("An outcome is reached at this distance, in standard units.", 1e-3)
    folder: str | None = option(
        "Folder of the table, backtest.json and the figure; by default `backtest` in the run of the "
        "checkpoint, or else here. An existing folder is not touched: a number is added to its name.",
        None,
    )
    table: Literal["csv", "parquet"] = option("Kind of the table.", "csv")
    figures: bool = option("Whether to draw the figure.", True)
    allow: Names | None = option(ALLOW, None)
    progress: bool = option(
        "Whether to show a progress bar if it takes long and the output is a terminal.", True
    )
