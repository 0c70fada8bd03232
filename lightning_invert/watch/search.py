"""Search for an entry of ``maps`` that works: each is watched at rows of a batch, without a trace."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, islice
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from lightning_invert.jacobians.snapshot import Snapshot
from lightning_invert.watch.candidates import (
    Candidate,
    candidates,
    candidates_of_casts,
    candidates_of_embeddings,
    parts_by_path,
)
from lightning_invert.watch.observation import Observation
from lightning_invert.watch.parts import Path, describe, leaves
from lightning_invert.watch.voice import explain, sentence

__all__ = ["Found", "Search", "Watch"]

Watch: TypeAlias = Callable[[Mapping[str, Any], Any], Observation]
"""Watches the one entry of ``maps`` at two rows of a batch: (maps, batch) -> observation, or raises."""

_Ways: TypeAlias = Iterator[tuple[Candidate, list[Path]]]

MAX_TRIES, FIRST_TRIES, MAX_SECONDS = 36, 12, 2.0
"""Candidates are tried until one works: this runs once in a stranger's fit.

Each function gets its first tries, in each way, before one gets more.
"""

MAX_SORTED = 256
"""Candidates of which those by the inputs that a user named come first."""

MAX_OUTPUTS, MAX_LEAVES = 4, 64
"""Outputs of a call that are tried, and parts of what it returns that are looked at."""

MIXES, NOISY = "mixes the points", "another output each time"
"""What warnings say of a function whose rows depend on each other, and of one that draws numbers."""

POINTS_ELSEWHERE = (
    "there are indices among its arguments, such as the edges of a graph, that point to rows of this "
    "batch: a point is no row by itself"
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
        self._batch, self._watch = batch, watch
        parts = root.named_modules()
        self._embeddings = [path for path, part in parts if isinstance(part, nn.Embedding)]
        self._parts: dict[Path, Any] = {}
        self._refused = set[Hashable]()
        self.tries, self._farthest = 0, -1
        self._end = time.monotonic() + MAX_SECONDS

    def run(
        self, functions: Sequence[tuple[str, Callable[..., Any]]], inputs: Sequence[Path] = ()
    ) -> Found | None:
        """Return the first entry that works, of functions by their paths; those by the inputs first."""
        snapshot = Snapshot()
        self._batch = snapshot.add(self._batch)
        self._parts = parts_by_path(self._batch)
        try:
            ways = self._calls(functions)
            if inputs:
                ways = iter(sorted(islice(ways, MAX_SORTED), key=lambda way: way[1] != [*inputs]))
            for call, varied in ways:
                if call.arguments in self._refused:
                    continue
                if (found := self._try(call, varied)) is not None:
                    return found
                if self.tries >= MAX_TRIES or time.monotonic() > self._end:
                    break
        except EXHAUSTED as error:
            self.nearest = f"no more could be tried after {explain(error)}."
        finally:
            snapshot.restore()
        return None

    def _calls(self, functions: Sequence[tuple[str, Callable[..., Any]]]) -> _Ways:
        of_embeddings = partial(candidates_of_embeddings, embeddings=self._embeddings)
        ways = [
            self._ways(kind(path, function, self._parts))
            for kind in (candidates, of_embeddings, candidates_of_casts)
            for path, function in functions
        ]
        yield from chain.from_iterable(islice(way, FIRST_TRIES) for way in ways)
        yield from chain.from_iterable(ways)

    def _ways(self, calls: Iterator[Candidate]) -> _Ways:
        for call in calls:
            if not (inputs := call.inputs(self._parts)):
                self._fail(call, POINTS_ELSEWHERE, 1)
            yield from ((call, together) for together in inputs)

    def _try(self, call: Candidate, inputs: list[Path]) -> Found | None:
        """Call a function, and watch the floating parts of what it returns, one after the other."""
        returned: list[tuple[list[Path], str]] = []

        def keep(value: Any) -> None:
            returned.append((_floating(value), describe(value)))
            raise _Returned

        self.tries += 1
        self._warnings_of(call, {**call.entry(inputs), "output": keep}, stage=0)
        outputs, words = returned[0] if returned else ([], "")
        if returned and not outputs:
            self._fail(call, f"it returned {words}, no floating part with a row for each point.", 1)
        noisy: Found | None = None
        for output in outputs[:MAX_OUTPUTS]:
            entry = call.entry(inputs, output)
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
                observation = self._watch({"forward": entry}, self._batch)
        except Exception as error:  # noqa: BLE001  # whatever a stranger's forward raises
            cause = error.__cause__ or error
            if isinstance(cause, EXHAUSTED):
                raise cause from None
            if not isinstance(cause, _Returned):
                self._fail(call, getattr(error, "why", None) or explain(error), stage)
            if isinstance(cause, TypeError) and OTHER_ARGUMENTS.search(str(cause)):
                self._refused.add(call.arguments)
            return None
        said, sigma = "\n".join(str(w.message) for w in caught), observation.singular_values
        if MIXES in said:
            self._fail(
                call, f"it {MIXES} of a batch, each of which has to be a point of its own", stage
            )
        elif not bool((sigma.isfinite() & (sigma > 0)).any()):
            self._fail(call, "its Jacobian is zero, or not finite.", stage)
        else:
            return said
        return None

    def _fail(self, call: Candidate, why: str, stage: int) -> None:
        """Keep the reason of the try that went farthest."""
        if stage > self._farthest:
            self._farthest = stage
            self.nearest = f"{call}: {sentence(why)}"


def _floating(value: Any) -> list[Path]:
    """Return the paths of floating parts with rows; those of one number a row come last."""
    single, several = list[Path](), list[Path]()
    for path, part in islice(leaves(value), MAX_LEAVES):
        if not isinstance(part, Tensor) or part.ndim == 0 or len(part) == 0:
            continue
        if part.is_complex():
            path = (*path, "real")
        elif not part.is_floating_point():
            continue
        (single if part.numel() == len(part) else several).append(path)
    return several + single
