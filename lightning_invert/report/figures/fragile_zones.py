"""Fragile zones along each input: where the condition number rises and the rank drops."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from lightning_invert.report.figures import Array, map_figure, style
from lightning_invert.report.figures.columns import Columns, sort_into_columns
from lightning_invert.report.figures.points import best_single, drawable, has_few_inputs
from lightning_invert.watch.numerals import percent
from lightning_invert.watch.observation import Observation

ROWS = 16
"""Cells of the density along the condition number, without the one for ∞."""

MAX_INPUTS = 4


@map_figure(has_few_inputs)
def fragile_zones(
    observation: Observation, *, title: str = "κ and rank along the inputs"
) -> Figure:
    """Draw where, along each input, the condition number rises and the rank drops."""
    points = drawable(observation)
    facts = points.facts
    if not points.inputs.size:
        return style.empty_card(title, facts, "no points" if points.names else "no inputs")
    columns = [sort_into_columns(x) for x in points.inputs.T]
    shown = best_single([c.column for c in columns], points.log10, MAX_INPUTS)
    full_rank = observation.full_rank
    if len(shown) < len(columns):
        facts.append(f"the {len(shown)} of {len(columns)} inputs that explain κ most")
    full = percent(1 - points.deficient.mean())
    facts += [
        f"{full} at full rank ({full_rank})",
        "line: median κ",
        f"red below: rank < {full_rank}",
    ]
    axis = _KappaAxis.of(points.condition, points.log10, observation.thresholds.bands)
    level = axis.level(points.condition, points.log10)
    zones = [_zone(columns[j], level, points.deficient, axis) for j in shown]
    page, panels = _row_of_panels([points.names[j] for j in shown], title, facts)
    darkest = max(0.2, math.ceil(10 * max(np.nanmax(zone.density) for zone in zones)) / 10)
    for panel, zone in zip(panels, zones, strict=True):
        _draw_zone(panel, zone, axis, darkest)
        _label_ticks(panel, zone.columns.ticks)
        panel.set_yticks([])
    panels[0].set_ylabel("condition number κ", labelpad=1)
    style.kappa_ticks(panels[0].yaxis, axis.high, axis.infinity if axis.singular else None)
    return page.figure


class _KappaAxis(NamedTuple):
    """The axis of log10 κ: its decades, and where ∞ is."""

    high: int
    row: float
    singular: bool
    bands: tuple[float, float]

    @classmethod
    def of(cls, condition: Array, log10: Array, bands: tuple[float, float]) -> _KappaAxis:
        finite = np.isfinite(condition)
        high = style.decades(log10[finite], bands[0])
        return cls(high, high / ROWS, not finite.all(), bands)

    @property
    def infinity(self) -> float:
        return self.high + 1.75 * self.row

    @property
    def edges(self) -> Array:
        edges = np.linspace(0, self.high, ROWS + 1)
        if not self.singular:
            return edges
        return np.append(edges, self.infinity + self.row * np.array([-1.0, 1.0]))

    def level(self, condition: Array, log10: Array) -> Array:
        # The last row of numbers is closed above: what is beyond belongs to ∞, or to the gap.
        return np.where(np.isinf(condition), self.infinity, log10.clip(max=self.high - 1e-9))


class _Zone(NamedTuple):
    """What one panel shows; NaN where a column has no point."""

    columns: Columns
    density: Array  # (rows, C)
    median: Array  # (C,)
    deficient: Array  # (C,)


def _zone(columns: Columns, level: Array, deficient: Array, axis: _KappaAxis) -> _Zone:
    number = len(columns.edges) - 1
    count = np.bincount(columns.column, minlength=number)
    middles = np.arange(number + 1) - 0.5
    cells, _, _ = np.histogram2d(level, columns.column, bins=(axis.edges, middles))
    order = np.lexsort((level, columns.column))
    # The higher one of an even number: between a number and ∞ nothing is to be interpolated.
    at = np.minimum(np.cumsum(count) - count + count // 2, len(level) - 1)
    with np.errstate(invalid="ignore"):
        density = np.where(cells > 0, cells / count, np.nan)
        share = np.bincount(columns.column, deficient, minlength=number) / count
    return _Zone(columns, density, np.where(count > 0, level[order][at], np.nan), share)


def _letters(wide: float) -> int:
    return int(15.5 * wide)


def _row_of_panels(
    names: Sequence[str], title: str, facts: Sequence[str]
) -> tuple[style.Sheet, list[Axes]]:
    """Lay out a panel for each name, side by side."""
    page = style.sheet(title, facts)
    left, gap = 0.5, 0.14
    wide = (page.width - left - 0.06) / len(names) - gap
    labels = [style.wrapped(name, _letters(wide)) for name in names]
    below = 0.22 + 0.13 * max(label.count("\n") + 1 for label in labels)
    panels = []
    for i, label in enumerate(labels):
        panel = page.panel(left + i * (wide + gap), below, wide, page.room - below - 0.06)
        panel.set_xlabel(label, fontsize=8, labelpad=1, linespacing=1.1)
        panels.append(panel)
    return page, panels


def _draw_zone(axes: Axes, zone: _Zone, axis: _KappaAxis, darkest: float) -> None:
    edges, strip = zone.columns.edges, 0.09 * axis.high
    _tint(axes, edges, axis)
    blue: Any = {"cmap": "Blues", "vmin": -0.3 * darkest, "vmax": darkest, "gid": "density"}
    axes.pcolorfast(edges, axis.edges, zone.density, **blue)
    red: Any = {"cmap": "Reds", "vmin": 0, "vmax": 1, "gid": "deficient"}
    axes.pcolorfast(edges, [-2 * strip, -0.6 * strip], zone.deficient[None], **red)
    for colour, width, gid in (("white", 3.2, None), (style.BLACK, 1.5, "median")):
        axes.stairs(zone.median, edges, baseline=None, color=colour, lw=width, gid=gid)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(-2 * strip, axis.edges[-1])
    axes.tick_params(length=2.5, pad=1.5, labelsize=8)


def _tint(axes: Axes, edges: Array, axis: _KappaAxis) -> None:
    """Colour the bands as in the histogram, all in one image: artists are what takes time."""
    bands = style.band_spans(axis.bands, axis.high)
    spans = [(begin, stop, to_rgba(colour, 0.18)) for _, colour, begin, stop in bands]
    if axis.singular:
        low, high = axis.edges[-2:]
        spans += [(float(axis.high), low, to_rgba("k", 0.0)), (low, high, to_rgba("k", 0.12))]
    spans = [span for span in spans if span[0] < span[1]]
    heights = [spans[0][0], *(stop for _, stop, _ in spans)]
    colours = np.array([colour for *_, colour in spans])
    axes.pcolorfast([edges[0], edges[-1]], heights, colours[:, None])
    ends = [stop for _, _, _, stop in bands if stop < axis.high]
    shades = [colour for _, colour, _, _ in bands]
    axes.hlines(ends, edges[0], edges[-1], lw=0.8, colors=shades[: len(ends)])


def _label_ticks(axes: Axes, ticks: list[tuple[float, str]]) -> None:
    """Set as many ticks as have room for their labels, none of which sticks out of the panel."""
    letters = _letters(axes.bbox.width / axes.figure.dpi)
    ticks = style.fitting(ticks, letters)
    style.set_ticks(axes.xaxis, ticks)
    low, high = axes.get_xlim()
    for (tick, text), label in zip(ticks, axes.get_xticklabels(), strict=True):
        where, half = (tick - low) / (high - low), 0.5 * len(text) / letters
        if where < half:
            label.set_horizontalalignment("left")
        elif where > 1 - half:
            label.set_horizontalalignment("right")
