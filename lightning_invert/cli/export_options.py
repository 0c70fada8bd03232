"""The options of ``lightning-invert export``; its help loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lightning_invert.cli.options import ALLOW, Names, option

__all__ = ["DESCRIPTION", "FIRST", "Options"]

FIRST = "ckpt"
"""The option whose name may be left out of the first word."""

DESCRIPTION = """\
Write the maps of a trained pair to files that run elsewhere, each with its Jacobian.

  lightning-invert export --ckpt pair.ckpt --to onnx
  lightning-invert export --ckpt pair.ckpt --to page
  lightning-invert export --ckpt pair.ckpt --to page --cost prices.yaml --backtest backtest.json
"""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of ``export``."""

    ckpt: str = option("Checkpoint of a ForwardInverseModule.")
    to: Literal["onnx", "page"] = option(
        "Kind of the files. onnx: runs wherever ONNX Runtime does. page: one HTML file that an "
        "operator opens in a browser. Both take and give physical units, in float64."
    )
    folder: str | None = option(
        "Folder of the files, by default `exported` in the run of the checkpoint, or else here. An "
        "existing folder is not touched: a number is added to its name.",
        None,
    )
    runtime: str | None = option(
        "For a page: folder with the npm package onnxruntime-web. By default it is looked for in "
        "node_modules and in the user's cache, and fetched once with `npm pack`.",
        None,
    )
    online: bool = option(
        "For a page: load onnxruntime-web from a public address when the page is opened.", False
    )
    title: str | None = option("For a page: its title.", None)
    cost: dict[str, float] | None = option(
        "For a page: prices of a unit of the settings, {name: price} or a YAML file. It begins with them.",
        None,
    )
    backtest: str | None = option(
        "For a page: the backtest.json that `backtest` wrote. It says what would have been saved.",
        None,
    )
    allow: Names | None = option(ALLOW, None)
