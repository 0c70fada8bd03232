"""Under which names it is logged what was seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning_invert.watch.observation import Observation

__all__ = ["scalars_by_tag", "tag_of"]


def tag_of(one: Observation, prefix: str = "invertibility") -> str:
    """Return what the tags of an observation begin with."""
    return "/".join(part for part in (prefix, one.part, one.name) if part)


def scalars_by_tag(seen: Sequence[Observation], prefix: str = "invertibility") -> dict[str, float]:
    """Return all scalars, tag -> value.

    How far a round trip is from the identity is logged without the map's name, unless there are
    several round trips.

    Example:
        >>> import torch
        >>> from lightning_invert.watch.observation import Observation
        >>> found = Observation.of(torch.ones(5, 2), name="code")
        >>> scalars_by_tag([found])["invertibility/code/stable_fraction"]
        1.0
    """
    found: dict[str, float] = {}
    several = len({one.name for one in seen if one.round_trip_errors}) > 1
    for one in seen:
        tag = tag_of(one, prefix)
        found |= {f"{tag}/{name}": value for name, value in one.scalars.items()}
        above = tag if several else tag.removesuffix(f"/{one.name}")
        found |= {f"{above}/{name}": value for name, value in one.round_trip_errors.items()}
    return found
