"""Networks and schedules inside a checkpoint, so that it loads without being told what it holds.

``torch.load`` opens checkpoints with ``weights_only=True``, which admits no classes. So the parts
that a checkpoint needs beside its weights are kept as bytes, and unpacked by the same restricted
reader, which admits exactly the classes of :mod:`.allowed_classes`: nothing else in such a file can
run.
"""

from __future__ import annotations

import inspect
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.cloud_io import get_filesystem
from torch import Tensor, nn

from lightning_invert.pair.allowed_classes import allowed_objects
from lightning_invert.pair.objective import AlphaSchedule
from lightning_invert.variables import Variable

__all__ = [
    "CHECKPOINT_KEY",
    "PARTS",
    "kept",
    "kept_part",
    "naming",
    "pack",
    "pack_variables",
    "plain_arguments",
    "read_checkpoint",
    "unpack",
    "unpack_variables",
]

CHECKPOINT_KEY = "lightning_invert"

_VERSION = "pytorch-lightning_version"

PARTS: dict[str, type[nn.Module | AlphaSchedule]] = {
    "forward_net": nn.Module,
    "inverse_net": nn.Module,
    "alpha": AlphaSchedule,
    "conditioning_penalty": nn.Module,
    "jacobian_consistency": nn.Module,
}
"""What a checkpoint keeps packed, and of what kind each is, if it is not ``None``."""


