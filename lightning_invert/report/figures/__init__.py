"""Arrays into pictures: the only part that knows matplotlib, and only when something is drawn.

Figures are made for small cards: few words, units on the axes. Nothing goes through ``pyplot``: no
backend is chosen, no global state is touched and no figure outlives its caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lightning_invert.report.figures.achieved import achieved
from lightning_invert.report.figures.evolution import evolution
from lightning_invert.report.figures.histograms import condition_histogram, rank_histogram
from lightning_invert.report.figures.members import members
from lightning_invert.report.figures.proposals import proposal_figures
from lightning_invert.report.figures.sensitivities import sensitivities
from lightning_invert.report.figures.settings import settings
from lightning_invert.report.figures.singular_spectrum import singular_spectrum
from lightning_invert.report.figures.style import save_all, to_image, to_png
from lightning_invert.report.figures.trade_off import trade_off
from lightning_invert.report.figures.truth import truth
from lightning_invert.report.figures.worst_points import worst_points
from lightning_invert.report.figures.zone_map import zone_map
from lightning_invert.report.figures.zones import fragile_zones
from lightning_invert.report.worst_points import MAX_INPUTS_SHOWN

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lightning_invert.watch.history import Record
    from lightning_invert.watch.observation import Observation

__all__ = [
    "achieved",
    "condition_histogram",
    "evolution",
    "fragile_zones",
    "map_figures",
    "members",
    "proposal_figures",
    "rank_histogram",
    "save_all",
    "sensitivities",
    "settings",
    "singular_spectrum",
    "to_image",
    "to_png",
    "trade_off",
    "truth",
    "worst_points",
    "zone_map",
]


def map_figures(
    one: Observation, *, history: Sequence[Record] = (), title: str = ""
) -> dict[str, Figure]:
    """Draw all figures of a map.

    Args:
        one: What was found of it.
        history: Of the looks at it; with more than one, their evolution is drawn.
        title: What was watched; by default the map's name.

    Returns:
        Name -> figure: ``rank_histogram``, ``condition_histogram``, ``singular_spectrum``,
        ``fragile_zones``, ``zone_map`` (of more than one input), ``worst_points``, ``truth`` and
        ``members`` (where they are known), ``evolution``.
        With more than 1024 inputs, none that shows where; of a Jacobian that was not formed, none.
    """
    title = title or one.label
    if not one.formed:
        return {}
    figures = {
        "rank_histogram": rank_histogram(one, title=title),
        "condition_histogram": condition_histogram(one, title=title),
        "singular_spectrum": singular_spectrum(one, title=title),
    }
    if len(one.input_names) <= MAX_INPUTS_SHOWN:
        figures["fragile_zones"] = fragile_zones(one, title=title)
        if len(one.input_names) > 1:
            figures["zone_map"] = zone_map(one, title=title)
        figures["worst_points"] = worst_points(one, title=title)
    if one.truth is not None:
        figures["truth"] = truth(one, title=title)
    if one.members is not None:
        figures["members"] = members(one, title=title)
    known = [look for look in history if look["log10_cond"]]
    if len(known) > 1:
        figures["evolution"] = evolution(
            known, full_rank=one.full_rank, bands=one.thresholds.bands, title=one.label
        )
    return figures
