"""The command ``lightning-invert export``: write a trained pair to files that run elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lightning_invert.cli.checkpoint import folder_of_results, load_pair, variables_of
from lightning_invert.cli.export_options import Options
from lightning_invert.cli.next_steps import print_next
from lightning_invert.cli.options import check_names, listed
from lightning_invert.deploy import build_page, export_onnx

__all__ = ["run"]


def run(options: Options) -> None:
    """Export the pair of a checkpoint."""
    of_page = {
        name: getattr(options, name) for name in ("runtime", "online", "title", "cost", "backtest")
    }
    given = [name for name, value in of_page.items() if value not in (None, False)]
    if options.to != "page" and given:
        raise ValueError(f"Expected --{given[0]} only with --to page, but got --to {options.to}.")
    pair = load_pair(options.ckpt, listed(options.allow))
    if options.to == "page":
        names = [variable.name for variable in variables_of(pair, "x")]
        check_names("--cost", options.cost or {}, names, "settings")
        of_page["prices"] = of_page.pop("cost")
        of_page["backtest"] = _read_summary(options.backtest)
    folder = folder_of_results(options.folder, options.ckpt, "exported")
    if options.to == "page":
        page = build_page(pair, folder / "page.html", **of_page)
        print(f"page: {page}")
        print_next(f"open {page} in a browser")
        return
    files = export_onnx(pair, folder)
    for name, file in files.items():
        print(f"{name}: {file}")
    call = f'onnxruntime.InferenceSession("{files["forward"]}").run(None, {{"x": x}})'
    print_next(f"y, jacobian = {call}")


def _read_summary(file: str | None) -> dict[str, Any] | None:
    """Read what ``backtest`` wrote; :func:`.build_page` judges what is in it."""
    if file is None:
        return None
    if not Path(file).is_file():
        raise FileNotFoundError(
            f"Expected --backtest to name the backtest.json of `backtest`, but there is no file {file!r}."
        )
    try:
        summary: dict[str, Any] = json.loads(Path(file).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"Expected --backtest to name the backtest.json of `backtest`, but {file!r} is no JSON: {error}"
        ) from None
    return summary
