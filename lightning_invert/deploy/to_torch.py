"""A pair as programs of torch.export, its Jacobians inside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from lightning_invert.deploy.files import write_maps
from lightning_invert.deploy.maps import PhysicalMap
from lightning_invert.deploy.metadata import METADATA_KEY
from lightning_invert.pair.module import ForwardInverseModule

__all__ = ["export_torch"]


def export_torch(pair: ForwardInverseModule, folder: str | Path) -> dict[str, Path]:
    r"""Write ``forward.pt2``, ``inverse.pt2`` and ``round_trip.pt2``, each with its Jacobian.

    They run where there is torch, without this package: ``torch.export.load(file).module()`` is a
    function of points, (N, n) in physical units and float64 for any N, that returns what the map
    gives, (N, m), and its Jacobian, (N, m, n), both in physical units and float64. What the map
    gives can be differentiated further. Each was loaded and compared with the pair before it got
    its name.

    To load such a file is to run what it holds: load no stranger's.

    Args:
        pair: A trained pair, which stays as it is. Dropout and the like are off in the files.
        folder: Is made; if it exists, a number is added to the name.

    Returns:
        The files, by the names of the maps. Beside the program each has the extra file
        ``lightning_invert``: the JSON of :func:`lightning_invert.deploy.metadata.describe`.

    Raises:
        TypeError: If ``pair`` is none, or ``folder`` no path.
        ValueError: If a network cannot be exported; the error names the cause. Nothing is written
            then.
        RuntimeError: If a file does not compute what the pair does. Nothing is written then.
        OSError: If the folder cannot be written.

    Example:
        >>> import tempfile
        >>> from torch import nn
        >>> pair = ForwardInverseModule(nn.Linear(3, 2), nn.Linear(2, 3))
        >>> pair.scale_x.fit(torch.zeros(3), torch.ones(3))
        >>> pair.scale_y.fit(torch.zeros(2), torch.ones(2))
        >>> files = export_torch(pair, Path(tempfile.mkdtemp(), "exported"))
        >>> y, jacobian = torch.export.load(files["forward"]).module()(torch.zeros(5, 3).double())
        >>> y.shape, jacobian.shape
        (torch.Size([5, 2]), torch.Size([5, 2, 3]))
    """
    return write_maps(pair, folder, ".pt2", _write)


def _write(
    one: PhysicalMap, program: ExportedProgram, metadata: str, file: Path
) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    torch.export.save(program, file, extra_files={METADATA_KEY: metadata})
    loaded: Any = torch.export.load(file).module()

    def run(points: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            outputs, jacobian = loaded(points)
        return outputs, jacobian

    return run