def read_checkpoint(file: Any, map_location: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint, without its networks, which are :func:`unpack`'s to open.

    Args:
        file: Path, URL or open file.
        map_location: Where the weights are put, as in :func:`torch.load`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, or holds anything but tensors and plain values, or no weights.
    """
    try:
        if isinstance(file, str | Path):
            with get_filesystem(file).open(str(file), "rb") as opened:
                checkpoint: dict[str, Any] = torch.load(
                    opened, map_location=map_location, weights_only=True
                )
        else:
            checkpoint = torch.load(file, map_location=map_location, weights_only=True)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"Expected a checkpoint, but there is no file {str(file)!r}."
        ) from error
    except Exception as error:  # a damaged file can fail anywhere in the reader
        raise ValueError(
            f"Expected {str(file)!r} to be a checkpoint, but it cannot be read: {_reason(error)}."
        ) from error
    whole = isinstance(checkpoint, dict) and isinstance(
        checkpoint.get("hyper_parameters", {}), dict
    )
    if not (whole and isinstance(checkpoint.get("state_dict"), dict) and _VERSION in checkpoint):
        raise ValueError(
            f"Expected {str(file)!r} to be a checkpoint that a Trainer saved, but it lacks "
            f"`state_dict` or `{_VERSION}`."
        )
    return checkpoint


@contextmanager
def naming(file: Any) -> Iterator[None]:
    """Say of which file an error is: a ``TypeError`` stays one, any other is a ``ValueError``."""
    try:
        yield
    except (TypeError, ValueError, RuntimeError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{file}: {error}") from error


def plain_arguments(kind: type[Any], checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a module's class that a checkpoint keeps as plain values.

    The file decides neither what is allowed nor which other file is opened.
    """
    kept = checkpoint.get("hyper_parameters", {})
    known = {*inspect.signature(kind).parameters} - {*PARTS, "forward_from", "allow"}
    return {name: value for name, value in kept.items() if name in known}


def kept(checkpoint: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Return the ``parts`` or the ``variables`` that a checkpoint keeps; empty if it has none.

    Raises:
        ValueError: If it is damaged.
    """
    ours = checkpoint.get(CHECKPOINT_KEY, {})
    found = ours.get(what, {}) if isinstance(ours, dict) else None
    if not isinstance(found, dict):
        raise ValueError(f"Expected the checkpoint to keep `{what}` by name, but it is damaged.")  # noqa: TRY004 -- of a file, not of an argument
    return found


def kept_part(checkpoint: Mapping[str, Any], name: str, allow: Sequence[str] = ()) -> Any:
    """Return one of :data:`PARTS` that a checkpoint keeps; ``None`` if it keeps none.

    Args:
        checkpoint: As :func:`read_checkpoint` returned it.
        name: Of the part.
        allow: As for :func:`unpack`.

    Raises:
        TypeError: If the part needs what is not allowed.
        ValueError: If it is damaged or of another kind.
    """
    packed = kept(checkpoint, "parts").get(name)
    if packed is None:
        return None
    try:
        part = unpack(packed, allow)
        if not isinstance(part, PARTS[name] | None):
            raise ValueError(f"it is of type {type(part).__name__}")  # noqa: TRY004
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"Expected the checkpoint's `{name}` to be one that can be loaded, but {error}. Or give "
            f"it: `{name}=...`."
        ) from error
    return part


def pack(part: nn.Module | AlphaSchedule | None) -> Tensor:
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
        names = _names(buffer)
        allowed_objects(names, allow=names)  # can it be loaded if all of it is allowed?
    except Exception as error:
        raise TypeError(f"{type(part).__name__} cannot be kept in a checkpoint: {error}") from error
    return torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8)


def unpack(packed: Tensor, allow: Sequence[str] = ()) -> Any:
    """Return what :func:`pack` was given, on the CPU.

    Args:
        packed: The bytes, shape (size,), uint8.
        allow: Names of packages, modules and classes that may be imported and run for it, beyond
            torch's layers and this package's own classes.

    Raises:
        TypeError: If it needs anything else, or what cannot be imported. Nothing was imported then.
        ValueError: If the bytes are damaged.
    """
    try:
        buffer = io.BytesIO(packed.cpu().numpy().tobytes())
        names = _names(buffer)
    except Exception as error:
        raise ValueError(f"it is damaged: {_reason(error)}") from error
    # By the names that the file has for them, which may be older than where they live now.
    with torch.serialization.safe_globals(allowed_objects(names, allow)):  # type: ignore[arg-type]
        try:
            part = torch.load(buffer, map_location="cpu", weights_only=True)
            if isinstance(part, nn.Module):
                part.state_dict()  # a network whose pieces are missing says so here
        except Exception as error:
            raise ValueError(f"it is damaged: {_reason(error)}") from error
    return part


def pack_variables(variables: Sequence[Variable] | None) -> list[tuple[Any, ...]]:
    """Return variables as plain tuples: the restricted reader admits no classes."""
    return [tuple(variable) for variable in variables or ()]


def unpack_variables(variables: Mapping[str, Any], side: str) -> tuple[Variable, ...] | None:
    """Return the variables that a checkpoint keeps.

    Args:
        variables: ``inputs`` and ``outputs``, as :func:`pack_variables` returned them; or what version
            0.1 kept, which were names and units.
        side: ``"input"`` or ``"output"``.

    Returns:
        The variables; ``None`` if there are none.

    Raises:
        ValueError: If they are damaged.

    Example:
        >>> unpack_variables({"inputs": pack_variables([Variable("heat", "K", 0.0)])}, "input")
        (Variable(name='heat', unit='K', low=0.0, high=None),)
    """
    try:
        if f"{side}_names" in variables:
            names, units = variables[f"{side}_names"] or (), variables[f"{side}_units"] or ()
            found = [Variable(*pair) for pair in zip(names, units, strict=True)]
        else:
            found = [Variable(*variable) for variable in variables.get(f"{side}s", ())]
        if not all(isinstance(text, str) for one in found for text in one[:2]):
            raise TypeError("a name is no text")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"Expected the checkpoint to name its {side}s, but they are damaged: {error}."
        ) from error
    return tuple(found) or None


def _names(buffer: io.BytesIO) -> list[str]:
    """Return what a pickle names beyond what the restricted reader admits anyway."""
    buffer.seek(0)
    names: list[str] = torch.serialization.get_unsafe_globals_in_checkpoint(buffer)
    buffer.seek(0)
    return names


def _reason(error: Exception) -> str:
    """Say in one line why a file was refused; torch's own words advise to load it all the same."""
    named = re.search(r"GLOBAL (\S+)", str(error))
    if named:
        return f"it needs {named[1]!r}, and only tensors and plain values are read from it"
    if "weights_only" in str(error) or not isinstance(error, OSError | RuntimeError):
        return "it is no file of torch.save, or damaged"
    return str(error).partition("\n")[0].rstrip(".")
