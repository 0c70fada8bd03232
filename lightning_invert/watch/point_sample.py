"""A sample of the points of a map: of the most frequent kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias

from torch import Tensor

from lightning_invert.sampling import StreamSample
from lightning_invert.watch.points import Frame, Points, Shape

__all__ = ["Gather", "PointSample", "SampledPoints"]

Gather: TypeAlias = Callable[[Any], Sequence[Any]]
"""Returns what every process passed to it, in the same order on each."""

Kind: TypeAlias = tuple[Shape, bytes]
"""The shape of a point, and the fingerprint of what belongs to all points of its batch."""

MAX_KINDS = 8
"""Kinds of which points are kept: those that were the most frequent so far."""

MAX_COUNTED = 1024
"""Kinds that are counted. Beyond it, the rarer half is forgotten."""


class SampledPoints(NamedTuple):
    """A sample of the points of one kind."""

    points: Points
    outcomes: Tensor | None
    num_left_out: int  # points of other kinds

    def to(self, device: str) -> SampledPoints:
        """Move all that has a row for each point."""
        points, outcomes, num_left_out = self
        targets = None if points.targets is None else points.targets.to(device)
        outcomes = None if outcomes is None else outcomes.to(device)
        return SampledPoints(replace(points.to(device), targets=targets), outcomes, num_left_out)


class PointSample:
    """Sample the points of each shape, in bounded memory, and choose the most frequent shape."""

    def __init__(self, num_points: int, *, seed: int) -> None:
        self._num_points, self._seed = num_points, seed
        self._total = 0
        self._counts = Counter[Kind]()
        self._kept: dict[Kind, tuple[StreamSample, Frame]] = {}

    def add(self, points: Points, outcomes: Tensor | None = None) -> None:
        """Offer the points of a batch, and the outcomes (N, ...) that belong to them."""
        rows = {"inputs": points.inputs}
        rows |= {f"context {i}": row for i, row in enumerate(points.context)}
        beside = {"outcomes": outcomes, "targets": points.targets}
        rows |= {name: part for name, part in beside.items() if part is not None}
        shapes = (part.shape[1:] for part in beside.values() if part is not None)
        kind = (*points.shape, *shapes), points.frame.fingerprint
        self._total += len(points)
        self._counts[kind] += len(points)
        if len(points) and self._keeps(kind):
            sample, known = self._kept.get(kind) or (self._empty(), points.frame)
            sample.add(rows)
            # The last batch may be smaller than what the map takes.
            frame, sizes = points.frame, max(points.frame.sizes, known.sizes)
            self._kept[kind] = (
                sample,
                frame if frame.sizes == sizes else replace(frame, sizes=sizes),
            )
        if len(self._counts) > MAX_COUNTED:
            kept = {kind: self._counts[kind] for kind in self._kept}
            self._counts = Counter(dict(self._counts.most_common(MAX_COUNTED // 2)) | kept)

    def choose(self, gather: Gather | None) -> SampledPoints | None:
        """Return the points of the most frequent shape, of all processes; None if there are no points."""
        total, counts, kept = self._total, self._counts, list(self._kept)
        if gather is not None:
            totals, all_counts, kinds = zip(*gather((total, counts, kept)), strict=True)
            total, counts = sum(totals), sum(all_counts, Counter[Kind]())
            kept = [kind for of_process in kinds for kind in of_process]
        if not kept:
            return None
        kind = max(kept, key=counts.__getitem__)  # of equals the first: the same in every process
        sample, frame = self._kept.get(kind) or (self._empty(), None)
        if gather is not None:
            sample.merge(gather)
            # What subclasses keep may be of any kind: it does not travel.
            frame = next(f for f in gather(frame and replace(frame, dresses=())) if f is not None)
        assert frame is not None
        rows = sample.rows()
        outcomes, targets = rows.pop("outcomes", None), rows.pop("targets", None)
        inputs, *context = rows.values()
        points = Points(inputs, tuple(context), frame, targets)
        return SampledPoints(points, outcomes, total - counts[kind])

    def _keeps(self, kind: Kind) -> bool:
        """Tell whether points of a kind are kept; where there are too many, the rarest gives way."""
        if kind in self._kept or len(self._kept) < MAX_KINDS:
            return True
        rarest = min(self._kept, key=self._counts.__getitem__)
        if self._counts[rarest] >= self._counts[kind]:
            return False
        del self._kept[rarest]
        return True

    def _empty(self) -> StreamSample:
        return StreamSample(self._num_points, seed=self._seed)
