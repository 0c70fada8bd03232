"""Networks and schedules inside a checkpoint, so that it loads without being told what it holds.

``torch.load`` opens checkpoints with ``weights_only=True``, which admits no classes. So the parts
that a checkpoint needs beside its weights are kept as bytes, and unpacked by the same restricted
reader with exactly those classes admitted that are networks or schedules: nothing else in such a
file can run.
"""

from __future__ import annotations

import importlib
import io
from typing import Any

import torch
from torch import Tensor, nn

from lightning_invert.pair.objective import AlphaSchedule

__all__ = ["pack", "unpack"]

_FUNCTIONS = ("torch.nn.functional", "torch._C._nn")  # the homes of relu and of gelu


def pack(part: nn.Module | AlphaSchedule) -> Tensor:
    """Return ``part`` as bytes, shape (size,), uint8.

    Raises:
        TypeError: If it cannot be pickled, like a network that holds a lambda.

    Example:
        >>> unpack(pack(nn.Linear(3, 2)))
        Linear(in_features=3, out_features=2, bias=True)
    """
    buffer = io.BytesIO()
    try:
        torch.save(part, buffer)
        _admitted(buffer)
    except Exception as error:
        raise TypeError(f"{type(part).__name__} cannot be kept in a checkpoint: {error}") from error
    return torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8)


def unpack(packed: Tensor) -> Any:
    """Return what :func:`pack` was given, on the CPU.

    Raises:
        TypeError: If it needs anything but networks, schedules and torch's own functions, or a
            class that cannot be imported.
    """
    buffer = io.BytesIO(packed.cpu().numpy().tobytes())
    with torch.serialization.safe_globals(_admitted(buffer)):
        return torch.load(buffer, map_location="cpu", weights_only=True)


def _admitted(buffer: io.BytesIO) -> list[Any]:
    buffer.seek(0)
    names = torch.serialization.get_unsafe_globals_in_checkpoint(buffer)
    buffer.seek(0)
    return [_import(name) for name in names]


def _import(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise TypeError(f"it needs {name!r}, which cannot be imported ({error})") from error
    part = isinstance(found, type) and issubclass(found, nn.Module | AlphaSchedule)
    if not (part or module in _FUNCTIONS or found is set):
        raise TypeError(f"it needs {name!r}, which is neither a network nor a schedule")
    return found
