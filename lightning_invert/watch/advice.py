"""Advice on what to write where it is not clear what to watch."""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor, nn

from lightning_invert.watch.functions import has_forward
from lightning_invert.watch.parts import MAX_LEAVES, describe, leaves, required_arguments

__all__ = ["advise"]


def advise(root: nn.Module, batch: Any, why: str, *, speaker: str) -> str:
    """List the parts of a batch and the arguments of a forward, with ``maps`` to copy."""
    parts = list(leaves(batch))
    lines = [f"  {_path(path)}  {describe(leaf)}" for path, leaf in parts[:MAX_LEAVES]]
    if len(parts) > MAX_LEAVES:
        lines.append(f"  ... and {len(parts) - MAX_LEAVES} more")
    forwards = ((part, name) for name, part in root.named_modules() if has_forward(part))
    module, name = next(forwards, (root, ""))
    return "\n".join(
        [
            f"it is not clear what to watch: {why}",
            "The parts of a batch:",
            *lines,
            f"The forward of {type(module).__name__}: forward({_signature(module)})",
            "Name it, for example",
            f"  {speaker}(maps={{'forward': {_entry(module, name, parts)}}})",
            "Nothing is watched until then; training goes on.",
        ]
    )


def _path(path: list[int | str]) -> str:
    return "".join(f"[{step!r}]" for step in path) or "the batch itself:"


def _signature(module: nn.Module) -> str:
    try:
        parameters = inspect.signature(module.forward).parameters.values()
    except (TypeError, ValueError):
        return "..."
    return ", ".join(str(p.replace(annotation=p.empty)) for p in parameters)


def _entry(module: nn.Module, name: str, parts: list[tuple[list[int | str], Any]]) -> str:
    """Guess an entry of ``maps``: the first part that could be points, and those named like arguments."""
    tensors = [(path, leaf) for path, leaf in parts if isinstance(leaf, Tensor)]
    points = [path for path, leaf in tensors if leaf.is_floating_point() and leaf.ndim > 1]
    entry: dict[str, Any] = {"module": name, "input": points[0] if points else "<which part>"}
    rest = [path for path, _ in tensors if path != entry["input"]]
    context = [_take_part(argument, rest) for argument in required_arguments(module.forward)[1:]]
    if context:
        entry["context"] = context
    elif points and len(points[0]) > 1:
        entry["within"] = points[0][:1]  # it takes one argument, which seems to be a collection
    return repr(entry)


def _take_part(argument: str, rest: list[list[int | str]]) -> list[int | str]:
    """Take out the part that is named like an argument, else the first one."""
    same_name = [path for path in rest if path and path[-1] == argument]
    chosen = (same_name or rest or [[f"<{argument}>"]])[0]
    if chosen in rest:
        rest.remove(chosen)
    return chosen
