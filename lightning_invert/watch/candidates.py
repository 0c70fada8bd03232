"""Candidates for an entry of ``maps``: the ways in which a function may be called with a batch."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from inspect import Parameter
from itertools import chain
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from lightning_invert.watch.functions import parameters_of
from lightning_invert.watch.parts import Path

__all__ = ["CAST", "Candidate", "Parts", "candidates", "floating_parts", "written"]

Parts: TypeAlias = dict[Path, Any]
"""A batch and all its parts, each before its own parts."""

CAST = "float()"
"""The method that makes numbers of integers."""

EMBEDDED = "inputs_embeds"
"""The argument that takes embeddings in the place of integers, in transformers and what follows it."""

MAX_INPUTS, MAX_TOGETHER = 3, 32
"""Inputs that a call is tried with, and those of a list that are one together."""

LABEL = re.compile(r"(?<!past)(^|_)(targets?|labels?|y|weights?|w)($|_)", re.IGNORECASE)
"""Names of what a network is compared with, or weighted by: they come last."""


class Candidate(NamedTuple):
    """An entry of ``maps`` but for the output."""

    entry: dict[str, Any]
    is_of_rows: bool  # whether a sample of rows can be the input
    arguments: tuple[str, ...]  # a function that takes others refuses them, whatever parts they are


class _Call(NamedTuple):
    """A way to call a function: one argument has the input in it, the others are fixed."""

    varied: Path
    argument: int | str = 0  # the position or name of the varied one
    fixed: tuple[tuple[str, Path], ...] = ()  # by their names; those without one in their order


def candidates(
    path: str, function: Callable[..., Any], parts: Parts, cast: str = ""
) -> Iterator[Candidate]:
    """Yield the ways to call a function with parts of a batch, the likely ones first.

    By the names of its arguments, where the batch has them; with a floating part, a collection that
    holds it or the whole batch as the first argument; with the parts of a tuple in their order. With
    a ``cast`` (:data:`CAST`, or the path of an embedding), the input is what that makes of integers.
    """
    if cast:
        yield from _of_integers(path, function, parts, cast)
        return
    signature = list(parameters_of(function).values())
    ways = chain(_by_name(signature, parts), _by_position(signature, parts))
    for varied, argument, fixed in dict.fromkeys(ways):
        names = (argument, *(name for name, _ in fixed))
        texts = sorted(name if isinstance(name, str) else "" for name in names)
        named = {name: written(p) for name, p in fixed if name}
        for inputs in _inputs(parts, varied, [p for _, p in fixed]) or [[]]:
            entry = {
                "module": path or None,
                "input": written(*(inputs or [varied])),
                "within": None if inputs in ([], [varied]) else written(varied),
                "argument": argument or None,
                "context": named or written(*(p for _, p in fixed)) if fixed else None,
            }
            entry = {k: v for k, v in entry.items() if v is not None}
            yield Candidate(entry, bool(inputs), (path, *texts))


def _of_integers(
    path: str, function: Callable[..., Any], parts: Parts, cast: str
) -> Iterator[Candidate]:
    integers = [
        p
        for p, part in parts.items()
        if isinstance(part, Tensor) and not (part.is_floating_point() or part.is_complex())
    ]
    for ids in integers[:MAX_INPUTS]:
        # As if the batch had the numbers: those of an embedding under the usual name.
        given: Any = [*ids, CAST]
        numbers, place = parts[ids].float(), ids
        if cast != CAST:
            numbers, place = numbers[..., None], (*ids[:-1], EMBEDDED)
            given = {"module": cast, "input": written(ids)}
        there = {place if p == ids else p: v for p, v in parts.items()} | {place: numbers}
        for candidate in candidates(path, function, {(): None, **there}):
            entry = candidate.entry
            if entry.get("input") == written(place) and "within" not in entry:
                yield candidate._replace(entry=entry | {"input": given})


def _inputs(parts: Parts, varied: Path, fixed: Sequence[Path]) -> list[list[Path]]:
    """Return by what a call may be differentiated: by one tensor, or by all of a list."""
    # Indices, as of a graph, point to rows of the batch: a sample of rows would upset them.
    pointing = {
        len(part)
        for argument in (varied, *fixed)
        for path, part in parts.items()
        if path[: len(argument)] == argument and isinstance(part, Tensor) and part.ndim > 0
        if part.dtype in (torch.int32, torch.int64)
    }
    inside = [p for p in floating_parts(parts) if p[: len(varied)] == varied]
    inside = [p for p in inside if pointing <= {len(parts[p])}]
    together = isinstance(parts[varied], list) and 1 < len(inside) <= MAX_TOGETHER
    together = together and all(len(parts[p]) > 1 for p in inside)  # else each is a row by itself
    return [sorted(inside)] * together + [[path] for path in inside[:MAX_INPUTS]]


def written(*paths: Path) -> Any:
    """Return one path or several as a user writes them."""
    if len(paths) > 1:
        return [list(path) for path in paths]
    return paths[0][0] if len(paths[0]) == 1 else list(paths[0])


def floating_parts(parts: Parts, first: str | None = None) -> list[Path]:
    """Return the paths of floating tensors with rows: those of a name first, targets last.

    Of one number a row the singular value alone would be told.
    """

    def rank(path: Path) -> tuple[int, bool]:
        name = next((step for step in reversed(path) if isinstance(step, str)), "")
        by_name = 0 if name == first else 2 if LABEL.search(name) else 1
        return by_name, parts[path].numel() == len(parts[path])

    floating = [
        path
        for path, value in parts.items()
        if isinstance(value, Tensor) and value.is_floating_point() and value.ndim > 1
    ]
    return sorted(floating, key=rank)


def _by_name(signature: list[Parameter], parts: Parts) -> Iterator[_Call]:
    """Give each argument the part of its name, those with a default only in a second try."""
    named = {p.name: p for p in signature if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    required = [name for name, p in named.items() if p.default is p.empty]
    takes_all = any(p.kind is p.VAR_KEYWORD for p in signature)
    for whole in [path for path in parts if len(path) < 2]:
        steps = [path[-1] for path in parts if path and path[:-1] == whole]
        keys = [step for step in steps if isinstance(step, str)]
        present = [name for name in named if name in keys]
        known = keys if takes_all else present
        if not set(required) <= set(present):
            continue
        few = [[name for name in some if not LABEL.search(name)] for some in (present, known)]
        for names in dict.fromkeys(map(tuple, (required or present[:1], *few, present, known))):
            for part in floating_parts(parts, names[0] if names else None):
                if part[:-1][: len(whole)] == whole and (name := part[len(whole)]) in names:
                    fixed = tuple((n, (*whole, n)) for n in names if n != name)
                    is_first = name == signature[0].name
                    yield _Call((*whole, name), 0 if is_first else name, fixed)


def _by_position(signature: list[Parameter], parts: Parts) -> Iterator[_Call]:
    """Give the first argument each floating part, collection or batch; then all what a tuple has in order."""
    arguments = [p for p in signature if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [p.name for p in arguments[1:] if p.default is p.empty]
    optional = [p.name for p in arguments[1:] if p.default is not p.empty]
    is_open = any(p.kind is p.VAR_POSITIONAL for p in signature)
    if not arguments and not is_open:
        return
    for part in floating_parts(parts, arguments[0].name if arguments else None):
        for depth in range(len(part), -1, -1):
            first = part[:depth]
            siblings = [path for path in parts if path and first and path[:-1] == first[:-1]]
            place = siblings.index(first) if siblings else 0
            others = siblings[place + 1 :] + siblings[:place]
            for names in (required, [*required, *optional[:1]]):
                if len(names) <= len(others):
                    yield _Call(first, fixed=_fill(names, others))
            for count in range(min(len(others), MAX_INPUTS) + 1 if is_open else 0):
                yield _Call(first, fixed=tuple(("", path) for path in others[:count]))
    for part in floating_parts(parts):
        siblings = [path for path in parts if path and path[:-1] == part[:-1]]
        place = siblings.index(part) if siblings else 0
        fewest = max(sum(p.default is p.empty for p in arguments), place + 1)
        for count in range(fewest, min(len(arguments), len(siblings)) + 1) if place else ():
            fixed = tuple(("", path) for path in siblings[:count] if path != part)
            yield _Call(part, place, fixed)


def _fill(names: Sequence[str], siblings: Sequence[Path]) -> tuple[tuple[str, Path], ...]:
    """Return a part for each name: that of the name, or the next that is left."""
    left, fixed = list(siblings), []
    for name in names:
        chosen = next((path for path in left if path[-1] == name), left[0])
        left.remove(chosen)
        fixed.append(("", chosen))
    return tuple(fixed)
