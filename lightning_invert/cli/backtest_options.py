"""The options of ``lightning-invert backtest``; its help loads no torch."""

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

__all__ = ["DESCRIPTION", "FIRST", "Options"]

FIRST = "data"
"""The option whose name may be left out of the first word."""

DESCRIPTION = """\
Compare what a history cost with the cheapest settings for the same outcomes.

  lightning-invert backtest history.csv --ckpt pair.ckpt --cost prices.yaml

The table has a column for each setting, as it was in force, and for each outcome, as measured; other
columns are ignored. Rows that the pair was trained on are left out. The pair itself predicts the
outcomes of its proposals, too kindly: rely on those that are certified.
"""


@dataclass(frozen=True, kw_only=True)
class Options(TableFormat):
    """Options of ``backtest``, and how its tables are written."""

    ckpt: str = option(CKPT)
    data: str = option(f"Table of the history in physical units ({FILES}).")
    cost: dict[str, float] = option(PRICES)
    constraints: dict[str, dict[str, float]] | None = option(
        "Constraints between settings, as for `solve`: {fuel: {coal: 1, gas: 1, high: 200}}.", None
    )
    like_data: float | None = option(
        "As for `solve`: 0.9 keeps proposals like nine of ten training rows.", None
    )
    fixed: dict[str, float] | None = option(FIXED, None)
    bounds: dict[str, tuple[float | None, float | None]] | None = option(BOUNDS, None)
    include_known: bool = option(
        "Whether to keep rows that the pair was trained on; the result is then too good.", False
    )
    num_starts: int = option("Number of starts of the search for each row.", 8)
    tolerance: float = option("An outcome is reached at this distance, in standard units.", 1e-3)
    folder: str | None = option(
        f"Folder of the table, backtest.json and the figure. Default: `backtest` {NEW_FOLDER}", None
    )
    table: Literal["csv", "parquet"] = option("Format of the table.", "csv")
    figures: bool = option("Whether to draw the figure.", True)
    allow: Names | None = option(ALLOW, None)
    progress: bool = option(PROGRESS, True)
