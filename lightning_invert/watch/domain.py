"""Points outside of a map's domain, where its forward raises: they count as not finite."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lightning_invert.jacobians.contexts import differentiable, evaluation_mode
from lightning_invert.jacobians.domain import find_outside
from lightning_invert.watch.findings.runs import OverRuns
from lightning_invert.watch.findings.truth import AgainstTruth
from lightning_invert.watch.maps import MapError, WatchedMap
from lightning_invert.watch.observation import Observation
from lightning_invert.watch.points import Points
from lightning_invert.watch.voice import Voice, sentence

__all__ = ["observe_domain"]

MAX_OUTSIDE = 32
"""Points that are looked for in a fit: finding one takes as many evaluations as halvings, twice."""


def observe_domain(
    look: Callable[[Points], Observation],
    watched: WatchedMap,
    points: Points,
    voice: Voice | None,
    *,
    inside: Points | None = None,  # a point at which the forward works
    most: int | None = MAX_OUTSIDE,
    hopeless: set[str],  # maps whose points were tried apart in vain: they are not again
) -> Observation:
    """Return what a look finds at points; where it fails, without those at which the forward raises."""
    try:
        return look(points)
    except MapError as error:
        if error.part == "output" or watched.name in hopeless:
            raise
        outside = _find_outside(watched, points, most)
        if not outside or (inside is None and len(outside) == len(points)):
            hopeless.add(watched.name)
            raise
        name, why = error.name, error.why
    # Another point stands in for each of them.
    first = next((row for row in range(len(points)) if row not in outside), len(points))
    extended = points.rows
    if inside is not None:
        extended = [torch.cat(parts) for parts in zip(extended, inside.rows, strict=True)]
    rows = [first if row in outside else row for row in range(len(points))]
    chosen = points.with_rows([row[rows] for row in extended])
    observation = _mark(look(chosen), points, outside)
    if voice is not None:
        voice.warn(
            f"map {name!r} raises at {len(outside)} of {len(points)} points: {sentence(why)} They are "
            "counted in `nonfinite_fraction` and left out of the rest. This is said once.",
            once=("outside", watched.name),
        )
    return observation


def _find_outside(watched: WatchedMap, points: Points, most: int | None) -> list[int] | None:
    """Find the rows at which the map, its truth or another run of it raises; None if they are too many."""
    truth, runs = watched.question(AgainstTruth), watched.question(OverRuns)
    maps = [watched, *((truth.truth,) if truth else ()), *(runs.runs if runs else ())]
    # In parts of the size of its batches, if it takes no other: where there is time for it.
    for sizes in ((), points.frame.sizes[:1])[: 1 if most else 2]:
        frame = replace(points.frame, sizes=sizes)
        functions = [replace(points, frame=frame).call(function) for function in maps]

        def evaluate(rows: list[int], functions: Sequence[Any] = functions) -> None:
            for function in functions:
                function(*(row[rows] for row in points.rows))

        with evaluation_mode(watched.owners), differentiable(points.inputs.device.type):
            outside = find_outside(evaluate, len(points), most=most)
        if outside and len(outside) < len(points):
            break
    return outside


def _mark(observation: Observation, points: Points, outside: Sequence[int]) -> Observation:
    """Return an observation in which these points are not finite."""
    lost_rows = torch.tensor([row for row in outside if row < observation.num_points])

    def lost(rows: Tensor) -> Tensor:
        if not rows.is_floating_point() or len(rows) == 0 or len(lost_rows) == 0:
            return rows
        return rows.index_fill(0, lost_rows, torch.nan)

    return observation.at_rows(
        lost(observation.singular_values),
        points.inputs[: observation.num_points].to(observation.inputs),
        lost(observation.outputs),
        [
            finding.with_rows({name: lost(rows) for name, rows in finding.rows().items()})
            for finding in observation.findings.values()
        ],
    )
