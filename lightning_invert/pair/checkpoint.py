"""Networks and schedules inside a checkpoint, so that it loads without being told what it holds.

``torch.load`` opens checkpoints with ``weights_only=True``, which admits no classes. So the parts
that a checkpoint needs beside its weights are kept as bytes, and unpacked by the same restricted
reader with exactly those classes admitted that are networks or schedules: nothing else in such a
file can run.
"""

from __future__ import annotations

import importlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightning_invert.pair.objective import AlphaSchedule
from lightning_invert.variables import Variable

__all__ = ["pack", "pack_variables", "unpack", "unpack_variables"]

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
    # By the names that the file has for them, which may be older than where they live now.
    with torch.serialization.safe_globals(_admitted(buffer)):  # type: ignore[arg-type]
        return torch.load(buffer, map_location="cpu", weights_only=True)


def pack_variables(variables: Sequence[Variable] | None) -> list[tuple[Any, ...]]:
    """Return variables as plain tuples: the restricted reader admits no classes."""
    return [tuple(variable) for variable in variables or ()]


def unpack_variables(kept: Mapping[str, Any], side: str) -> tuple[Variable, ...] | None:
    """Return the variables that a checkpoint keeps.

    Args:
        kept: ``inputs`` and ``outputs``, as :func:`pack_variables` returned them; or what version
            0.1 kept, which were names and units.
        side: ``"input"`` or ``"output"``.

    Returns:
        The variables; ``None`` if there are none.

    Example:
        >>> unpack_variables({"inputs": pack_variables([Variable("heat", "K", 0.0)])}, "input")
        (Variable(name='heat', unit='K', low=0.0, high=None),)
    """
    if f"{side}_names" in kept:
        pairs = zip(kept[f"{side}_names"] or (), kept[f"{side}_units"] or (), strict=True)
        return tuple(Variable(name, unit) for name, unit in pairs) or None
    return tuple(Variable(*variable) for variable in kept.get(f"{side}s", ())) or None


def _admitted(buffer: io.BytesIO) -> list[tuple[Any, str]]:
    buffer.seek(0)
    names = torch.serialization.get_unsafe_globals_in_checkpoint(buffer)
    buffer.seek(0)
    return [(_import(name), name) for name in names]


def _import(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    try:
        found = _found(module, attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise TypeError(f"it needs {name!r}, which cannot be imported ({error})") from error
    part = isinstance(found, type) and issubclass(found, nn.Module | AlphaSchedule)
    if not (part or module in _FUNCTIONS or found is set):
        raise TypeError(f"it needs {name!r}, which is neither a network nor a schedule")
    return found


def _found(module: str, attribute: str) -> Any:
    package = __name__.partition(".")[0]
    if module.startswith(f"{package}."):
        # What is public is found at the front: where it lives may have moved since.
        public = getattr(importlib.import_module(package), attribute, None)
        if public is not None:
            return public
    return getattr(importlib.import_module(module), attribute)
