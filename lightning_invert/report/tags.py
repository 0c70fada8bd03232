"""Under which names it is logged what was seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from lightning_invert.watch.observation import Observation

__all__ = ["ESSENTIAL", "charts", "chosen_scalars", "scalars_by_tag", "tag_of"]

ESSENTIAL = (
    "full_rank_fraction",
    "stable_fraction",
    "ill_conditioned_fraction",
    "singular_fraction",
    "log10_cond_median",
    "log10_cond_p95",
    "sigma_min_median",
    "log10_cond_lower_bound_median",
    "stable_rank_median",
    "participation_ratio_median",
    "consistency_error",
    "jacobian_consistency_error",
    "jacobian_error_median",
    "fragile_recall",
    "reachable_fraction",
)
"""What loggers get of a map unless all is asked for: more is a screen that nobody reads."""

CHARTS = {
    "share at full rank": ("full_rank_fraction",),
    "log10 of what κ is at least: median": ("log10_cond_lower_bound_median",),
    "stable rank: median": ("stable_rank_median",),
    "share stable": ("stable_fraction",),
    "log10 κ: median and, above, 95 %": ("log10_cond_median", "log10_cond_p95"),
    "share ill-conditioned": ("ill_conditioned_fraction",),
    "share singular": ("singular_fraction",),
    "smallest singular value: median": ("sigma_min_median",),
    "round trip: error": ("consistency_error",),
    "round trip: error of the slope": ("jacobian_consistency_error",),
    "error of the Jacobian: median": ("jacobian_error_median",),
    "share of the truly fragile points that is found": ("fragile_recall",),
    "share of the outcomes that is reached from the proposals": ("reachable_fraction",),
}
"""Title -> scalars. A chart of TensorBoard gives all curves of a run one colour: it gets one curve,
or two that cannot cross."""


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
    for one, tags in zip(seen, _tags(seen, prefix), strict=True):
        values = {**one.scalars, **one.round_trip_errors}
        found |= {tag: values[name] for name, tag in tags.items()}
    return found


def chosen_scalars(
    scalars: Mapping[str, float], which: Literal["essential", "all"]
) -> dict[str, float]:
    """Return what loggers get of the scalars.

    Args:
        scalars: Tag -> value.
        which: ``"essential"`` for those in ``ESSENTIAL``.

    Example:
        >>> chosen_scalars({"a/full_rank_fraction": 1.0, "a/cond_p95": 2.0}, "essential")
        {'a/full_rank_fraction': 1.0}
    """
    return {
        tag: value
        for tag, value in scalars.items()
        if which == "all" or tag.rpartition("/")[2] in ESSENTIAL
    }


def charts(
    seen: Sequence[Observation], prefix: str = "invertibility"
) -> dict[str, dict[str, list[str]]]:
    """Arrange the essential scalars in charts, those of a map together, maps in their order.

    Returns:
        Title of a group -> title of a chart -> tags.

    Example:
        >>> import torch
        >>> from lightning_invert.watch.observation import Observation
        >>> found = Observation.of(torch.ones(5, 2), name="code")
        >>> charts([found])["invertibility: code"]["share stable"]
        ['invertibility/code/stable_fraction']
    """
    return {
        f"{prefix}: {one.label}": {
            title: [tags[name] for name in names]
            for title, names in CHARTS.items()
            if tags.keys() >= set(names)
        }
        for one, tags in zip(seen, _tags(seen, prefix), strict=True)
    }


def _tags(seen: Sequence[Observation], prefix: str) -> list[dict[str, str]]:
    """Return, for each observation, scalar -> tag."""
    several = len({one.name for one in seen if one.round_trip_errors}) > 1
    found = []
    for one in seen:
        tag = tag_of(one, prefix)
        above = tag if several else tag.removesuffix(f"/{one.name}")
        found.append(
            {name: f"{tag}/{name}" for name in one.scalars}
            | {name: f"{above}/{name}" for name in one.round_trip_errors}
        )
    return found
