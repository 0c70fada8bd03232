"""All maps of a pair in a folder, or no folder."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor
from torch.export import ExportedProgram

from lightning_invert.arguments import check_text, wrong
from lightning_invert.deploy.check import check
from lightning_invert.deploy.maps import MAP_NAMES, PhysicalMap, physical_map, settled
from lightning_invert.deploy.metadata import described
from lightning_invert.deploy.program import trace
from lightning_invert.jacobians.contexts import differentiable
from lightning_invert.pair.module import ForwardInverseModule
from lightning_invert.tables import unused

__all__ = ["Writer", "write_maps"]

Writer = Callable[
    [PhysicalMap, ExportedProgram, str, Path], Callable[[Tensor], tuple[Tensor, Tensor]]
]
"""Writes a program with its metadata to a file, and returns what evaluates that file."""


def write_maps(
    pair: ForwardInverseModule, folder: str | Path, suffix: str, write: Writer
) -> dict[str, Path]:
    """Write each map of a pair to a file, run it, and compare it with the pair.

    Args:
        pair: It stays as it is.
        folder: Where to; a number is added to its name if it exists.
        suffix: Of the files' names.
        write: Writes one.

    Returns:
        The files, by the names of the maps.

    Raises:
        TypeError: If ``pair`` is none, or ``folder`` no path.
        ValueError: If a network cannot be exported. Nothing is written then.
        RuntimeError: If a file does not compute what the pair does. Nothing is written then.
        OSError: If the folder cannot be written.
    """
    target = _unused_folder(folder)
    with isolate_rng(include_cuda=False), differentiable("cpu"), _whole(target) as beside:
        final = settled(pair)
        for name in MAP_NAMES:
            one = physical_map(final, name)
            file = beside / f"{name}{suffix}"
            run = write(one, trace(one), described(final, name), file)
            check(one, run, file.name)
    return {name: target / f"{name}{suffix}" for name in MAP_NAMES}


def _unused_folder(folder: str | Path) -> Path:
    if not isinstance(folder, Path):
        check_text("folder", folder)
    path = Path(folder)
    if path.name in ("", ".."):
        raise ValueError(wrong("folder", "the path of a folder that is to be made", str(folder)))
    return unused(path)


@contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """Give a folder to write to, that gets its name when all went well and else is taken away."""
    beside = target.with_name(f".{uuid.uuid4().hex}.part")
    beside.mkdir(parents=True)
    try:
        yield beside
        beside.rename(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
