"""Fragile zones in the plane of the two inputs that explain the condition number most."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lightning_invert.report.figures import Array, map_figure, style
from lightning_invert.report.figures.points import best_pair, drawable, has_few_inputs
from lightning_invert.watch.numerals import power, short
from lightning_invert.watch.observation import Observation

COLOURS = "cividis"
NICE = (1, 1.5, 2, 3, 4, 5, 7)
POINTS_A_CELL = 6
MAX_CELLS = 8
"""Along each input."""


@map_figure(lambda observation, _: has_few_inputs(observation) and len(observation.input_names) > 1)
def zone_map(observation: Observation, *, title: str = "κ over two inputs") -> Figure:
    """Draw the condition number over the two inputs that explain it most."""
    points = drawable(observation)
    count, n = points.inputs.shape
    facts = points.facts
    if not count:
        return style.empty_card(title, facts)
    i, j, ratio = best_pair(points.inputs, points.log10)
    facts += [f"the 2 of {n} inputs that explain κ most"] if n > 2 else []
    facts += [f"η² {ratio:.2f}"]
    facts += [f"✕: rank < {observation.full_rank}"] if points.deficient.any() else []
    page = style.sheet(title, facts)
    x, y = points.inputs[:, i], points.inputs[:, j]
    left, below, tall = 0.36 + tick_room(y), 0.5, page.room - 0.6
    axes = page.panel(left, below, page.width - left - 0.95, tall)
    limits = colour_limits(points.log10)
    draw_zones(axes, x, y, points.log10, points.deficient, limits)
    axes.set_xlabel(style.in_a_line(points.names[i], 40))
    axes.set_ylabel(style.in_a_line(points.names[j], 26))
    kappa_bar(
        page.panel(page.width - 0.85, below, 0.12, tall), limits, observation.thresholds.bands
    )
    return page.figure


def draw_zones(
    axes: Axes, x: Array, y: Array, log10: Array, deficient: Array, limits: tuple[float, float]
) -> None:
    """Draw log10 of the condition numbers over two inputs, and cross what is not of full rank."""
    cells = int(np.clip(np.sqrt(len(x) / POINTS_A_CELL), 1, MAX_CELLS))
    x_edges, y_edges = _edges(x, cells), _edges(y, cells)
    column = (np.searchsorted(x_edges, x, side="right") - 1).clip(0, cells - 1)
    row = (np.searchsorted(y_edges, y, side="right") - 1).clip(0, cells - 1)
    median = np.full((cells, cells), np.nan)
    for r, c in np.ndindex(*median.shape):
        inside = log10[(row == r) & (column == c)]
        if len(inside):
            median[r, c] = np.median(inside)
    colours: dict[str, Any] = {"cmap": COLOURS, "vmin": limits[0], "vmax": limits[1]}
    size = float(np.clip(2500 / len(x), 3, 9))
    axes.pcolormesh(x_edges, y_edges, median, **colours, alpha=0.75, lw=0, gid="medians")
    axes.scatter(x, y, c=log10, **colours, s=size, lw=0.04 * size, edgecolors="white")
    crosses: Any = {"marker": "x", "c": style.RED, "s": 15, "lw": 1.1, "gid": "deficient"}
    axes.scatter(x[deficient], y[deficient], **crosses)
    axes.set_xlim(x_edges[0], x_edges[-1])
    axes.set_ylim(y_edges[0], y_edges[-1])
    set_plane(axes, x_edges[[0, -1]], y_edges[[0, -1]])


def set_plane(axes: Axes, x: Array, y: Array) -> None:
    """Set the ticks of two inputs between their extremes."""
    letters = int(15 * axes.bbox.width / axes.figure.dpi)
    style.set_ticks(axes.xaxis, style.fitting(style.ticks(x.min(), x.max(), 4), letters))
    style.set_ticks(axes.yaxis, style.ticks(y.min(), y.max(), 4))


def tick_room(y: Array) -> float:
    """Return the inches that the numbers at the left of ``draw_zones`` take."""
    edges = _edges(y, 1)
    return 0.085 * max(len(text) for _, text in style.ticks(edges[0], edges[-1], 4))


def _edges(x: Array, cells: int) -> Array:
    low, high = float(x.min()), float(x.max())
    margin = 0.03 * (high - low) or max(abs(low), 1.0) / 2
    return np.linspace(low - margin, high + margin, cells + 1)


def colour_limits(log10: Array) -> tuple[float, float]:
    """Return where the colours begin and end: at quarters of a decade, half a decade at least."""
    low, high = math.floor(4 * log10.min()) / 4, math.ceil(4 * log10.max()) / 4
    return (low, high) if high - low >= 0.5 else (max(0.0, high - 0.5), max(0.5, high))


def kappa_bar(axes: Axes, limits: tuple[float, float], bands: tuple[float, float]) -> None:
    """Draw which colour is which condition number, with white lines where bands end."""
    low, high = limits
    if high - low > 3:
        step = math.ceil((high - low) / 6)
        values = [10.0**exponent for exponent in range(math.ceil(low), math.floor(high) + 1, step)]
    else:
        nice = [d * 10.0**p for p in range(17) for d in ((1, 2, 5) if high - low > 1 else NICE)]
        values = [value for value in nice if low <= math.log10(value) <= high]
    ticks = [
        (math.log10(value), short(value, 2) if value < 1e4 else power(round(math.log10(value))))
        for value in values
    ]
    if high >= style.CAP:
        ticks = [tick for tick in ticks if tick[0] <= high - 0.08 * (high - low)]
        ticks.append((style.CAP, "∞"))
    style.colour_bar(axes, COLOURS, limits, ticks, "condition number κ")
    ends = [math.log10(band) for band in bands if low < math.log10(band) < high]
    axes.hlines(ends, 0, 1, color="white", lw=1.5)
