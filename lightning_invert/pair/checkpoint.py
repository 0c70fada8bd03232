"""Keep a pair in a checkpoint: networks, schedule and penalties beside the weights.

``torch.load`` opens checkpoints with ``weights_only=True``, which admits no classes. So these parts
are kept as bytes, and unpacked by the same restricted reader, which admits exactly the classes of
:mod:`.allowed_classes`: nothing else in such a file can run.
"""

from __future__ import annotations

import inspect
import io
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.cloud_io import get_filesystem
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn

from lightning_invert.arguments import plain_values
from lightning_invert.conditions import read_conditions
from lightning_invert.pair.allowed_classes import allowed_objects
from lightning_invert.pair.alpha import AlphaSchedule
from lightning_invert.pair.pair import Pair
from lightning_invert.solver.constraint import Linear
from lightning_invert.variables import Variable, read_levels

__all__ = [
    "CHECKPOINT_KEY", "PARTS", "device_of", "fill", "load_forward", "load_parts", "naming_file", "pack",
    "plain_arguments", "read_checkpoint", "section", "unpack", "unpack_variables",
]  # fmt: skip

CHECKPOINT_KEY = "lightning_invert"
_VERSION = "pytorch-lightning_version"

PARTS: dict[str, type[nn.Module | AlphaSchedule]] = {
    "forward_net": nn.Module,
    "inverse_net": nn.Module,
    "alpha": AlphaSchedule,
    "conditioning_penalty": nn.Module,
    "jacobian_consistency": nn.Module,
}
"""Name -> type of the parts that a checkpoint keeps packed."""


