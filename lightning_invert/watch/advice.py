"""Advice on what to write where it is not clear what to watch."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
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
    module, name = _first_with_forward(root)
    return "\n".join(
        [
            f"it is not clear what to watch: {why}",
            "The parts of a batch:",
            *lines,
            f"The forward of {type(module).__name__}: {_signature(module)}",
            "Name it, for example",
            f"  {speaker}(maps={{'forward': {_entry(module, name, parts)}}})",
            "Nothing is watched until then; training goes on.",
        ]
    )


def _path(path: list[int | str]) -> str:
    return "".join(f"[{step!r}]" for step in path) or "the batch itself:"


def _first_with_forward(root: nn.Module) -> tuple[nn.Module, str]:
    """Return the module and "" if it has a forward, else its first part that has one and its path."""
    for name, part in root.named_modules():
        if has_forward(part):
            return part, name
    return root, ""


def _signature(module: nn.Module) -> str:
    try:
        parameters = inspect.signature(module.forward).parameters.values()
    except (TypeError, ValueError):
        return "forward(...)"
    plain = [str(p.replace(annotation=p.empty)) for p in parameters]
    return f"forward({', '.join(plain)})"


def _entry(module: nn.Module, name: str, parts: list[tuple[list[int | str], Any]]) -> str:
    """Guess an entry of ``maps``: the first part that could be points, and those named like arguments."""
    points = [path for path, leaf in parts if _is_points(leaf)]
    entry: dict[str, Any] = {"module": name, "input": points[0] if points else "<which part>"}
    rest = [path for path, leaf in parts if isinstance(leaf, Tensor) and path != entry["input"]]
    context = [_take_part(argument, rest) for argument in _needed(module)]
    if context:
        entry["context"] = context
    elif points and len(points[0]) > 1:
        entry["within"] = points[0][:1]  # it takes one argument, which seems to be a collection
    return repr(entry)


def _is_points(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.ndim > 1


def _needed(module: nn.Module) -> Iterator[str]:
    """Return the arguments without a default, except the first."""
    try:
        parameters = list(inspect.signature(module.forward).parameters.values())
    except (TypeError, ValueError):
        return
    for p in parameters[1:]:
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty:
            yield p.name


def _take_part(argument: str, rest: list[list[int | str]]) -> list[int | str]:
    """Take out the part that is named like an argument, else the first one."""
    same_name = [path for path in rest if path and path[-1] == argument]
    chosen = (same_name or rest or [[f"<{argument}>"]])[0]
    if chosen in rest:
        rest.remove(chosen)
    return chosen
