"""The checkpoint that a command is given."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from lightning_invert.pair.module import ForwardInverseModule

__all__ = ["current_folder", "opened_pair"]


def opened_pair(ckpt: str, allow: Sequence[str], option: str = "--ckpt") -> ForwardInverseModule:
    """Return the pair of a checkpoint, in evaluation mode.

    Args:
        ckpt: Path of the checkpoint.
        allow: What it may have imported and run; modules in the current folder are found.
        option: What named it, for the error.

    Raises:
        FileNotFoundError: If there is no such file.
        TypeError: If it needs what is not allowed.
        ValueError: If it is damaged.
    """
    if not Path(ckpt).is_file():
        raise FileNotFoundError(
            f"Expected {option} to name a checkpoint, but there is no file {ckpt!r}."
        )
    with current_folder() if allow else nullcontext():
        return ForwardInverseModule.load_from_checkpoint(ckpt, allow=allow).eval()


@contextmanager
def current_folder() -> Iterator[None]:
    """Find modules that lie in the current folder, as ``python -m`` does."""
    sys.path.insert(0, "")
    try:
        yield
    finally:
        sys.path.remove("")
