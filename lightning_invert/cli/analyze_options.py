"""The options of ``lightning-invert analyze``; its help loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lightning_invert.cli.options import ALLOW, CKPT, FILES, NEW_FOLDER, Names, option
from lightning_invert.tables import TableFormat

__all__ = ["DESCRIPTION", "FIRST", "Options"]

FIRST = "data"
"""The option whose name may be left out of the first word."""

DESCRIPTION = """\
Measure where a trained map can be inverted, at all points of a file.

  lightning-invert analyze measurements.csv --ckpt pair.ckpt
  lightning-invert analyze measurements.csv --ckpt pair.ckpt --runs a.ckpt,b.ckpt
  lightning-invert analyze --function package.module:name --data points.csv --inputs a,b,c
"""


@dataclass(frozen=True, kw_only=True)
class Options(TableFormat):
    """Options of ``analyze``, and how its table is written."""

    data: str = option(
        f"Points: a table ({FILES}), a .npy file with an array (N, ...), or package.module:name of a "
        "tensor, an iterable of batches or a data module (its validation points)."
    )
    ckpt: str | None = option(f"{CKPT} Or give --function.", None)
    function: str | None = option(
        "package.module:name of a module or function (N, n) -> (N, m).", None
    )
    maps: Names | None = option(
        "Maps of the checkpoint, of forward,inverse,round_trip. Default: all.", None
    )
    inputs: Names | None = option(
        "Columns of the file that the map takes. Default: those of the checkpoint, else all.", None
    )
    outputs: Names | None = option("Names of the outputs of the map.", None)
    truth: str | None = option(
        "Compare the Jacobians with the true map: package.module:name of a differentiable function "
        "(N, n) -> (N, m) in physical units, the name of a known process such as blast_furnace, or "
        "the checkpoint of another run.",
        None,
    )
    runs: Names | None = option(
        "Other runs of the same map: checkpoints, or with --function package.module:name. The spread of "
        "the condition numbers is the error bar of each.",
        None,
    )
    scale: Literal["standardized", "physical"] | None = option(
        "Units of the Jacobians: standardized or physical. Default: standardized if the map has "
        "statistics.",
        None,
    )
    precision: Literal["native", "float64"] = option(
        "Arithmetic of the Jacobians: that of the map, or float64.", "native"
    )
    thresholds: dict[str, float | list[float]] | None = option(
        "Thresholds of rank, condition number and bands, or a YAML file. Default: {rank_atol: 1e-5, "
        "rank_rtol: 0, singular_floor: 1e-12, bands: [100, 10000]}.",
        None,
    )
    folder: str | None = option(
        f"Folder of tables, figures and summary.json. Default: `analysis` {NEW_FOLDER}", None
    )
    table: Literal["csv", "parquet", "none"] = option(
        "Format of the tables, which have a row for each point.", "csv"
    )
    figures: bool = option("Whether to draw figures.", True)
    directions: bool = option(
        "Whether to add the weakest directions to the tables, which takes an SVD for each point.",
        True,
    )
    allow: Names | None = option(ALLOW, None)
