"""The command ``lightning-invert export``: write a trained pair to files that run elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lightning_invert.cli.checkpoint import folder_of_results, load_pair
from lightning_invert.cli.options import ALLOW, Names, listed, option, run_command
from lightning_invert.deploy import build_page, export_onnx

__all__ = ["main"]

DESCRIPTION = """\
Write the maps of a trained pair to files that run elsewhere, each with its Jacobian.

  lightning-invert export --ckpt pair.ckpt --to onnx
  lightning-invert export --ckpt pair.ckpt --to page
"""


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
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
    allow: Names | None = option(ALLOW, None)


def export_pair(options: ExportOptions) -> None:
    """Export the pair of a checkpoint."""
    of_page = options.runtime is not None or options.online or options.title is not None
    if options.to != "page" and of_page:
        raise ValueError(
            "Expected --runtime, --online and --title only with --to page, but got --to "
            f"{options.to}."
        )
    pair = load_pair(options.ckpt, listed(options.allow))
    folder = folder_of_results(options.folder, options.ckpt, "exported")
    if options.to == "page":
        file = folder / "page.html"
        page = build_page(
            pair, file, runtime=options.runtime, online=options.online, title=options.title
        )
        print(f"page: {page}")
        return
    for name, file in export_onnx(pair, folder).items():
        print(f"{name}: {file}")


def main(args: Sequence[str]) -> None:
    """Run the command with the arguments after ``export``."""
    run_command("export", DESCRIPTION, ExportOptions, export_pair, args)
