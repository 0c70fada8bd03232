"""Parts of a batch, or of what a module returns: the way to each."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from torch import Tensor, nn

__all__ = [
    "NoSuchPart",
    "Part",
    "describe",
    "leaves",
    "parse_part",
    "parse_parts",
    "required_arguments",
]

P = TypeVar("P")
Step: TypeAlias = "int | str | Callable[..., Any]"

CALLED = "()"
"""Behind the name of a method: what it returns without arguments is the part."""

MAX_DEPTH = 4
MAX_LEAVES = 24
"""Of a batch that is described: nobody reads more."""


class NoSuchPart(ValueError):
    """Something has no part of a name: no such index, key or attribute."""


class Part:
    """The way to a part of a batch; ``where`` is its name in messages.

    Each step is an index, a key, the name of an attribute, that of a method with "()" behind it, or a
    callable of what the steps before lead to (and, if it takes two arguments, of the module).
    """

    def __init__(self, where: str, steps: Sequence[Step]) -> None:
        self.where = where
        self.steps = tuple(steps)

    def __call__(self, whole: Any, module: nn.Module | None = None) -> Any:
        """Return the part, None of what is None, or raise NoSuchPart if a step leads nowhere."""
        for step in self.steps:
            whole = self._follow(whole, step, module)
        return whole

    def _follow(self, whole: Any, step: Step, module: nn.Module | None) -> Any:
        if callable(step):
            takes_two = len(required_arguments(step)) == 2
            return step(whole, module) if takes_two else step(whole)
        if whole is None:  # so loaders fill in for one that has run out
            return None
        try:
            return whole[step]
        except (KeyError, IndexError, TypeError, AttributeError):
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
    return Part(where, steps)


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
    if isinstance(value, Mapping):
        return f"a {type(value).__name__} with the keys {list(value)}"
    fields = _fields(value)
    if fields is not None:
        return f"a {type(value).__name__} with the attributes {list(fields)}"
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return f"a {type(value).__name__} of length {len(value)}"
    return f"a {type(value).__name__}"


def leaves(value: Any, path: tuple[int | str, ...] = ()) -> Iterator[tuple[list[int | str], Any]]:
    """Yield each part without parts of its own, with the path to it: ([0, 'x'], 1) of ({'x': 1},)."""
    parts: Mapping[Any, Any] | None = None
    if len(path) < MAX_DEPTH:
        if isinstance(value, Mapping):
            parts = value
        elif isinstance(value, list | tuple) and not hasattr(value, "_fields"):
            parts = dict(enumerate(value))
        elif not isinstance(value, Tensor):
            parts = _fields(value)
    if parts:
        for key, part in parts.items():
            yield from leaves(part, (*path, key))
    else:
        yield list(path), value


def _fields(value: Any) -> dict[str, Any] | None:
    """Return the attributes of a dataclass, a namedtuple or a plain object that holds tensors."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return dict(zip(value._fields, value, strict=True))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    own = getattr(value, "__dict__", None)
    if own and not isinstance(value, Tensor | nn.Module | type) and not callable(value):
        public = {name: part for name, part in own.items() if not name.startswith("_")}
        if any(isinstance(part, Tensor) for part in public.values()):
            return public
    return None
