"""From ``maps=`` to the maps that are watched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from lightning_invert.arguments import expected_but_got
from lightning_invert.watch.findings import QUESTIONS
from lightning_invert.watch.findings.reach import Reach
from lightning_invert.watch.functions import FUNCTION, find_function
from lightning_invert.watch.maps import WatchedMap
from lightning_invert.watch.parts import parse_part, parse_parts

__all__ = ["parse_maps", "resolve_maps"]

_PARTS, _SEVERAL = ("input", "within", "context", "output"), ("input", "context")
_COLUMNS = ("input_names", "output_names", "input_std", "output_std", "dtype")
_KEYS = ("module", *_PARTS, *_COLUMNS, *QUESTIONS)


def resolve_maps(
    maps: Mapping[str, Any] | None, root: nn.Module, *, reachable_steps: int | None = None
) -> list[WatchedMap]:
    """Return the maps that a user describes, or raise ValueError or TypeError.

    ``maps`` is name -> a path, from ``root``, to a submodule or method ("" is ``root`` itself), a
    module, a callable, or a mapping of :data:`_KEYS`, of which ``module`` is one of those. ``None``:
    what ``root.invertibility_maps()`` returns, else ``root`` itself. Without ``reachable_steps``, the
    steps of the solver, ``reach`` is left out.
    """
    if maps is None:
        own_maps = getattr(root, "invertibility_maps", None)
        maps = own_maps() if callable(own_maps) else {"forward": ""}
    if reachable_steps is None and isinstance(maps, Mapping):
        maps = {name: _without_reach(entry) for name, entry in maps.items()}
    return [_resolve(name, spec, root, reachable_steps) for name, spec in parse_maps(maps).items()]


def parse_maps(maps: Any) -> dict[str, dict[str, Any]]:
    """Parse the parts of each entry; raise ValueError or TypeError for one that makes no sense."""
    if not isinstance(maps, Mapping) or not maps:
        raise ValueError(
            expected_but_got("maps", "a mapping with at least one map, {'forward': 'net'}", maps)
        )
    return {name: _parse_entry(name, entry) for name, entry in maps.items()}


def _without_reach(entry: Any) -> Any:
    if not isinstance(entry, Mapping):
        return entry
    return {key: value for key, value in entry.items() if key != "reach"}


def _parse_entry(name: Any, entry: Any) -> dict[str, Any]:
    if not isinstance(name, str) or not name:
        raise TypeError(
            f"Expected the names in argument `maps` to be texts, as in {{'forward': 'net'}}, but "
            f"got {name!r}."
        )
    where = f"maps[{name!r}]"
    spec = dict(entry) if isinstance(entry, Mapping) else {"module": entry}
    unknown = sorted(map(str, set(spec) - set(_KEYS)))
    if unknown:
        raise ValueError(
            f"Expected the keys of `{where}` to be among {list(_KEYS)}, but got {unknown}."
        )
    module = spec.setdefault("module", "")
    if not isinstance(module, str | nn.Module) and not callable(module):
        raise TypeError(
            f"Expected `{where}` to be {FUNCTION}, or a mapping with the keys {list(_KEYS)}, but "
            f"got {type(module).__name__}."
        )
    spec = {key: value for key, value in spec.items() if value is not None}
    for key, value in spec.items():
        if key in _PARTS:
            parse = parse_parts if key in _SEVERAL else parse_part
            spec[key] = parse(f"{where}['{key}']", value)
        elif key in QUESTIONS:
            QUESTIONS[key].check(f"{where}['{key}']", value)
    fixed = [key for key in ("context", "within") if key in spec]
    if "reach" in spec and fixed:
        raise ValueError(
            f"Expected `{where}` to have no `{fixed[0]}` beside `reach`: an outcome is reached by "
            "the inputs alone."
        )
    return spec


def _resolve(
    name: str, spec: dict[str, Any], root: nn.Module, reachable_steps: int | None
) -> WatchedMap:
    function, owner = find_function(f"maps[{name!r}]", spec["module"], root)
    watched = WatchedMap(
        name,
        function,
        owner,
        inputs=spec.get("input"),
        within=spec.get("within"),
        contexts=spec.get("context", ()),
        output=spec.get("output"),
        root=root,
        **{key: spec[key] for key in _COLUMNS if key in spec},
    )
    for key, kind in QUESTIONS.items():
        if key in spec:
            question = kind.resolve(name, f"maps[{name!r}]['{key}']", spec[key], root)
            if isinstance(question, Reach) and reachable_steps is not None:
                question = replace(question, steps=reachable_steps)
            if question is not None:
                watched = watched.asking(question)
    return watched
