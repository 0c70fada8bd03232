"""Which names in a file are followed: judged as text, before anything is imported.

A checkpoint may come from a stranger, and so may every name in it. Torch's layers and activations
and this package's own networks, schedules and penalties are found in a table, so that for them no
name is followed at all. Any other name is imported only if the user trusts it by name.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from types import FunctionType
from typing import Any

from torch import nn
from torch.nn import functional

from lightning_invert.arguments import wrong
from lightning_invert.pair import ensemble, networks, objective, penalty
from lightning_invert.pair.objective import AlphaSchedule

__all__ = ["admitted", "check_trust"]

_PACKAGE = __name__.partition(".")[0]
_ACTIVATIONS = (
    "celu",
    "elu",
    "gelu",
    "glu",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "leaky_relu",
    "log_softmax",
    "logsigmoid",
    "mish",
    "relu",
    "relu6",
    "rrelu",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softmin",
    "softplus",
    "softshrink",
    "softsign",
    "tanh",
    "tanhshrink",
)


def check_trust(trust: Sequence[str]) -> tuple[str, ...]:
    """Return ``trust`` if it is a list of names of packages, modules, classes or functions.

    Raises:
        TypeError: If it is no list, like a string, whose letters would be trusted one by one.
        ValueError: If one is no dotted name.

    Example:
        >>> check_trust(["my_package", "your_package.nets.Net"])
        ('my_package', 'your_package.nets.Net')
        >>> check_trust("my_package")
        Traceback (most recent call last):
        TypeError: Expected argument `trust` to be a list of names like ['my_package'], but got 'my_package' (str).
    """
    expected = "a list of names like ['my_package']"
    if not isinstance(trust, list | tuple | set | frozenset):
        raise TypeError(wrong("trust", expected, trust))
    for name in trust:
        if not isinstance(name, str) or not _is_dotted(name):
            raise ValueError(wrong("trust", expected, name))
    return tuple(trust)


def admitted(names: Iterable[str], trust: Sequence[str] = ()) -> list[tuple[Any, str]]:
    """Return what names in a file stand for.

    Args:
        names: Modules with a class or a function in them, as ``torch.nn.modules.linear.Linear``.
        trust: Packages and modules whose networks and schedules are admitted; and classes and
            functions by their full names, whatever they are.

    Returns:
        Each with its name, as :func:`torch.serialization.safe_globals` takes them.

    Raises:
        TypeError: If one is neither torch's nor this package's nor trusted, or cannot be imported,
            or is none of what is admitted. Then nothing that is not trusted was imported.

    Example:
        >>> admitted(["torch.nn.modules.linear.Linear"])
        [(<class 'torch.nn.modules.linear.Linear'>, 'torch.nn.modules.linear.Linear')]
    """
    names = sorted(names)
    strange = [name for name in names if _known(name) is None and not _is_trusted(name, trust)]
    if strange:
        raise TypeError(
            f"it needs {', '.join(map(repr, strange))}, which is neither torch's nor {_PACKAGE}'s. "
            f"If you trust it, say so: `trust={strange}`, or `--trust {','.join(strange)}` on the "
            "command line (for networks and schedules, the name of their package will do)"
        )
    return [(_known(name) or _imported(name, trust), name) for name in names]


def _known(name: str) -> Any:
    if name.startswith(f"{_PACKAGE}."):
        # Where a public class lives may have moved since, so the last part of its name counts.
        return _own().get(name.rpartition(".")[2])
    return _of_torch().get(name)


@cache
def _own() -> dict[str, Any]:
    homes = (ensemble, networks, objective, penalty)
    public = (getattr(home, name) for home in homes for name in home.__all__)
    return {part.__name__: part for part in public if _is_part(part)}


@cache
def _of_torch() -> dict[str, Any]:
    layers = [layer for layer in vars(nn).values() if _is_part(layer)]
    layers.append(nn.modules.linear.NonDynamicallyQuantizableLinear)  # in MultiheadAttention
    known: dict[str, Any] = {
        f"{layer.__module__}.{layer.__qualname__}": layer
        for layer in layers
        if layer.__module__.startswith("torch.nn.modules.")  # not those that start processes
    }
    for name in _ACTIVATIONS:
        function = getattr(functional, name)
        known[f"torch.nn.functional.{name}"] = function
        if not isinstance(function, FunctionType):
            known[f"{function.__module__}.{function.__qualname__}"] = function
    return {**known, "builtins.set": set}


def _is_part(found: Any) -> bool:
    return isinstance(found, type) and issubclass(found, nn.Module | AlphaSchedule)


def _is_dotted(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))


def _is_trusted(name: str, trust: Sequence[str]) -> bool:
    return _is_dotted(name) and any(part in trust for part in _and_above(name))


def _and_above(name: str) -> Iterator[str]:
    while name:
        yield name
        name = name.rpartition(".")[0]


def _imported(name: str, trust: Sequence[str]) -> Any:
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # whatever the module itself raises
        raise TypeError(f"it needs {name!r}, which cannot be imported ({error})") from error
    if name in trust:
        if not isinstance(found, type | FunctionType):
            raise TypeError(f"it needs {name!r}, which is neither a class nor a function in Python")
    # What a trusted module merely imported is not its own.
    elif not (_is_part(found) and _is_trusted(f"{found.__module__}.{attribute}", trust)):
        raise TypeError(
            f"it needs {name!r}, which is no network or schedule that is defined in what you trust. "
            f"If you trust it nevertheless, give its full name: `trust=[{name!r}]`, on the command "
            f"line `--trust {name}`"
        )
    return found
