"""Search for an entry of ``maps`` that works: each is watched at rows of a batch, without a trace."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from lightning_invert.jacobians.snapshot import Snapshot
from lightning_invert.watch.candidates import CAST, Candidate, candidates, written
from lightning_invert.watch.observation import Observation
from lightning_invert.watch.parts import Path, describe, walk
from lightning_invert.watch.voice import explain, sentence

__all__ = ["Found", "Search", "Watch"]

Watch: TypeAlias = Callable[[Mapping[str, Any], Any], Observation]
"""Watches the one entry of ``maps`` at two rows of a batch: (maps, batch) -> observation, or raises."""

Functions: TypeAlias = Sequence[tuple[str, Callable[..., Any]]]
"""By their paths."""

MAX_TRIES, FIRST_TRIES, MAX_SECONDS = 36, 12, 2.0
"""Candidates are tried until one works: this runs once in a stranger's fit.

Each function gets its first tries, in each way, before one gets more.
"""

MAX_PARTS, MAX_SORTED, MAX_EMBEDDINGS, MAX_OUTPUTS = 256, 256, 2, 4
"""Parts of a batch and of what is returned, candidates that are sorted, embeddings, outputs of a call."""

MIXES, NOISY = "mixes the points", "another output each time"
"""What warnings say of a function whose rows depend on each other, and of one that draws numbers."""

POINTS_ELSEWHERE = (
    "its arguments hold indices of rows, such as the edges of a graph, so that a row is not a point "
    "by itself"
)

OTHER_ARGUMENTS = re.compile(r"missing \d+ required|unexpected keyword|positional arguments? but")
"""What Python says of a call with other arguments than those of the function."""

EXHAUSTED: tuple[type[Exception], ...] = (torch.OutOfMemoryError, MemoryError)


class Found(NamedTuple):
    """An entry that works, and further floating parts of what its function returns."""

    entry: dict[str, Any]
    others: list[Path]


class _Returned(Exception):
    """The function has returned."""


class Search:
    """Try calls of functions with a batch until one can be watched."""

    def __init__(self, root: nn.Module, batch: Any, watch: Watch) -> None:
        self.nearest = "no part of this batch is a floating tensor with a row for each point."
        """The try that went farthest, and why it failed."""
        self.tries, self._farthest = 0, -1
        self._batch, self._watch = batch, watch
        embeddings = [path for path, p in root.named_modules() if isinstance(p, nn.Embedding)]
        self._casts = ("", *embeddings[:MAX_EMBEDDINGS], CAST)
        self._refused = set[tuple[str, ...]]()

    def run(self, functions: Functions, inputs: Sequence[Path] = ()) -> Found | None:
        """Return the first entry that works; of those by the inputs first."""
        snapshot, end = Snapshot(), time.monotonic() + MAX_SECONDS
        self._batch = snapshot.add(self._batch)
        try:
            calls = self._candidates(functions)
            if inputs:
                first = written(*inputs)
                calls = iter(
                    sorted(islice(calls, MAX_SORTED), key=lambda c: c.entry.get("input") != first)
                )
            for call in calls:
                if not call.is_of_rows:
                    self._fail(call.entry, POINTS_ELSEWHERE, 1)
                elif call.arguments not in self._refused:
                    if (found := self._try(call)) is not None:
                        return found
                    if self.tries >= MAX_TRIES or time.monotonic() > end:
                        break
        except EXHAUSTED as error:
            self.nearest = f"no more could be tried after {explain(error)}."
        finally:
            snapshot.restore()
        return None

    def _candidates(self, functions: Functions) -> Iterator[Candidate]:
        parts = {
            path: part
            for path, part in islice(walk(self._batch), MAX_PARTS)
            if all(isinstance(step, int | str) for step in path)  # a list can name it
        }
        ways = [
            candidates(path, function, parts, cast)
            for cast in self._casts
            for path, function in functions
        ]
        yield from chain.from_iterable(islice(way, FIRST_TRIES) for way in ways)
        yield from chain.from_iterable(ways)

    def _try(self, call: Candidate) -> Found | None:
        """Call a function, and watch the floating parts of what it returns, one after the other."""
        returned: list[Any] = []

        def keep(value: Any) -> None:
            returned.append(value)
            raise _Returned

        self.tries += 1
        self._warnings_of(call, {**call.entry, "output": keep}, stage=0)
        outputs = _floating(returned[0]) if returned else []
        if returned and not outputs:
            words = describe(returned[0])
            self._fail(
                call.entry, f"it returned {words}, no floating part with a row for each point.", 1
            )
        noisy: Found | None = None
        for output in outputs[:MAX_OUTPUTS]:
            entry = call.entry | ({"output": written(output)} if output else {})
            said = self._warnings_of(call, entry, stage=2)
            if said is None:
                continue
            found = Found(entry, [path for path in outputs if path != output])
            if NOISY not in said:
                return found
            noisy = noisy or found
        return noisy

    def _warnings_of(self, call: Candidate, entry: dict[str, Any], stage: int) -> str | None:
        """Watch an entry and return what it warns of, or keep why it fails and return None."""
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                sigma = self._watch({"forward": entry}, self._batch).singular_values
        except Exception as error:  # noqa: BLE001  # whatever a stranger's forward raises
            cause = error.__cause__ or error
            if isinstance(cause, EXHAUSTED):
                raise cause from None
            if not isinstance(cause, _Returned):
                self._fail(call.entry, getattr(error, "why", None) or explain(error), stage)
            if isinstance(cause, TypeError) and OTHER_ARGUMENTS.search(str(cause)):
                self._refused.add(call.arguments)
            return None
        said, why = "\n".join(str(w.message) for w in caught), ""
        if MIXES in said:
            why = f"it {MIXES} of a batch, each of which has to be a point of its own"
        elif not bool((sigma.isfinite() & (sigma > 0)).any()):
            why = "its Jacobian is zero, or not finite."
        if why:
            self._fail(call.entry, why, stage)
        return None if why else said

    def _fail(self, entry: dict[str, Any], why: str, stage: int) -> None:
        """Keep the reason of the try that went farthest."""
        if stage > self._farthest:
            self._farthest, self.nearest = stage, f"{entry}: {sentence(why)}"


def _floating(value: Any) -> list[Path]:
    """Return the paths of floating parts with rows; those of one number a row come last."""
    parts = [
        (path, part) for path, part in islice(walk(value), MAX_PARTS) if isinstance(part, Tensor)
    ]
    rows = {
        (*path, "real") if part.is_complex() else path: part
        for path, part in parts
        if (part.is_floating_point() or part.is_complex()) and part.ndim > 0 and len(part) > 0
    }
    return sorted(rows, key=lambda path: rows[path].numel() == len(rows[path]))
