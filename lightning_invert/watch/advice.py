"""Advice on what to write where it is not clear what to watch."""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor, nn

from lightning_invert.watch.functions import has_forward
from lightning_invert.watch.parts import MAX_LEAVES, describe, leaves

__all__ = ["advise"]


def advise(root: nn.Module, batch: Any, why: str, *, speaker: str) -> str:
    """List the parts of a batch and the arguments of a forward, with ``maps`` to copy."""
    parts = list(leaves(batch))
    lines = [f"  {_path(path)}  {describe(leaf)}" for path, leaf in parts[:MAX_LEAVES]]
    if len(parts) > MAX_LEAVES:
        lines.append(f"  ... and {len(parts) - MAX_LEAVES} more")
    forwards = ((part, name) for name, part in root.named_modules() if has_forward(part))
    module, name = next(forwards, (root, ""))
    parameters = _parameters(module)
    arguments = (
        ["..."]
        if parameters is None
        else [str(parameter.replace(annotation=parameter.empty)) for parameter in parameters]
    )
    return "\n".join(
        [
            f"it is not clear what to watch: {why}",
            "The parts of a batch:",
            *lines,
            f"The forward of {type(module).__name__}: forward({', '.join(arguments)})",
            "Name it, for example",
            f"  {speaker}(maps={{'forward': {_entry(module, name, parts)}}})",
            "Nothing is watched until then; training goes on.",
        ]
    )


def _path(path: list[int | str]) -> str:
    return "".join(f"[{step!r}]" for step in path) or "the batch itself:"


def _parameters(module: nn.Module) -> list[inspect.Parameter] | None:
    try:
        return list(inspect.signature(module.forward).parameters.values())
    except (TypeError, ValueError):
        return None


def _entry(module: nn.Module, name: str, parts: list[tuple[list[int | str], Any]]) -> str:
    """Guess an entry of ``maps``: the first part that could be points, and those named like arguments."""
    tensors = [(path, leaf) for path, leaf in parts if isinstance(leaf, Tensor)]
    points = [path for path, leaf in tensors if leaf.is_floating_point() and leaf.ndim > 1]
    entry: dict[str, Any] = {"module": name, "input": points[0] if points else "<which part>"}
    rest = [path for path, _ in tensors if path != entry["input"]]
    needed = [
        p.name
        for p in (_parameters(module) or [])[1:]
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty
    ]
    context = [_take_part(argument, rest) for argument in needed]
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
