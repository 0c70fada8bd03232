"""Names outside of an object that its code can change: of its classes, and of their globals."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from lightning_invert.jacobians.silence import is_a_logger

__all__ = [
    "CACHED",
    "Names",
    "can_change",
    "classes_of_the_project",
    "globals_of",
    "is_of_a_library",
]

LIBRARIES = (frozenset(sys.stdlib_module_names) - {"abc", "typing"}) | {
    "accelerate",
    "deepspeed",
    "lightning",
    "lightning_fabric",
    "lightning_invert",
    "numpy",
    "pytorch_lightning",
    "torch",
    "torchmetrics",
}
"""Top-level packages whose objects are not looked into, and whose hooks a forward needs."""

CACHED: Any = type(functools.lru_cache(len))
"""What `functools.lru_cache` makes of a function."""

CODE = (
    *(FunctionType, BuiltinFunctionType, ModuleType, type, property, staticmethod, classmethod),
    functools.cached_property,
)
"""What holds code rather than what code changes."""

Names = list[tuple[dict[str, Any], list[str]]]
"""Dictionaries of globals, each with the names in it that code of the project loads."""

_known: WeakKeyDictionary[Any, Names] = WeakKeyDictionary()


def is_of_a_library(module: str | None) -> bool:
    """Tell whether a module, by its name, belongs to a package that the project builds on."""
    return (module or "").partition(".")[0] in LIBRARIES


@functools.lru_cache(maxsize=512)
def classes_of_the_project(kind: type) -> tuple[type, ...]:
    """Return those of a class and its bases that no library defines."""
    return tuple(k for k in kind.__mro__ if not is_of_a_library(k.__module__) and k is not object)


def globals_of(code: type | FunctionType) -> Names:
    """Return the globals that a function, or the methods of a class, can change; found out once."""
    if code not in _known:
        _known[code] = list(_find_globals(code))
    return _known[code]


def _find_globals(code: type | FunctionType) -> Iterator[tuple[dict[str, Any], list[str]]]:
    values = [code] if isinstance(code, FunctionType) else vars(code).values()
    functions = [_function(value) for value in values]
    seen: set[CodeType] = set()
    found: dict[int, tuple[dict[str, Any], dict[str, None]]] = {}
    while functions:
        function = functions.pop()
        if not isinstance(function, FunctionType) or is_of_a_library(function.__module__):
            continue
        names = [name for name in _names(function.__code__, seen) if not name.startswith("__")]
        spaces, visited = [function.__globals__], set[int]()
        while spaces:
            own = spaces.pop()
            visited.add(id(own))
            known = found.setdefault(id(own), (own, {}))[1]
            for name in names:
                # A module of the project's own may be imported by the code itself.
                value = own.get(name, sys.modules.get(name))
                if is_a_logger(value) and name in own:
                    known[name] = None
                elif _is_another_s(value, function):
                    continue
                elif type(value) is ModuleType:
                    if id(vars(value)) not in visited:
                        spaces.append(vars(value))
                elif name in own:
                    functions.append(_function(value))
                    known[name] = None
    yield from ((own, [*names]) for own, names in found.values() if names)


def _is_another_s(value: Any, function: FunctionType) -> bool:
    """Tell whether a global is of a package that is installed and not the function's, or a library's code.

    Such an object may have threads of its own: a progress bar, the run of a logger.
    """
    kind = type(value)
    named = issubclass(kind, (FunctionType, CACHED, type))
    module = value.__name__ if kind is ModuleType else (value if named else kind).__module__
    package, own = (x.partition(".")[0] for x in (module or "", function.__module__))
    if is_of_a_library(package):
        return named or issubclass(kind, CODE)
    file = getattr(sys.modules.get(package), "__file__", None) or ""
    return package != own and ("site-packages" in file or "dist-packages" in file)


def can_change(name: str, value: Any) -> bool:
    """Tell whether an attribute of a class is one that code changes, or holds such."""
    function = value.__func__ if type(value) in (staticmethod, classmethod) else value
    if type(function) is FunctionType:
        kept = (function.__closure__, function.__defaults__, function.__kwdefaults__)
        return any(kept) or bool(function.__dict__)
    if name.startswith(("__", "_abc_")):
        return False
    return not issubclass(type(function), CODE)


def _function(value: Any) -> Callable[..., Any] | None:
    """Return the function of a method, a property and the like; ``None`` if a value is none of them."""
    # By its type: a proxy may run code of its own when it is asked for its class.
    if not issubclass(type(value), (*CODE, CACHED)) or issubclass(type(value), type | ModuleType):
        return None
    for name in ("__func__", "fget", "func", "__wrapped__"):
        value = getattr(value, name, value)
    return value  # type: ignore[no-any-return]


def _names(code: CodeType, seen: set[CodeType]) -> Iterator[str]:
    """Yield the names that code, and the code in it, loads; of what was seen, none."""
    if code not in seen:
        seen.add(code)
        yield from code.co_names
        for part in code.co_consts:
            if isinstance(part, CodeType):
                yield from _names(part, seen)
