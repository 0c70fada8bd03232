"""Points outside of a map's domain, where its forward raises: they count as not finite."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, log2

import torch
from torch import Tensor

from lightning_invert.jacobians.contexts import differentiable, evaluation_mode
from lightning_invert.watch.maps import MapError, WatchedMap
from lightning_invert.watch.observation import Observation
from lightning_invert.watch.points import Points
from lightning_invert.watch.voice import Voice, sentence

__all__ = ["observe_domain"]

MAX_OUTSIDE = 8
"""Points that are looked for: finding one takes as many evaluations as halvings, twice."""


def observe_domain(
    look: Callable[[Points], Observation], watched: WatchedMap, points: Points, voice: Voice | None
) -> Observation:
    """Return what a look finds at points; where it fails, without those at which the forward raises."""
    try:
        return look(points)
    except MapError as error:
        if error.part != "forward" or not (outside := _find_outside(watched, points)):
            raise
        why = error.why
    rows = list(range(len(points)))
    stand_in = next(row for row in rows if row not in outside)
    for row in outside:
        rows[row] = stand_in
    observation = _mark(look(points.with_rows([row[rows] for row in points.rows])), points, outside)
    if voice is None:
        return observation
    voice.warn(
        f"the forward of map {watched.name!r} raises at {len(outside)} of {len(points)} points: "
        f"{sentence(why)} They are counted in `nonfinite_fraction` and left out of the rest. This is "
        "said once.",
        once=("outside", watched.name),
    )
    return observation


def _find_outside(watched: WatchedMap, points: Points) -> list[int]:
    """Find the rows that fail alone, by halving; none where they are too many, or not the reason."""
    tries = 2 * MAX_OUTSIDE * ceil(log2(max(2, len(points))))
    outside: list[int] = []

    def works(rows: range) -> bool:
        chosen = [*rows, *rows] if len(rows) == 1 else list(rows)  # a lone row might lose its axis
        try:
            x, *context = (row[chosen] for row in points.rows)
            points.frame.call(watched, x, *context)
        except Exception:  # noqa: BLE001  # whatever it is
            return False
        return True

    with evaluation_mode([watched.owner]), differentiable(points.inputs.device.type):
        # What works at none of these is no matter of single points.
        few = {0, len(points) // 2, len(points) - 1}
        whole = range(len(points))
        failing = [whole] if not works(whole) and any(works(range(i, i + 1)) for i in few) else []
        while failing:
            rows = failing.pop()
            if len(rows) == 1:
                outside.append(rows[0])
                continue
            middle, tries = len(rows) // 2, tries - 2
            if tries < 0:
                return []
            failing += [part for part in (rows[:middle], rows[middle:]) if not works(part)]
    return sorted(outside)


def _mark(observation: Observation, points: Points, outside: list[int]) -> Observation:
    """Return an observation in which these points are not finite."""
    lost_rows = torch.tensor([row for row in outside if row < observation.num_points])

    def lost(rows: Tensor) -> Tensor:
        if not rows.is_floating_point() or len(rows) == 0 or len(lost_rows) == 0:
            return rows
        return rows.index_fill(0, lost_rows, torch.nan)

    inputs = points.inputs[: observation.num_points].to(observation.inputs)
    return Observation.of(
        lost(observation.singular_values),
        inputs=inputs,
        outputs=lost(observation.outputs),
        name=observation.name,
        shape=observation.shape,
        thresholds=observation.thresholds,
        condition_limit=observation.condition_limit,
        arithmetic=observation.arithmetic,
        findings=[
            finding.with_rows({name: lost(rows) for name, rows in finding.rows().items()})
            for finding in observation.findings.values()
        ],
        scale=observation.scale,
        input_names=observation.input_names,
        output_names=observation.output_names,
        part=observation.part,
    )
