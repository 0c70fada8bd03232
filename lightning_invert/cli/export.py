"""The command ``lightning-invert export``: a trained pair, to run elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from lightning_invert.cli.checkpoint import opened_pair
from lightning_invert.cli.command import run_command
from lightning_invert.cli.options import listed
from lightning_invert.deploy import build_page, export_onnx
from lightning_invert.tables import unused

__all__ = ["main"]

DESCRIPTION = """\
Write the maps of a trained pair to files that run elsewhere, each with its Jacobian.

  lightning-invert export --ckpt pair.ckpt --to onnx
  lightning-invert export --ckpt pair.ckpt --to page
"""

Kind = Literal["onnx", "page"]


def export_pair(
    ckpt: str,
    to: Kind,
    folder: str = "exported",
    runtime: str | None = None,
    online: bool = False,
    title: str | None = None,
    allow: str | None = None,
) -> None:
    """Export the pair of a checkpoint.

    Args:
        ckpt: Checkpoint of a ForwardInverseModule.
        to: What is written: onnx, three files that run wherever ONNX Runtime does; page, one HTML
            file that an operator opens in a browser. Both take and give physical units, in float64.
        folder: Where to. An existing folder is not touched: a number is added to the name.
        runtime: Of a page: folder with the npm package onnxruntime-web; by default it is looked for
            in node_modules and in the user's cache, and fetched once with `npm pack`.
        online: Of a page: load onnxruntime-web from a public address when it is opened.
        title: Of a page: what it is called.
        allow: Packages, modules and classes, separated by commas, that the checkpoint may have
            imported and run. Without it, only torch's layers and this package's own networks and
            schedules.
    """
    if to != "page" and (runtime is not None or online or title is not None):
        raise ValueError(
            f"Expected --runtime, --online and --title with --to page alone, but got --to {to}."
        )
    pair = opened_pair(ckpt, listed(allow))
    if to == "page":
        file = unused(Path(folder)) / "page.html"
        written: dict[str, Path] = {
            to: build_page(pair, file, runtime=runtime, online=online, title=title)
        }
    else:
        written = export_onnx(pair, Path(folder))
    for name, file in written.items():
        print(f"{name}: {file}")


def main(args: Sequence[str]) -> None:
    """Run the command.

    Args:
        args: The arguments after ``export``.
    """
    run_command("export", DESCRIPTION, export_pair, args)
