"""Decide which class names in a checkpoint may be imported.

The decision uses the text of the name only: a checkpoint may come from a stranger, and so may every
name in it. Torch's layers and activations and this package's own networks, schedules and penalties
stand in a table, so that no import is needed for them. Any other name is imported only if the user
allows it by name.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from functools import cache
from types import FunctionType
from typing import Any

from torch import nn
from torch.nn import functional

from lightning_invert.arguments import expected_but_got, to_builtin
from lightning_invert.pair import alpha, ensemble, networks, penalty
from lightning_invert.pair.alpha import AlphaSchedule

__all__ = ["allowed_objects", "check_allow"]

_PACKAGE = __name__.partition(".")[0]
_ACTIVATIONS = (
    "celu", "elu", "gelu", "glu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "log_softmax",
    "logsigmoid", "mish", "relu", "relu6", "rrelu", "selu", "sigmoid", "silu", "softmax", "softmin",
    "softplus", "softshrink", "softsign", "tanh", "tanhshrink",
)  # fmt: skip


def check_allow(allow: Sequence[str]) -> tuple[str, ...]:
    """Return ``allow`` if it is a list of names of packages, modules, classes or functions.

    A string is a ``TypeError``: its letters would be allowed one by one.
    """
    expected, allow = "a list of names like ['my_package']", to_builtin(allow)
    if not isinstance(allow, list | tuple | set | frozenset):
        raise TypeError(expected_but_got("allow", expected, allow))
    for name in allow:
        if not isinstance(name, str) or not _is_dotted(name):
            raise ValueError(expected_but_got("allow", expected, name))
    return tuple(allow)


def allowed_objects(names: Iterable[str], allow: Sequence[str] = ()) -> list[tuple[Any, str]]:
    """Return the object of each name, as :func:`torch.serialization.safe_globals` takes them.

    A name like ``torch.nn.modules.linear.Linear`` is looked up in the table. ``allow`` admits the
    networks and schedules of packages and modules, and any class or function by its full name. A
    ``TypeError`` comes before anything that is not allowed is imported.
    """
    names = sorted(names)
    refused = [name for name in names if _in_table(name) is None and not _is_allowed(name, allow)]
    if refused:
        option = refused[0] if len(refused) == 1 else f"'[{', '.join(refused)}]'"
        raise TypeError(
            f"it needs {', '.join(map(repr, refused))}, which is neither torch's nor {_PACKAGE}'s. "
            f"If you know who made the file, allow it: `allow={refused}`, or `--allow {option}` on "
            "the command line (for networks and schedules, the name of their package is enough)"
        )
    return [(_in_table(name) or _imported(name, allow), name) for name in names]


def _in_table(name: str) -> Any:
    if name.startswith(f"{_PACKAGE}."):
        # A public class may have moved since the file was written: the last part of its name counts.
        return _own_classes().get(name.rpartition(".")[2])
    return _torch_objects().get(name)


@cache
def _own_classes() -> dict[str, Any]:
    modules = (alpha, ensemble, networks, penalty)
    public = (getattr(module, name) for module in modules for name in module.__all__)
    return {part.__name__: part for part in public if _is_part(part)}


@cache
def _torch_objects() -> dict[str, Any]:
    layers = [layer for layer in vars(nn).values() if _is_part(layer)]
    layers.append(nn.modules.linear.NonDynamicallyQuantizableLinear)  # in MultiheadAttention
    table: dict[str, Any] = {
        f"{layer.__module__}.{layer.__qualname__}": layer
        for layer in layers
        if layer.__module__.startswith("torch.nn.modules.")  # not those that start processes
    }
    for name in _ACTIVATIONS:
        function = getattr(functional, name)
        table[f"torch.nn.functional.{name}"] = function
        if not isinstance(function, FunctionType):
            table[f"{function.__module__}.{function.__qualname__}"] = function
    return {**table, "builtins.set": set}


def _is_part(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, nn.Module | AlphaSchedule)


def _is_dotted(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))


def _is_allowed(name: str, allow: Sequence[str]) -> bool:
    """Return whether ``allow`` holds the name or a package or module above it."""
    parts = name.split(".")
    return _is_dotted(name) and any(
        ".".join(parts[:count]) in allow for count in range(1, len(parts) + 1)
    )


def _imported(name: str, allow: Sequence[str]) -> Any:
    module, _, attribute = name.rpartition(".")
    try:
        value = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # whatever the module itself raises
        raise TypeError(f"it needs {name!r}, which cannot be imported ({error})") from error
    if name in allow:
        if not isinstance(value, type | FunctionType):
            raise TypeError(f"it needs {name!r}, which is neither a class nor a function in Python")
    # A class that an allowed module merely imported belongs to another module.
    elif not (_is_part(value) and _is_allowed(f"{value.__module__}.{attribute}", allow)):
        raise TypeError(
            f"it needs {name!r}, which is no network or schedule that an allowed module defines. "
            f"To allow it nevertheless, give its full name: `allow=[{name!r}]`, on the command "
            f"line `--allow {name}`"
        )
    return value
