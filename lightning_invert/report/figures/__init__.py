"""Arrays into pictures: the only part that knows matplotlib, and only when something is drawn.

Figures are made for small cards: few words, units on the axes. Nothing goes through ``pyplot``: no
backend is chosen, no global state is touched and no figure outlives its caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lightning_invert.jacobians.thresholds import condition_number, numerical_rank
from lightning_invert.report.figures.evolution import evolution
from lightning_invert.report.figures.histograms import condition_histogram, rank_histogram
from lightning_invert.report.figures.singular_spectrum import singular_spectrum
from lightning_invert.report.figures.style import to_image, to_png
from lightning_invert.report.figures.worst_points import worst_points
from lightning_invert.report.figures.zone_map import zone_map
from lightning_invert.report.figures.zones import fragile_zones

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from lightning_invert.report.words import MapReport
    from lightning_invert.watch.history import Look

__all__ = [
    "condition_histogram",
    "evolution",
    "fragile_zones",
    "map_figures",
    "rank_histogram",
    "singular_spectrum",
    "to_image",
    "to_png",
    "worst_points",
    "zone_map",
]


def map_figures(
    report: MapReport,
    singular_values: Tensor,
    inputs: Any = None,
    names: Sequence[str] | None = None,
    *,
    history: Sequence[Look] = (),
    title: str = "",
) -> dict[str, Figure]:
    """Draw all figures of a map.

    Args:
        report: Of the map.
        singular_values: Shape (N, k), descending.
        inputs: The points, shape (N, n), for the figures that show where; ``None``: not drawn.
        names: Of the inputs.
        history: Of the looks at the map; with more than one, their evolution is drawn.
        title: What was watched; by default the map's name.

    Returns:
        Name -> figure: ``rank_histogram``, ``condition_histogram``, ``singular_spectrum``,
        ``fragile_zones``, ``zone_map`` (of more than one input), ``worst_points``, ``evolution``.
        Of a Jacobian too large to be formed there is neither rank nor spectrum.
    """
    title = title or report.name
    k, bands = singular_values.shape[1], report.bands
    condition = condition_number(singular_values, floor=report.singular_floor)
    rank = numerical_rank(singular_values, atol=report.rank_atol, rtol=report.rank_rtol)
    figures = {}
    if report.complete:
        figures["rank_histogram"] = rank_histogram(rank, full_rank=k, title=title)
    figures["condition_histogram"] = condition_histogram(
        condition, bands=bands, resolution=report.resolvable, title=title
    )
    if report.complete:
        figures["singular_spectrum"] = singular_spectrum(
            singular_values,
            rank_atol=report.rank_atol,
            rank_rtol=report.rank_rtol,
            resolution=report.resolvable,
            title=title,
        )
    if inputs is not None:
        where: dict[str, Any] = {"full_rank": k, "names": names, "bands": bands, "title": title}
        figures["fragile_zones"] = fragile_zones(inputs, condition, rank, **where)
        if inputs.shape[1] > 1:
            figures["zone_map"] = zone_map(inputs, condition, rank, **where)
        figures["worst_points"] = worst_points(inputs, condition, rank, **where)
    if len(history) > 1:
        figures["evolution"] = evolution(
            history, full_rank=k if report.complete else None, bands=bands, title=report.name
        )
    return figures
