"""What to write, where it is not clear what is to be watched."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from lightning_invert.watch.maps import has_forward
from lightning_invert.watch.parts import MAX_LEAVES, describe, leaves

__all__ = ["advise"]


def advise(root: nn.Module, batch: Any, why: str) -> str:
    """Lay out what there is to choose from, and what one might write.

    Args:
        root: The module that was to be watched.
        batch: A batch of its.
        why: What went wrong.

    Returns:
        Some lines: the reason, the parts of the batch, the signature of the forward, and ``maps``
        to copy.

    Example:
        >>> import torch
        >>> print(advise(nn.Bilinear(2, 3, 4), {"a": torch.zeros(8, 2), "b": torch.zeros(8, 3)}, "?"))
        InvertibilityCallback does not know what to watch: ?
        The parts of a batch:
          ['a']  a tensor of dtype torch.float32 and shape (8, 2)
          ['b']  a tensor of dtype torch.float32 and shape (8, 3)
        The forward of Bilinear: forward(input1, input2)
        Name it, for example
          InvertibilityCallback(maps={'forward': {'module': '', 'input': ['a'], 'context': [['b']]}})
        Nothing is watched until then; training goes on.
    """
    found = list(leaves(batch))
    shown = [f"  {_path(path)}  {describe(leaf)}" for path, leaf in found[:MAX_LEAVES]]
    if len(found) > MAX_LEAVES:
        shown.append(f"  ... and {len(found) - MAX_LEAVES} more")
    module, name = _callable(root)
    lines = [
        f"InvertibilityCallback does not know what to watch: {why}",
        "The parts of a batch:",
        *shown,
        f"The forward of {type(module).__name__}: {_signature(module)}",
        "Name it, for example",
        f"  InvertibilityCallback(maps={{'forward': {_entry(module, name, found)}}})",
        "Nothing is watched until then; training goes on.",
    ]
    return "\n".join(lines)


def _path(path: list[int | str]) -> str:
    return "".join(f"[{step!r}]" for step in path) or "the batch itself:"


def _callable(root: nn.Module) -> tuple[nn.Module, str]:
    """Return the module itself if it has a forward, else its first part that has."""
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


def _entry(module: nn.Module, name: str, found: list[tuple[list[int | str], Any]]) -> str:
    """Guess: the first floating part that could be points, and the parts named as arguments are."""
    points = [path for path, leaf in found if _is_points(leaf)]
    entry: dict[str, Any] = {"module": name, "input": points[0] if points else "<which part>"}
    rest = [path for path, leaf in found if isinstance(leaf, Tensor) and path != entry["input"]]
    context = [_for(argument, rest) for argument in _needed(module)]
    if context:
        entry["context"] = context
    elif points and len(points[0]) > 1:
        entry["within"] = points[0][:1]  # it takes one argument, which seems to be a collection
    return repr(entry)


def _is_points(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.ndim > 1


def _needed(module: nn.Module) -> Iterator[str]:
    """Return the arguments after the first that have no default."""
    try:
        parameters = list(inspect.signature(module.forward).parameters.values())
    except (TypeError, ValueError):
        return
    for p in parameters[1:]:
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty:
            yield p.name


def _for(argument: str, rest: list[list[int | str]]) -> list[int | str]:
    named = [path for path in rest if path and path[-1] == argument]
    chosen = (named or rest or [[f"<{argument}>"]])[0]
    if chosen in rest:
        rest.remove(chosen)
    return chosen
