"""From ``maps=`` to the maps that are watched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from lightning_invert.arguments import wrong
from lightning_invert.watch.findings import QUESTIONS
from lightning_invert.watch.findings.reach import Reach
from lightning_invert.watch.functions import FUNCTION, find_function
from lightning_invert.watch.maps import WatchedMap
from lightning_invert.watch.parts import parse_part, parse_parts

__all__ = ["checked_maps", "resolve_maps"]

_PARTS = ("input", "within", "context", "output")
_COLUMNS = ("input_names", "output_names", "input_std", "output_std", "dtype")
_KEYS = ("module", *_PARTS, *_COLUMNS, *QUESTIONS)


def resolve_maps(
    maps: Mapping[str, Any] | None, root: nn.Module, *, reachable_steps: int | None = None
) -> list[WatchedMap]:
    """Return the maps that a user describes.

    Args:
        maps: Name -> a path to a submodule or method ("" is ``root`` itself), a module, a callable,
            or a mapping with ``module`` (one of those), ``input``, ``within``, ``context`` and
            ``output`` (see :mod:`~lightning_invert.watch.parts`), ``input_names``,
            ``output_names``, ``input_std``, ``output_std``, ``dtype``, and the keys of
            :data:`~lightning_invert.watch.findings.QUESTIONS`. ``None``: what
            ``root.invertibility_maps()`` returns, else ``root`` itself.
        root: The module that paths start from.
        reachable_steps: How many steps of the solver ``reach`` is about; None: it is not read.

    Raises:
        ValueError: If a path does not lead to a module or a key is not known.
        TypeError: If an entry is none of the above.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Linear(7, 4), nn.Tanh())
        >>> (first,) = resolve_maps({"first": "0"}, net)
        >>> points = first.take((torch.zeros(10, 7), "label"))
        >>> points.inputs.shape, first(points.inputs).shape
        (torch.Size([10, 7]), torch.Size([10, 4]))
    """
    if maps is None:
        ask = getattr(root, "invertibility_maps", None)
        maps = ask() if callable(ask) else {"forward": ""}
    if reachable_steps is None and isinstance(maps, Mapping):
        maps = {name: _without_reach(entry) for name, entry in maps.items()}
    resolved = [_resolve(name, spec, root) for name, spec in checked_maps(maps).items()]
    if reachable_steps is None:
        return resolved
    return [
        watched if reach is None else watched.asking(replace(reach, steps=reachable_steps))
        for watched in resolved
        for reach in (watched.question(Reach),)
    ]


def checked_maps(maps: Any) -> dict[str, dict[str, Any]]:
    """Return a mapping for each map, or raise ValueError or TypeError if one makes no sense by itself."""
    if not isinstance(maps, Mapping) or not maps:
        raise ValueError(wrong("maps", "a mapping with at least one map, {'forward': 'net'}", maps))
    return {name: _checked_spec(name, entry) for name, entry in maps.items()}


def _without_reach(entry: Any) -> Any:
    if not isinstance(entry, Mapping):
        return entry
    return {key: value for key, value in entry.items() if key != "reach"}


def _checked_spec(name: Any, entry: Any) -> dict[str, Any]:
    if not isinstance(name, str) or not name:
        raise TypeError(
            f"Expected the names in argument `maps` to be texts, as in {{'forward': 'net'}}, but "
            f"got {name!r}."
        )
    spec = dict(entry) if isinstance(entry, Mapping) else {"module": entry}
    unknown = sorted(map(str, set(spec) - set(_KEYS)))
    if unknown:
        raise ValueError(
            f"Expected the keys of `maps[{name!r}]` to be among {list(_KEYS)}, but got {unknown}."
        )
    module = spec.get("module", "")
    if not isinstance(module, str | nn.Module) and not callable(module):
        raise TypeError(
            f"Expected `maps[{name!r}]` to be {FUNCTION}, or a mapping with the keys "
            f"{list(_KEYS)}, but got {type(module).__name__}."
        )
    for side in _PARTS:
        if spec.get(side) is not None:
            parse_parts(f"maps[{name!r}]['{side}']", spec[side])
    for key, question in QUESTIONS.items():
        if spec.get(key) is not None:
            question.check(f"maps[{name!r}]['{key}']", spec[key])
    further = [side for side in ("context", "within") if spec.get(side) is not None]
    if spec.get("reach") is not None and further:
        raise ValueError(
            f"Expected `maps[{name!r}]` to have no `{further[0]}` beside `reach`: an outcome is "
            "reached by the inputs alone."
        )
    return spec


def _resolve(name: str, spec: dict[str, Any], root: nn.Module) -> WatchedMap:
    at = {key: f"maps[{name!r}]['{key}']" for key in _KEYS}
    function, owner = find_function(f"maps[{name!r}]", spec.get("module", ""), root)
    questions = [
        question.resolve(name, at[key], spec[key], root)
        for key, question in QUESTIONS.items()
        if spec.get(key) is not None
    ]
    several = {
        side: None if spec.get(side) is None else parse_parts(at[side], spec[side])
        for side in ("input", "context")
    }
    single = {
        side: None if spec.get(side) is None else parse_part(at[side], spec[side])
        for side in ("within", "output")
    }
    return WatchedMap(
        name,
        function,
        owner,
        inputs=several["input"],
        within=single["within"],
        contexts=several["context"] or (),
        output=single["output"],
        root=root,
        questions=tuple(question for question in questions if question is not None),
        **{key: spec[key] for key in _COLUMNS if key in spec},
    )
