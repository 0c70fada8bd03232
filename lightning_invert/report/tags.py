"""Tags of the logged scalars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from lightning_invert.watch.scalars import SCALARS

if TYPE_CHECKING:
    from lightning_invert.watch.observation import Observation

__all__ = ["charts", "chosen_scalars", "scalars_by_tag", "tag_of"]


def tag_of(observation: Observation, prefix: str = "invertibility") -> str:
    """Return what the tags of an observation begin with."""
    return "/".join(part for part in (prefix, observation.part, observation.name) if part)


def scalars_by_tag(
    observations: Sequence[Observation], prefix: str = "invertibility"
) -> dict[str, float]:
    """Return all scalars, tag -> value.

    Example:
        >>> import torch
        >>> from lightning_invert.watch.observation import Observation
        >>> observation = Observation.of(torch.ones(5, 2), name="code")
        >>> scalars_by_tag([observation])["invertibility/code/stable_fraction"]
        1.0
    """
    return {
        f"{tag_of(observation, prefix)}/{name}": value
        for observation in observations
        for name, value in observation.scalars.items()
    }


def chosen_scalars(
    scalars: Mapping[str, float], which: Literal["essential", "all"]
) -> dict[str, float]:
    """Return the scalars, tag -> value, that loggers get.

    Example:
        >>> chosen_scalars({"a/full_rank_fraction": 1.0, "a/cond_p95": 2.0}, "essential")
        {'a/full_rank_fraction': 1.0}
    """
    essential = {row.name for row in SCALARS.values() if row.essential}
    return {
        tag: value
        for tag, value in scalars.items()
        if which == "all" or tag.rpartition("/")[2] in essential
    }


def charts(
    observations: Sequence[Observation], prefix: str = "invertibility"
) -> dict[str, dict[str, list[str]]]:
    """Arrange the scalars in charts: title of a map's group -> title of a chart -> tags.

    Example:
        >>> import torch
        >>> from lightning_invert.watch.observation import Observation
        >>> observation = Observation.of(torch.ones(5, 2), name="code")
        >>> charts([observation])["invertibility: code"]["share stable"]
        ['invertibility/code/stable_fraction']
    """
    groups: dict[str, dict[str, list[str]]] = {}
    for observation in observations:
        group = groups.setdefault(f"{prefix}: {observation.label}", {})
        for row in SCALARS.values():
            if row.chart and row.name in observation.scalars:
                tag = f"{tag_of(observation, prefix)}/{row.name}"
                group.setdefault(row.chart, []).append(tag)
    return groups
