"""The options of ``lightning-invert analyze``; its help loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lightning_invert.cli.options import ALLOW, Names, option
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
    thresholds: dict[str, float | list[float]] | None = option(
        "Thresholds of rank, condition number and bands, or a YAML file. By default {rank_atol: 1e-5, "
        "rank_rtol: 0, singular_floor: 1e-12, bands: [100, 10000]}.",
        None,
    )
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
