"""Functions that a user names by a path, as a module or as a callable, and how they are called."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from lightning_invert.arguments import expected_but_got, suggest
from lightning_invert.jacobians.namespaces import is_of_a_library

__all__ = ["FUNCTION", "Call", "find_function", "has_forward", "parameters_of", "parse_places"]

FUNCTION = "a path to a submodule or method, a module or a callable"
"""What a user may write."""

MAX_LISTED = 24


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
        methods = _methods(root)
        with suppress(AttributeError):
            owner = root.get_submodule(path)
            if callable(method := getattr(owner, attribute, None)):
                return method, owner
            methods += [f"{path}.{name}" for name in _methods(owner) if owner is not root]
        paths = [path for path, _ in root.named_modules() if path]
        raise ValueError(
            f"Expected `{argument}` to be the path of a submodule or a method of "
            f"{type(root).__name__}, but got {where!r}. There are the submodules {_listed(paths)}, "
            f"and the methods {_listed(methods)}.{suggest(where, [*paths, *methods])}"
        ) from None
    if not has_forward(module):
        raise ValueError(
            f"Expected `{argument}` to be a module with a `forward`, but "
            f"{type(module).__name__} defines none. Name the path of the part of it that is to "
            "be watched."
        )
    return module, module


def has_forward(module: nn.Module) -> bool:
    """Tell whether a module has a forward of its own."""
    if "forward" in vars(module):  # as a compiled module has, and one that is patched
        return True
    forward = getattr(type(module), "forward", None)
    # Lightning's own, of either namespace, only raises.
    library = (getattr(forward, "__module__", None) or "").partition(".")[0]
    is_base = getattr(forward, "__qualname__", "") == "LightningModule.forward"
    return forward is not nn.Module.forward and not (
        is_base and library in ("lightning", "pytorch_lightning")
    )


def _methods(module: nn.Module) -> list[str]:
    """Return the names of a module's own methods, but for those that the trainer calls."""
    kinds = type(module).__mro__
    inherited = {name for kind in kinds if is_of_a_library(kind.__module__) for name in vars(kind)}
    own = {name: value for kind in kinds for name, value in vars(kind).items()}
    return [
        name
        for name, value in own.items()
        if inspect.isroutine(value) and not name.startswith("_") and name not in inherited
    ]


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return (", ".join(names[:MAX_LISTED]) or "none") + more


def parameters_of(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the parameters of a function, or of a module's forward; none of a builtin."""
    function = getattr(function, "_orig_mod", function)  # of a compiled module
    try:
        return dict(inspect.signature(getattr(function, "forward", function)).parameters)
    except (TypeError, ValueError):
        return {}


@dataclass(frozen=True)
class Call:
    """How a function takes the inputs and the contexts of a map, which come in this order."""

    inputs: tuple[int | str, ...] = ()  # the position or name of each; none: they come first
    keywords: tuple[str, ...] = ()  # the names of the last contexts; the others have none
    constants: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, function: Callable[..., Any], values: Sequence[Any]) -> Any:
        """Call the function."""
        count, split = len(self.inputs), len(values) - len(self.keywords)
        positional = list(values[count:split])
        keywords = {**self.constants, **dict(zip(self.keywords, values[split:], strict=True))}
        inputs = dict(zip(self.inputs, values[:count], strict=True))
        for position in sorted(place for place in inputs if isinstance(place, int)):
            positional.insert(position, inputs[position])
        names = {place: value for place, value in inputs.items() if isinstance(place, str)}
        return function(*positional, **keywords, **names)

    def resolve(self, where: str, function: Callable[..., Any], num_contexts: int) -> Call:
        """Return the same with positions for the names of inputs that the contexts would take up.

        It raises ValueError for an argument that the function does not have.
        """
        parameters = parameters_of(function)
        kinds = [parameter.kind for parameter in parameters.values()]
        names = [place for place in self.inputs if isinstance(place, str)]
        if parameters and inspect.Parameter.VAR_KEYWORD not in kinds:
            for name in (*names, *self.keywords, *self.constants):
                if name not in parameters:
                    raise ValueError(
                        f"Expected `{where}` to name arguments of its function, which are "
                        f"{list(parameters)}, but got {name!r}."
                    )
        free = num_contexts - len(self.keywords)
        count = free + len(self.inputs) - len(names)  # of the arguments that go by position
        positions: dict[int | str, int] = {}
        for position, (name, kind) in enumerate(zip(parameters, kinds, strict=True)):
            if name in names and position <= count and kind <= kind.POSITIONAL_OR_KEYWORD:
                positions[name], count = position, count + 1
        inputs = tuple(positions.get(place, place) for place in self.inputs)
        taken = sorted(place for place in inputs if isinstance(place, int))
        for number, position in enumerate(taken):
            if position > number + free:
                raise ValueError(
                    f"Expected `{where}['argument']` to be the name of an argument, or a position with "
                    "the parts of `context` that have no name before it, of which there are "
                    f"{free}, but got {position}."
                )
        return replace(self, inputs=inputs)


def parse_places(where: str, argument: Any, num_inputs: int) -> tuple[int | str, ...]:
    """Return the position or name of each input; raise TypeError or ValueError if there is none."""
    places = list(argument) if isinstance(argument, list | tuple) else [argument]
    expected = "the position (counted from 0) or the name of an argument"
    for place in places:
        if isinstance(place, bool) or not isinstance(place, int | str):
            raise TypeError(expected_but_got(where, f"{expected}, or a list of those", place))
    if isinstance(argument, int):
        places = list(range(argument, argument + num_inputs))  # they stand together
    least = min((place for place in places if isinstance(place, int)), default=0)
    if least < 0 or len(places) != num_inputs or len(set(places)) != num_inputs:
        each = f", one for each of the {num_inputs} inputs" if num_inputs > 1 else ""
        raise ValueError(expected_but_got(where, f"{expected}{each}", argument))
    return tuple(places)