def read_checkpoint(file: Any, map_location: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint (path, URL or open file) of tensors and plain values; its parts stay packed."""
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
def naming_file(file: Any) -> Iterator[None]:
    """Name the file in an error: a ``TypeError`` stays one, any other becomes a ``ValueError``."""
    try:
        yield
    except (TypeError, ValueError, RuntimeError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{file}: {error}") from error


def fill(
    checkpoint: dict[str, Any],
    parts: Mapping[str, nn.Module | AlphaSchedule | None],
    pair: Pair,
    **sections: Any,
) -> None:
    """Add parts, variables and other sections to a checkpoint whose arguments become plain values."""
    for kind in (LightningModule, LightningDataModule):
        if (key := kind.CHECKPOINT_HYPER_PARAMS_KEY) in checkpoint:
            checkpoint[key] = plain_values(checkpoint[key])
    # Plain tuples: the restricted reader admits no classes.
    sides = {"inputs": pair.inputs, "outputs": pair.outputs}
    variables = {
        side: [plain_values(tuple(v)) for v in known or ()] for side, known in sides.items()
    }
    variables["constraints"] = [
        plain_values((c.weights, c.low, c.high, c.name)) for c in pair.constraints
    ]
    own = {"parts": _pack_parts(parts), "variables": variables}
    checkpoint[CHECKPOINT_KEY] = {**own, **sections}


def plain_arguments(kind: type[Any], checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a module's class that a checkpoint keeps as plain values.

    The file decides neither what is allowed nor which other file is opened.
    """
    names = {*inspect.signature(kind).parameters} - {*PARTS, "allow"}
    values = checkpoint.get("hyper_parameters", {})
    arguments = {name: value for name, value in values.items() if name in names}
    if isinstance(training := arguments.get("forward_training"), Mapping):
        arguments["forward_training"] = {**training, "start_from": None}
    return arguments


def device_of(checkpoint: Mapping[str, Any]) -> torch.device:
    """Return where the weights of a checkpoint are."""
    weights = (w for w in checkpoint["state_dict"].values() if isinstance(w, Tensor))
    return next(weights, torch.empty(0)).device


def section(checkpoint: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a checkpoint's ``parts``, ``variables`` or ``evidence``; empty if it has none."""
    ours = checkpoint.get(CHECKPOINT_KEY, {})
    content = ours.get(name, {}) if isinstance(ours, dict) else None
    if not isinstance(content, dict):
        raise ValueError(f"Expected the checkpoint to keep `{name}` by name, but it is damaged.")  # noqa: TRY004 -- of a file, not of an argument
    return content


def load_parts(
    checkpoint: Mapping[str, Any],
    names: Collection[str],
    allow: Sequence[str],
    own_schedule: type[AlphaSchedule],
) -> dict[str, Any]:
    """Return those of the named parts that a checkpoint keeps, by name; no other is opened.

    ``own_schedule``, the class of the module's schedule, is allowed beside what ``allow`` names.
    """
    if CHECKPOINT_KEY not in checkpoint and {"forward_net", "inverse_net"} & {*names}:
        raise ValueError(
            "Expected a checkpoint of a ForwardInverseModule, but it keeps no networks. "
            "Give `forward_net` and `inverse_net` if it has their weights."
        )
    own = f"{own_schedule.__module__}.{own_schedule.__qualname__}"
    parts = {
        name: _load_part(checkpoint, name, [*allow, own] if name == "alpha" else allow)
        for name in PARTS
        if name in names
    }
    return {name: part for name, part in parts.items() if part is not None}


def _load_part(checkpoint: Mapping[str, Any], name: str, allow: Sequence[str]) -> Any:
    """Return one of :data:`PARTS` that a checkpoint keeps; ``None`` if it keeps none."""
    packed = section(checkpoint, "parts").get(name)
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


def load_forward(pair: Pair, path: str, allow: Sequence[str] = ()) -> None:
    """Give a pair the F and the statistics of a checkpoint."""
    checkpoint = read_checkpoint(path)
    with naming_file(path):
        pair.forward_net = _load_part(checkpoint, "forward_net", allow)
        if pair.forward_net is None:
            raise ValueError("Expected a checkpoint of a ForwardInverseModule, but it keeps no F.")
        for name in ("forward_net", "scale_x", "scale_y"):
            prefix, weights = f"pair.{name}.", checkpoint["state_dict"].items()
            getattr(pair, name).load_state_dict(
                {key.removeprefix(prefix): w for key, w in weights if key.startswith(prefix)}
            )


def _pack_parts(parts: Mapping[str, nn.Module | AlphaSchedule | None]) -> dict[str, Tensor]:
    """Return parts as bytes, by name; warn of one that cannot be kept."""
    packed = {}
    for name, part in parts.items():
        try:
            packed[name] = pack(part)
        except TypeError as error:
            rank_zero_warn(f"{error}. `load_from_checkpoint` will need `{name}=...`.")
    return packed


def pack(part: nn.Module | AlphaSchedule | None) -> Tensor:
    """Return a part as bytes, (size,), uint8; a ``TypeError`` for what cannot be pickled, like a lambda."""
    buffer = io.BytesIO()
    try:
        with _plain_attributes(part):
            torch.save(part, buffer)
        names = _class_names(buffer)
        allowed_objects(names, allow=names)  # can it be loaded if all of it is allowed?
    except Exception as error:
        raise TypeError(f"{type(part).__name__} cannot be kept in a checkpoint: {error}") from error
    return torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8)


@contextmanager
def _plain_attributes(part: nn.Module | AlphaSchedule | None) -> Iterator[None]:
    """Replace NumPy's scalars meanwhile, as in ``nn.Linear(np.prod(shape), 8)``: none can be loaded."""
    holders = part.modules() if isinstance(part, nn.Module) else (part,)
    found = [(own := getattr(holder, "__dict__", {}), dict(own)) for holder in holders]
    try:
        for own, before in found:
            own.update({name: plain_values(value) for name, value in before.items()})
        yield
    finally:
        for own, before in found:
            own.update(before)


def unpack(packed: Tensor, allow: Sequence[str] = ()) -> Any:
    """Return the part that :func:`pack` packed, on the CPU; nothing is imported that is not allowed."""
    try:
        buffer = io.BytesIO(packed.cpu().numpy().tobytes())
        names = _class_names(buffer)
    except Exception as error:
        raise ValueError(f"it is damaged: {_reason(error)}") from error
    # By the names that the file has for them, which may be older than where they live now.
    with torch.serialization.safe_globals(allowed_objects(names, allow)):  # type: ignore[arg-type]
        try:
            part = torch.load(buffer, map_location="cpu", weights_only=True)
            if isinstance(part, nn.Module):
                part.state_dict()  # a network whose pieces are missing fails here
        except Exception as error:
            raise ValueError(f"it is damaged: {_reason(error)}") from error
    return part


def unpack_variables(checkpoint: Mapping[str, Any], pair: Pair) -> None:
    """Give a pair without variables or constraints those of a checkpoint."""
    packed = section(checkpoint, "variables")
    for side in ("inputs", "outputs"):
        try:
            variables = tuple(Variable(*variable) for variable in packed.get(side, ()))
            if not all(isinstance(text, str) for variable in variables for text in variable[:2]):
                raise TypeError("a name is no text")
            for variable in variables:
                read_levels(variable)
            read_conditions(variables)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"Expected the checkpoint to name its {side}, but they are damaged: {error}."
            ) from error
        setattr(pair, side, getattr(pair, side) or variables or None)
    try:
        constraints = [Linear(*constraint) for constraint in packed.get("constraints", [])]
        pair.constraints = pair.constraints or constraints
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Expected the checkpoint to keep its constraints, but they are damaged: {error}"
        ) from error


def _class_names(buffer: io.BytesIO) -> list[str]:
    """Return the names in a pickle that the restricted reader does not admit by itself."""
    buffer.seek(0)
    names: list[str] = torch.serialization.get_unsafe_globals_in_checkpoint(buffer)
    buffer.seek(0)
    return names


def _reason(error: Exception) -> str:
    """Return in one line why torch refused a file; its own words advise to load it all the same."""
    name = re.search(r"GLOBAL (\S+)", str(error))
    if name:
        return f"it needs {name[1]!r}, and only tensors and plain values are read from it"
    if "weights_only" in str(error) or not isinstance(error, OSError | RuntimeError):
        return "it is no file of torch.save, or damaged"
    return str(error).partition("\n")[0].rstrip(".")
