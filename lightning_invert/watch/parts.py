"""Parts of a batch, or of what a module returns: the way to each."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cached_property
from typing import Any, TypeAlias, TypeVar

from torch import Tensor, nn
from torch.distributions import Distribution

__all__ = [
    "NoSuchPart",
    "Part",
    "Path",
    "describe",
    "mapping_of",
    "parse_part",
    "parse_parts",
    "parts_of",
    "path_text",
    "required_arguments",
    "walk",
]

P = TypeVar("P")
Step: TypeAlias = "int | str | Callable[..., Any]"
Path: TypeAlias = "tuple[int | str, ...]"

CALLED = "()"
"""Behind the name of a method: what it returns without arguments is the part."""

MAX_DEPTH = 4
MAX_NAMES = 12
"""Keys of a collection that is described: nobody reads more."""


class NoSuchPart(ValueError):
    """Something has no part of a name: no such index, key or attribute."""


@dataclass(frozen=True)
class Part:
    """The way to a part of a batch.

    Each step is an index, a key, the name of an attribute, that of a method with "()" behind it, or a
    callable of what the steps before lead to (and, if it takes two arguments, of the module).
    """

    where: str = field(compare=False)  # its name in messages
    steps: tuple[Step, ...]

    @cached_property
    def _take_module(self) -> list[bool]:
        """Which steps are callables of two arguments: a signature takes longer than most steps."""
        return [callable(step) and len(required_arguments(step)) == 2 for step in self.steps]

    def __call__(self, whole: Any, module: nn.Module | None = None) -> Any:
        """Return the part, None of what is None, or raise NoSuchPart if a step leads nowhere."""
        for step, takes_module in zip(self.steps, self._take_module, strict=True):
            if callable(step):
                whole = step(whole, module) if takes_module else step(whole)
            else:
                whole = self._follow(whole, step)
        return whole

    def _follow(self, whole: Any, step: int | str) -> Any:
        if whole is None:  # so loaders fill in for one that has run out
            return None
        named = mapping_of(whole) if isinstance(step, str) else None
        with suppress(KeyError, IndexError, TypeError, AttributeError):
            # torch takes a text for indices.
            if not isinstance(whole, Tensor) or isinstance(step, int):
                return (whole if named is None else named)[step]
        if isinstance(step, str) and hasattr(whole, name := step.removesuffix(CALLED)):
            part = getattr(whole, name)
            return part() if step.endswith(CALLED) else part
        several = f" (write several parts as {[[s] for s in self.steps]})"
        raise NoSuchPart(
            f"Expected `{self.where}` to be an index, key or attribute of {describe(whole)}, but "
            f"got {step!r}{several if len(self.steps) > 1 else ''}."
        )


def parse_part(where: str, value: Any) -> Part:
    """Return the part that a step, or a list of steps, describes; TypeError if it is neither."""
    steps = list(value) if isinstance(value, list | tuple) else [value]
    for step in steps:
        if not (callable(step) or isinstance(step, int | str)) or isinstance(step, bool):
            raise TypeError(
                f"Expected `{where}` to be an index, a key, the name of an attribute, a list of "
                f"those or a callable, but got {type(step).__name__}."
            )
    return Part(where, tuple(steps))


def parse_parts(where: str, value: Any, parse: Callable[[str, Any], P]) -> tuple[P, ...]:
    """Return one part or several: a list that holds lists or mappings describes several."""
    several = isinstance(value, list | tuple)
    if several and any(isinstance(part, list | tuple | Mapping) for part in value):
        return tuple(parse(where, part) for part in value)
    return (parse(where, value),)


def required_arguments(function: Callable[..., Any]) -> list[str]:
    """Return the names of a function's positional arguments without a default; none of a builtin."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p.name for p in parameters if p.kind in positional and p.default is p.empty]


