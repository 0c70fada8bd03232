"""Arrays into pictures: the only part that knows matplotlib, and only when something is drawn.

Figures are made for small cards: few words, units on the axes. Nothing goes through ``pyplot``: no
backend is chosen, no global state is touched and no figure outlives its caller. A figure of a map is
one file, which registers it: see :mod:`lightning_invert.report.figures.registry`.
"""

from lightning_invert.report.figures.registry import drawings, map_figures
from lightning_invert.report.figures.style import save_all, to_image, to_png

__all__ = ["drawings", "map_figures", "save_all", "to_image", "to_png"]
