"""Candidates for an entry of ``maps``: the ways in which a function may be called with a batch."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from inspect import Parameter
from itertools import chain, product
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_invert.watch.functions import parameters_of
from lightning_invert.watch.parts import MAX_DEPTH, Path, parts_of, path_text

__all__ = [
    "Candidate",
    "candidates",
    "candidates_of_casts",
    "candidates_of_embeddings",
    "floating_parts",
    "parts_by_path",
]

MAX_PARTS = 256
"""Parts of a batch that are looked at."""

MAX_INPUTS, MAX_EMBEDDED, MAX_TOGETHER = 3, 2, 32
"""Inputs that a call is tried with, embeddings likewise, and those of a list that are one together."""

LABEL = re.compile(r"(?<!past)(^|_)(targets?|labels?|y|weights?|w)($|_)", re.IGNORECASE)
"""Names of what a network is compared with, or weighted by: they come last."""

EMBEDDED = "inputs_embeds"
"""The argument that takes embeddings in the place of integers, in transformers and what follows it."""

INDICES = (torch.int32, torch.int64)


class Candidate(NamedTuple):
    """A way to call a function, by its path: one argument has the input in it, the others are fixed."""

    module: str
    varied: Path
    fixed: tuple[Path, ...] = ()
    argument: int | str = 0  # the position or name of the varied one
    names: tuple[str, ...] = ()  # of the fixed ones; none: they come in their order
    embedding: str = ""  # the path of what makes numbers of the varied one, if it is of integers
    cast: tuple[str, ...] = ()  # or the method that does

    @property
    def arguments(self) -> Hashable:
        """What a function that takes other arguments refuses, whatever part of a batch they are."""
        by_name = () if isinstance(self.argument, int) else (self.argument,)
        num_positional = 1 + len(self.fixed) - len(self.names) - len(by_name)
        return self.module, num_positional, frozenset((*self.names, *by_name))

    def inputs(self, parts: dict[Path, Any]) -> list[list[Path]]:
        """Return by what the call may be differentiated: by one tensor, or by all of a list."""
        if self.embedding or self.cast:
            return [[self.varied]]
        inside = [p for p in floating_parts(parts) if p[: len(self.varied)] == self.varied]
        inside = [p for p in inside if not self._points_elsewhere(len(parts[p]), parts)]
        single = [[path] for path in inside[:MAX_INPUTS]]
        together = isinstance(parts[self.varied], list) and 1 < len(inside) <= MAX_TOGETHER
        if together and all(
            len(parts[path]) > 1 for path in inside
        ):  # else each is a row by itself
            return [sorted(inside), *single]
        return single

    def _points_elsewhere(self, count: int, parts: dict[Path, Any]) -> bool:
        """Tell whether an argument holds indices, as of a graph, that a sample of rows would upset."""
        return any(
            isinstance(part, Tensor)
            and part.dtype in INDICES
            and part.ndim > 0
            and len(part) != count
            for argument in (self.varied, *self.fixed)
            for path, part in parts.items()
            if path[: len(argument)] == argument
        )

    def entry(self, inputs: Sequence[Path], output: Path = ()) -> dict[str, Any]:
        """Return what to write into ``maps`` for it."""
        entry: dict[str, Any] = {"module": self.module} if self.module else {}
        if self.embedding:
            entry["input"] = {"module": self.embedding, "input": _short(self.varied)}
        else:
            entry["input"] = _written([(*path, *self.cast) for path in inputs])
            if [*inputs] != [self.varied]:
                entry["within"] = _short(self.varied)
        if self.argument != 0:
            entry["argument"] = self.argument
        if self.names:
            entry["context"] = dict(zip(self.names, map(_short, self.fixed), strict=True))
        elif self.fixed:
            entry["context"] = _written(self.fixed)
        if output:
            entry["output"] = _short(output)
        return entry

    def __str__(self) -> str:
        """Write the call as a user would."""
        parts = [f"batch{path_text(path)}" for path in self.fixed]
        if self.names:
            parts = [f"{name}={part}" for name, part in zip(self.names, parts, strict=True)]
        varied = ".".join([f"batch{path_text(self.varied)}", *self.cast])
        varied = f"{self.embedding}({varied})" if self.embedding else varied
        if isinstance(self.argument, int):
            parts.insert(self.argument, varied)
        else:
            parts.insert(0, f"{self.argument}={varied}")
        return f"{self.module or 'forward'}({', '.join(parts)})"


def candidates(
    path: str, function: Callable[..., Any], parts: dict[Path, Any]
) -> Iterator[Candidate]:
    """Yield the ways to call a function with parts of a batch, the likely ones first.

    By the names of its arguments, where the batch has them; with a floating part, a collection that
    holds it or the whole batch as the first argument; with the parts of a tuple in their order.
    """
    signature = list(parameters_of(function).values())
    ways = (_by_name, _by_first, _in_order)
    found = chain.from_iterable(way(signature, parts) for way in ways)
    yield from dict.fromkeys(candidate._replace(module=path) for candidate in found)


def candidates_of_embeddings(
    path: str, function: Callable[..., Any], parts: dict[Path, Any], embeddings: Sequence[str]
) -> Iterator[Candidate]:
    """Yield the ways to call a function with what embeddings, by their paths, make of integers.

    They are its argument of the usual name, beside the parts that it takes by name, or else its first.
    """
    signature = parameters_of(function)
    takes_all = any(p.kind is p.VAR_KEYWORD for p in signature.values())
    integers = [
        p for p, part in parts.items() if isinstance(part, Tensor) and part.dtype in INDICES
    ]
    for embedding, ids in product(embeddings[:MAX_EMBEDDED], integers[:MAX_EMBEDDED]):
        if EMBEDDED not in signature and not takes_all:
            yield Candidate(path, ids, embedding=embedding)
            continue
        others = [p for p in parts if p and p[:-1] == ids[:-1] and isinstance(p[-1], str)]
        named = {str(p[-1]): p for p in others if p != ids and (p[-1] in signature or takes_all)}
        fixed = {name: p for name, p in named.items() if not LABEL.search(name)}
        for names in dict.fromkeys((tuple(fixed), (), tuple(named))):
            held = tuple(named[name] for name in names)
            yield Candidate(path, ids, held, EMBEDDED, names, embedding)


def candidates_of_casts(
    path: str, function: Callable[..., Any], parts: dict[Path, Any]
) -> Iterator[Candidate]:
    """Yield the ways to call a function with integers, such as those of an image, as numbers."""
    for whole, part in parts.items():
        if isinstance(part, Tensor) and not (part.is_floating_point() or part.is_complex()):
            for call in candidates(path, function, {**parts, whole: part.float()}):
                if call.varied == whole:
                    yield call._replace(cast=("float()",))


def _written(paths: Sequence[Path]) -> Any:
    return _short(paths[0]) if len(paths) == 1 else [list(path) for path in paths]


def _short(path: Path) -> Any:
    return path[0] if len(path) == 1 else list(path)


def parts_by_path(value: Any, path: Path = ()) -> dict[Path, Any]:
    """Return a value and all its parts, each before its own parts, as far as a list can name them."""
    found = {path: value}
    parts = parts_of(value) if len(path) < MAX_DEPTH else None
    for key, part in (parts or {}).items():
        if isinstance(key, int | str) and len(found) < MAX_PARTS:
            found |= parts_by_path(part, (*path, key))
    return found


def floating_parts(parts: dict[Path, Any], first: str | None = None) -> list[Path]:
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


def _by_name(signature: list[Parameter], parts: dict[Path, Any]) -> Iterator[Candidate]:
    """Give each argument the part of its name, those with a default only in a second try."""
    named = [p for p in signature if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    required = [p.name for p in named if p.default is p.empty]
    takes_all = any(p.kind is p.VAR_KEYWORD for p in signature)
    for whole in [path for path in parts if len(path) < 2]:
        keys = [path[-1] for path in parts if path[:-1] == whole and path]
        present = [p.name for p in named if p.name in keys]
        if not set(required) <= set(present) or not (present or takes_all):
            continue
        everything = [key for key in keys if isinstance(key, str)] if takes_all else []
        inputs = [key for key in everything if not LABEL.search(key)]
        ways = (required or present[:1], present, inputs, everything)
        for names in dict.fromkeys(map(tuple, ways)):
            for floating in floating_parts(parts, names[0] if names else None):
                inside = floating[: len(whole)] == whole and len(floating) > len(whole)
                if inside and (name := floating[len(whole)]) in names:
                    others = tuple(n for n in names if n != name)
                    argument: int | str = 0 if name == signature[0].name else name
                    fixed = tuple((*whole, n) for n in others)
                    yield Candidate("", (*whole, name), fixed, argument, others)


def _by_first(signature: list[Parameter], parts: dict[Path, Any]) -> Iterator[Candidate]:
    """Give the first argument each floating part, collection or batch; the others what is left."""
    positional = [p for p in signature if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [p.name for p in positional[1:] if p.default is p.empty]
    optional = [p.name for p in positional[1:] if p.default is not p.empty]
    is_open = any(p.kind is p.VAR_POSITIONAL for p in signature)
    if not positional and not is_open:
        return
    for part in floating_parts(parts, positional[0].name if positional else None):
        for depth in range(len(part), -1, -1):
            first = part[:depth]
            siblings = _siblings(parts, first)
            for names in (required, [*required, *optional[:1]]):
                fixed = _fill(names, siblings)
                if fixed is not None:
                    yield Candidate("", first, fixed)
            if is_open:
                counts = range(min(len(siblings), MAX_INPUTS) + 1)
                yield from (Candidate("", first, tuple(siblings[:count])) for count in counts)


def _in_order(signature: list[Parameter], parts: dict[Path, Any]) -> Iterator[Candidate]:
    """Give the arguments the parts of a tuple in their order; the input is not the first of them."""
    positional = [p for p in signature if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = sum(p.default is p.empty for p in positional)
    for path in floating_parts(parts):
        siblings = [p for p in parts if p[:-1] == path[:-1] and p]
        position = siblings.index(path)
        for count in range(max(required, position + 1), min(len(positional), len(siblings)) + 1):
            fixed = tuple(p for p in siblings[:count] if p != path)
            if position > 0:
                yield Candidate("", path, fixed, position)


def _siblings(parts: dict[Path, Any], first: Path) -> list[Path]:
    """Return the other parts of the same collection: those behind, then those before."""
    if not first:
        return []
    siblings = [path for path in parts if path and path[:-1] == first[:-1]]
    position = siblings.index(first)
    return siblings[position + 1 :] + siblings[:position]


def _fill(names: Iterable[str], siblings: Sequence[Path]) -> tuple[Path, ...] | None:
    """Return a part for each name: that of the name, or the next that is left; None if there is none."""
    left, fixed = list(siblings), []
    for name in names:
        if not left:
            return None
        chosen = next((path for path in left if path[-1] == name), left[0])
        left.remove(chosen)
        fixed.append(chosen)
    return tuple(fixed)
