"""From ``maps=`` to the maps that are watched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from torch import nn

from lightning_invert.arguments import describe_repetitions, expected_but_got, to_builtin
from lightning_invert.watch.findings import QUESTIONS
from lightning_invert.watch.findings.reach import Reach
from lightning_invert.watch.findings.truth import AgainstTruth
from lightning_invert.watch.functions import FUNCTION, Call, find_function, parse_places
from lightning_invert.watch.maps import WatchedMap
from lightning_invert.watch.parts import Part, parse_part, parse_parts
from lightning_invert.watch.surroundings import AS_IT_IS, Surroundings

__all__ = ["parse_maps", "resolve_maps"]

_FUNCTION = ("module", "input", "within", "argument", "context", "constants", "output")
_COLUMNS = ("input_names", "output_names", "input_std", "output_std", "dtype")
_KEYS = (*_FUNCTION, *_COLUMNS, *QUESTIONS)


def resolve_maps(
    maps: Mapping[str, Any] | None,
    root: nn.Module,
    *,
    reachable_steps: int | None = None,
    surroundings: Surroundings = AS_IT_IS,
) -> list[WatchedMap]:
    """Return the maps that a user describes, or raise ValueError or TypeError.

    ``maps`` is name -> a path, from ``root``, to a submodule or method ("" is ``root`` itself), a
    module, a callable, or a mapping of :data:`_KEYS`, of which ``module`` is one of those. ``None``:
    what ``root.invertibility_maps()`` returns, else ``root`` itself. Without ``reachable_steps``, the
    steps of the solver, ``reach`` is left out. The maps are evaluated in the ``surroundings``.
    """
    if maps is None:
        own_maps = getattr(root, "invertibility_maps", None)
        maps = own_maps() if callable(own_maps) else {"forward": ""}
    maps = to_builtin(maps)
    if reachable_steps is None and isinstance(maps, Mapping):
        maps = {
            name: {k: v for k, v in entry.items() if k != "reach"}
            if isinstance(entry, Mapping)
            else entry
            for name, entry in maps.items()
        }
    entries = parse_maps(maps)
    watched = []
    for name, entry in entries.items():
        scope = _Scope(entries, root, (name,), surroundings)
        found = _resolve_map(f"maps[{name!r}]", name, entry, scope)
        watched.append(_resolve_questions(found, entry, root, reachable_steps))
    return watched


def parse_maps(maps: Any) -> dict[str, dict[str, Any]]:
    """Parse the parts of each entry; raise ValueError or TypeError for one that makes no sense."""
    if not isinstance(maps, Mapping) or not maps:
        raise ValueError(
            expected_but_got("maps", "a mapping with at least one map, {'forward': 'net'}", maps)
        )
    return {name: _parse_entry(name, entry) for name, entry in maps.items()}


class _Value(NamedTuple):
    """A part that is the value of a function: of the map of that name, or of an entry."""

    where: str
    function: str | dict[str, Any]


def _parse_entry(name: Any, entry: Any) -> dict[str, Any]:
    if not isinstance(name, str) or not name:
        raise TypeError(
            f"Expected the names in argument `maps` to be texts, as in {{'forward': 'net'}}, but "
            f"got {name!r}."
        )
    where = f"maps[{name!r}]"
    spec = _parse_function(where, entry if isinstance(entry, Mapping) else {"module": entry}, _KEYS)
    for key, question in QUESTIONS.items():
        if key in spec:
            question.check(f"{where}['{key}']", spec[key])
    fixed = [key for key in ("context", "within") if key in spec]
    if "reach" in spec and fixed:
        raise ValueError(
            f"Expected `{where}` to have no `{fixed[0]}` beside `reach`: an outcome is reached by "
            "the inputs alone."
        )
    return spec


def _parse_function(where: str, entry: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """Parse what a function takes of a batch, and how; other keys stay as they are."""
    unknown = sorted(map(str, set(entry) - set(keys)))
    if unknown:
        raise ValueError(
            f"Expected the keys of `{where}` to be among {list(keys)}, but got {unknown}."
        )
    spec = {"module": "", **{key: value for key, value in entry.items() if value is not None}}
    module = spec["module"]
    if not isinstance(module, str | nn.Module) and not callable(module):
        raise TypeError(
            f"Expected `{where}` to be {FUNCTION}, or a mapping with the keys {list(keys)}, but "
            f"got {type(module).__name__}."
        )
    context = spec.get("context", ())
    keywords: tuple[Any, ...] = ()
    if isinstance(context, Mapping):
        keywords = tuple(context)
        spec["context"] = tuple(
            _parse_source(f"{where}['context'][{name!r}]", part) for name, part in context.items()
        )
    elif "context" in spec:
        spec["context"] = parse_parts(f"{where}['context']", context, _parse_source)
    if "input" in spec:
        spec["input"] = parse_parts(f"{where}['input']", spec["input"], _parse_source)
    for key in ("within", "output"):
        if key in spec:
            spec[key] = parse_part(f"{where}['{key}']", spec[key])
    constants = spec.get("constants", {})
    places: tuple[int | str, ...] = ()
    if not isinstance(constants, Mapping):
        expected = "a mapping of the names of arguments to values, as in {'pad': False}"
        raise TypeError(expected_but_got(f"{where}['constants']", expected, constants))
    if "argument" in spec:
        count = 1 if "within" in spec else len(spec.get("input", [""]))
        places = parse_places(f"{where}['argument']", spec["argument"], count)
    names = [*keywords, *constants, *(place for place in places if isinstance(place, str))]
    if not all(isinstance(name, str) for name in names) or describe_repetitions(names):
        raise ValueError(
            f"Expected `{where}` to name each argument once, by a text, but got {names}."
        )
    spec["call"] = Call(places, keywords, constants)
    return spec


def _parse_source(where: str, source: Any) -> Part | _Value:
    """Parse a part of a batch, or the value of a function of it."""
    if not isinstance(source, Mapping):
        return parse_part(where, source)
    if "module" in source:
        return _Value(where, _parse_function(where, source, _FUNCTION))
    if set(source) != {"map"} or not isinstance(source["map"], str):
        expected = "a part of the batch, {'map': <name of another map>} or {'module': <path>, ...}"
        raise ValueError(expected_but_got(where, expected, dict(source)))
    return _Value(where, source["map"])


class _Scope(NamedTuple):
    """Where the functions of parts are found, and which maps led there."""

    entries: Mapping[str, dict[str, Any]]
    root: nn.Module
    names: tuple[str, ...] = ()
    surroundings: Surroundings = AS_IT_IS


def _resolve_map(where: str, name: str, spec: Mapping[str, Any], scope: _Scope) -> WatchedMap:
    """Find the function of an entry and those of its parts."""
    function, owner = find_function(where, spec["module"], scope.root)
    contexts = spec.get("context", ())
    inputs = spec.get("input")
    return WatchedMap(
        name,
        function,
        owner,
        inputs=inputs and tuple(_resolve_part(part, scope) for part in inputs),
        within=spec.get("within"),
        contexts=tuple(_resolve_part(part, scope) for part in contexts),
        output=spec.get("output"),
        call=spec["call"].resolve(where, function, len(contexts)),
        root=scope.root,
        surroundings=scope.surroundings,
        **{key: spec[key] for key in _COLUMNS if key in spec},
    )


def _resolve_part(part: Part | _Value, scope: _Scope) -> Part:
    """Return the part of a batch, computed by a function if it is a value."""
    if isinstance(part, Part):
        return part
    name, spec = part.where, part.function
    if isinstance(spec, str):
        others = [other for other in scope.entries if other != scope.names[0]]
        if spec not in scope.entries:
            raise ValueError(
                f"Expected `{part.where}['map']` to be the name of another map, of which there are "
                f"{others or 'none'}, but got {spec!r}."
            )
        if spec in scope.names:
            circle = " -> ".join(map(repr, (*scope.names, spec)))
            raise ValueError(
                f"Expected the maps in `{part.where}` not to lead back to themselves, but got "
                f"{circle}."
            )
        name, where = spec, f"maps[{spec!r}]"
        scope = scope._replace(names=(*scope.names, name))
        spec = scope.entries[name]
        return Part(part.where, (_resolve_map(where, name, spec, scope).value,))
    return Part(part.where, (_resolve_map(part.where, part.where, spec, scope).value,))


def _resolve_questions(
    watched: WatchedMap, spec: Mapping[str, Any], root: nn.Module, reachable_steps: int | None
) -> WatchedMap:
    """Put to a map the questions of its entry."""
    for key, kind in QUESTIONS.items():
        if key not in spec:
            continue
        question = kind.resolve(watched.name, f"maps[{watched.name!r}]['{key}']", spec[key], root)
        if isinstance(question, Reach) and reachable_steps is not None:
            inverse = replace(question.inverse, surroundings=watched.surroundings)
            question = replace(question, steps=reachable_steps, inverse=inverse)
        if isinstance(question, AgainstTruth):  # of the same arguments
            question = replace(question, truth=replace(question.truth, call=watched.call))
        if question is not None:
            watched = watched.asking(question)
    return watched
