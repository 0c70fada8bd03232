"""Tags of the logged scalars."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from lightning_invert.watch.observation import Observation
from lightning_invert.watch.scalars import SCALARS

__all__ = ["charts", "chosen_scalars", "scalars_by_tag", "tag_of", "worst_of_maps"]

WORST = ("deficient_fraction", "fragile_fraction", "log10_cond_p95", "r2_min")
"""What loggers also get of the worst map: columns that are filled whatever maps a run has."""


def tag_of(observation: Observation, name: str, prefix: str = "invertibility") -> str:
    """Return the tag of what is called ``name`` of an observation."""
    return "/".join(part for part in (prefix, observation.part, observation.name, name) if part)


def scalars_by_tag(
    observations: Sequence[Observation], prefix: str = "invertibility"
) -> dict[str, float]:
    """Return all scalars, tag -> value."""
    return {
        tag_of(observation, name, prefix): value
        for observation in observations
        for name, value in observation.scalars.items()
    }


def chosen_scalars(
    scalars: Mapping[str, float], which: Literal["essential", "all"]
) -> dict[str, float]:
    """Return the scalars, tag -> value, that loggers get: none that these points cannot tell."""
    essential = {row.name for row in SCALARS.values() if row.essential}
    return {
        tag: value
        for tag, value in scalars.items()
        if not math.isnan(value) and (which == "all" or tag.rpartition("/")[2] in essential)
    }


def worst_of_maps(scalars: Mapping[str, float], prefix: str) -> dict[str, float]:
    """Return the worst over the maps of some scalars, tag -> value; TensorBoard sorts them first."""
    worst = {}
    for name in WORST:
        values = [value for tag, value in scalars.items() if tag.rpartition("/")[2] == name]
        if values:
            pick = min if SCALARS[name].better == "larger" else max
            worst[f"{prefix}/0_worst_map/{name}"] = pick(values)
    return worst


def charts(observations: Sequence[Observation], prefix: str) -> dict[str, dict[str, list[str]]]:
    """Arrange the scalars in charts: title of a map's group -> title of a chart -> tags."""
    groups: dict[str, dict[str, list[str]]] = {}
    for observation in observations:
        group = groups.setdefault(f"{prefix}: {observation.label}", {})
        for row in SCALARS.values():
            if row.chart and row.name in observation.scalars:
                group.setdefault(row.chart, []).append(tag_of(observation, row.name, prefix))
    return groups
