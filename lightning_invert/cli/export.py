"""The command ``lightning-invert export``: write a trained pair to files that run elsewhere."""

from __future__ import annotations

from lightning_invert.cli.checkpoint import folder_of_results, load_pair
from lightning_invert.cli.export_options import Options
from lightning_invert.cli.next_steps import print_next
from lightning_invert.cli.options import listed
from lightning_invert.deploy import build_page, export_onnx

__all__ = ["run"]


def run(options: Options) -> None:
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
        print_next(f"open {page} in a browser")
        return
    files = export_onnx(pair, folder)
    for name, file in files.items():
        print(f"{name}: {file}")
    call = f'onnxruntime.InferenceSession("{files["forward"]}").run(None, {{"x": x}})'
    print_next(f"y, jacobian = {call}")
