"""Functions that a user names by a path, as a module or as a callable."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from torch import nn

__all__ = ["FUNCTION", "find_function", "has_forward"]

FUNCTION = "a path to a submodule or method, a module or a callable"
"""What a user may write."""


def find_function(
    argument: str, where: str | Callable[..., Any], root: nn.Module
) -> tuple[Callable[..., Any], nn.Module]:
    """Return a function and the module whose parameters it uses; raise ValueError for a path to none."""
    if isinstance(where, nn.Module):
        return where, where
    if not isinstance(where, str):
        owner = getattr(where, "__self__", None)  # of a bound method
        return where, owner if isinstance(owner, nn.Module) else root
    path, _, attribute = where.rpartition(".")
    try:
        module = root.get_submodule(where)
    except AttributeError:
        with suppress(AttributeError):
            owner = root.get_submodule(path)
            if callable(method := getattr(owner, attribute)):
                return method, owner
        paths = [path for path, _ in root.named_modules() if path]
        raise ValueError(
            f"Expected `{argument}` to be the path of a submodule or a method of "
            f"{type(root).__name__}, but got {where!r}. There are: {', '.join(paths) or 'none'}."
        ) from None
    if not has_forward(module):
        raise ValueError(
            f"Expected `{argument}` to be a module with a `forward`, but "
            f"{type(module).__name__} defines none. Name the part of it to be watched, as in "
            "maps={'forward': 'net'}."
        )
    return module, module


def has_forward(module: nn.Module) -> bool:
    """Tell whether a module has a forward of its own."""
    forward = getattr(type(module), "forward", None)
    # LightningModule, of either namespace, defines a forward that only raises.
    defined_by = getattr(forward, "__qualname__", "").split(".")[0]
    return forward is not nn.Module.forward and defined_by != "LightningModule"
