"""The options of ``lightning-invert observe``; its help loads no torch."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_invert.cli.options import ALLOW, Names, option
from lightning_invert.tables import TableFormat

__all__ = ["DESCRIPTION", "FIRST", "Options"]

FIRST = "data"
"""The option whose name may be left out of the first word."""

DESCRIPTION = """\
Tell a trained pair what was measured where its proposals were tried.

  lightning-invert observe tried.csv --ckpt pair.ckpt

A row is a trial: a column of each setting and of each outcome, as measured; other columns are left
aside. The bands judge the rows, and an alarm tells if the process has changed. The new checkpoint knows
the rows: its bands and its predictions follow them.
"""


@dataclass(frozen=True, kw_only=True)
class Options(TableFormat):
    """Options of ``observe``, and how its table is written."""

    ckpt: str = option("Checkpoint of a ForwardInverseModule.")
    data: str = option(
        "Table of the trials in physical units, in the order in which they were made: a .csv, .tsv, "
        ".txt, .dat, each also as .gz, .parquet, .pq or .xlsx file."
    )
    out: str | None = option(
        "Name of the new checkpoint, which replaces a file of that name. By default it lies beside the "
        "old one, `pair_observed.ckpt`, and no file is replaced.",
        None,
    )
    allow: Names | None = option(ALLOW, None)
