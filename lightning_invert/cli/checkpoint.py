"""Checkpoints and importable names, as options of a command name them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal

from lightning_invert.pair.module import ForwardInverseModule
from lightning_invert.tables import unused_path
from lightning_invert.variables import Variable, as_variables

__all__ = ["folder_of_results", "import_name", "load_pair", "run_of", "variables_of"]


def load_pair(ckpt: str, allow: Sequence[str], option: str = "--ckpt") -> ForwardInverseModule:
    """Load the pair of a checkpoint, in evaluation mode; ``option`` named it, for an error.

    What ``allow`` names is also found in the current folder.
    """
    if not Path(ckpt).is_file():
        raise FileNotFoundError(
            f"Expected {option} to name a checkpoint, but there is no file {ckpt!r}."
        )
    with _current_folder() if allow else nullcontext():
        return ForwardInverseModule.load_from_checkpoint(ckpt, allow=allow).eval()


def variables_of(pair: ForwardInverseModule, side: Literal["x", "y"]) -> tuple[Variable, ...]:
    """Return the variables of settings or outcomes; by position where they have no names."""
    variables, scale = (pair.inputs, pair.scale_x) if side == "x" else (pair.outputs, pair.scale_y)
    if variables is None and not scale.fitted:
        raise ValueError(
            "Expected a checkpoint of a pair that was fitted to data, but it knows neither names nor "
            "statistics of its columns."
        )
    return as_variables(variables, side, len(variables) if variables else len(scale.mean))


def run_of(ckpt: str | None) -> Path | None:
    """Return the folder of the run that a checkpoint is of, if it lies in the ``checkpoints`` of one."""
    folders = Path(ckpt or "").parents  # one below, where a monitor's name has a slash
    return next((folder.parent for folder in folders[:2] if folder.name == "checkpoints"), None)


def folder_of_results(folder: str | None, ckpt: str | None, name: str) -> Path:
    """Return a new folder: the given one, or ``name`` in the checkpoint's run, or else here."""
    return unused_path((run_of(ckpt) or Path()) / name if folder is None else Path(folder))


def import_name(name: str) -> Any:
    """Import ``package.module:name``, also from the current folder."""
    module, colon, attribute = name.partition(":")
    if not colon:
        raise ValueError(f"Expected package.module:name, but got {name!r}.")
    try:
        with _current_folder():
            value = importlib.import_module(module)
            for part in attribute.split("."):
                value = getattr(value, part)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"Expected {name!r} to be importable, but {error}.") from error
    return value


@contextmanager
def _current_folder() -> Iterator[None]:
    """Find modules in the current folder, as ``python -m`` does."""
    sys.path.insert(0, "")
    try:
        yield
    finally:
        sys.path.remove("")
