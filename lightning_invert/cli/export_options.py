"""The options of ``lightning-invert export``; its help loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lightning_invert.cli.options import ALLOW, CKPT, NEW_FOLDER, PRICES, Names, option

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

    ckpt: str = option(CKPT)
    to: Literal["onnx", "page"] = option(
        "What to write. onnx: files for ONNX Runtime. page: one HTML file that an operator opens in a "
        "browser. Both use physical units, in float64."
    )
    folder: str | None = option(f"Folder of the files. Default: `exported` {NEW_FOLDER}", None)
    runtime: str | None = option(
        "For a page: folder with the npm package onnxruntime-web. Default: node_modules, then the user's "
        "cache, which `npm pack` fills once.",
        None,
    )
    online: bool = option(
        "For a page: load onnxruntime-web from a public address when the page is opened.", False
    )
    title: str | None = option("For a page: its title.", None)
    cost: dict[str, float] | None = option(f"For a page: {PRICES} It begins with them.", None)
    backtest: str | None = option(
        "For a page: the backtest.json of `backtest`, to show what would have been saved.", None
    )
    allow: Names | None = option(ALLOW, None)
