"""Arrays into pictures: the only part that knows matplotlib, and only when something is drawn.

Figures are made for small cards: few words, units on the axes. Nothing goes through ``pyplot``: no
backend is chosen, no global state is touched and no figure outlives its caller. A figure of a map is
one file, which registers it: see :mod:`lightning_invert.report.figures.registry`.
"""

from lightning_invert.report.figures.achieved import achieved
from lightning_invert.report.figures.proposals import proposal_figures
from lightning_invert.report.figures.registry import drawings, map_figures
from lightning_invert.report.figures.sensitivities import sensitivities
from lightning_invert.report.figures.settings import settings
from lightning_invert.report.figures.style import save_all, to_image, to_png
from lightning_invert.report.figures.trade_off import trade_off

__all__ = [
    "achieved",
    "drawings",
    "map_figures",
    "proposal_figures",
    "save_all",
    "sensitivities",
    "settings",
    "to_image",
    "to_png",
    "trade_off",
]