def describe(value: Any) -> str:
    """Describe a value in a few words."""
    if isinstance(value, Tensor):
        return f"a tensor of dtype {value.dtype} and shape {tuple(value.shape)}"
    kind = f"a {type(value).__name__}"
    if (mapping := mapping_of(value)) is not None:
        return f"{kind} with the keys {_some(mapping)}"
    if (fields := _fields(value)) is not None:
        return f"{kind} with the attributes {_some(fields)}"
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        members = {type(member).__name__ for member in value} if parts_of(value) is None else ()
        return f"{kind} of length {len(value)}" + f" ({', '.join(members)})" * bool(members)
    return kind


def _some(names: Iterable[Any]) -> str:
    names = list(names)
    return f"{names[:MAX_NAMES]}" + f" and {len(names) - MAX_NAMES} more" * (len(names) > MAX_NAMES)


def walk(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield a value and all its parts, each before its own parts, with the path to it."""
    yield path, value
    parts = parts_of(value) if len(path) < MAX_DEPTH else None
    for key, part in (parts or {}).items():
        yield from walk(part, (*path, key))


def parts_of(value: Any) -> Mapping[Any, Any] | None:
    """Return the parts of a collection or an object by their keys; None if it is a part itself."""
    if isinstance(value, Tensor):
        return None
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        # Names of files, numbers, kinds: nobody wants each of them.
        whole = all(isinstance(member, str | bytes | int | float | None) for member in value)
        return None if whole else dict(enumerate(value))
    if isinstance(value, Distribution):
        return _of_distribution(value)
    if (mapping := mapping_of(value)) is None:
        mapping = _fields(value)
    return mapping if mapping is not None and len(mapping) else None


def path_text(path: Path) -> str:
    """Write a path as Python does."""
    return "".join(f"[{step!r}]" for step in path)


def mapping_of(value: Any) -> Mapping[Any, Any] | None:
    """Return what has a part for each key; what iterates over rows is no mapping for Python.

    Only parts that are there are asked for: a graph makes a new one of a key that it lacks.
    """
    if isinstance(value, dict):
        return value
    if isinstance(value, Tensor | nn.Module | type):
        return None
    with suppress(Exception):  # whatever a stranger's class does
        if hasattr(type(value), "keys") and hasattr(type(value), "items"):
            return dict(value.items())
    hidden = [part for name, part in getattr(value, "__dict__", {}).items() if name.startswith("_")]
    stored = {
        key: part for store in hidden if isinstance(store, Mapping) for key, part in store.items()
    }
    return {key: part for key, part in stored.items() if _leads_to(value, key, part)} or None


def _leads_to(value: Any, key: Any, part: Any) -> bool:
    """Tell whether a key, or the name of an attribute, leads to a part."""
    with suppress(Exception):
        return (
            isinstance(key, str)
            and key[:1] != "_"
            and (getattr(value, key, None) is part or value[key] is part)
        )
    return False


def _of_distribution(value: Distribution) -> dict[str, Any] | None:
    """Return the tensors that stand for a distribution: its location, or its mean."""
    parts = {}
    for name in ("loc", "mean", "logits", "scale"):
        with suppress(Exception):  # not every distribution has each of them
            if isinstance(part := getattr(value, name), Tensor):
                parts[name] = part
    if "loc" in parts:
        parts.pop("mean", None)  # the same, mostly
    return parts or None


def _fields(value: Any) -> dict[str, Any] | None:
    """Return the attributes of a dataclass, a namedtuple or a plain object that holds tensors."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return dict(zip(value._fields, value, strict=True))
    if is_dataclass(value) and not isinstance(value, type):
        names = [f.name for f in fields(value) if not f.name.startswith("_")]
        return {name: getattr(value, name, None) for name in names}
    if isinstance(value, Tensor | nn.Module | type) or callable(value):
        return None
    public = {
        name: part for name, part in getattr(value, "__dict__", {}).items() if name[:1] != "_"
    }
    return public if any(isinstance(part, Tensor) for part in public.values()) else None
