"""The options of ``lightning-invert observe``; its help loads no torch."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_invert.cli.options import ALLOW, CKPT, FILES, Names, option
from lightning_invert.tables import TableFormat

__all__ = ["DESCRIPTION", "FIRST", "Options"]

FIRST = "data"
"""The option whose name may be left out of the first word."""

DESCRIPTION = """\
Update a trained pair with outcomes that were measured at tried settings.

  lightning-invert observe tried.csv --ckpt pair.ckpt

The table has a row for each trial, with a column for each setting and each measured outcome; other
columns are ignored. The bands judge the rows; an alarm says if the process has changed. A new
checkpoint keeps the rows, and its bands and predictions follow them.
"""


@dataclass(frozen=True, kw_only=True)
class Options(TableFormat):
    """Options of ``observe``, and how its table is written."""

    ckpt: str = option(CKPT)
    data: str = option(f"Table of the trials, in their order, in physical units ({FILES}).")
    out: str | None = option(
        "Name of the new checkpoint; it replaces a file of that name. Default: `pair_observed.ckpt` beside "
        "pair.ckpt, and no file is replaced.",
        None,
    )
    allow: Names | None = option(ALLOW, None)
