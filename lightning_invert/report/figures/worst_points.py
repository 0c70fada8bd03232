"""The worst points in parallel coordinates: what their inputs have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from lightning_invert.report.figures import Array, map_figure, style
from lightning_invert.report.figures.points import (
    best_single,
    drawable,
    has_few_inputs,
    quantile_cells,
)
from lightning_invert.report.worst_points import worst_first
from lightning_invert.watch.numerals import short
from lightning_invert.watch.observation import Observation

MAX_OTHERS = 150
GAP = 0.12
"""Between the highest number and ∞, as a share of the axis."""


@map_figure(has_few_inputs)
def worst_points(
    observation: Observation, *, title: str = "worst points", top: int = 20, max_inputs: int = 10
) -> Figure:
    r"""Draw the points with the highest condition numbers in parallel coordinates.

    A line a point: it crosses the axis of each input at its value, and the last axis at its
    :math:`\kappa`. The worst ``top`` are red, those that are not of full rank dashed; some of the
    others are grey. Where the red lines run together, the map is fragile. Of more than ``max_inputs``
    inputs those are shown that explain the most of log10 :math:`\kappa`.
    """
    points = drawable(observation)
    n = points.inputs.shape[1]
    if not points.inputs.size:
        return style.empty_card(title, points.facts, "no points" if n else "no inputs")
    shown = best_single([quantile_cells(x) for x in points.inputs.T], points.log10, max_inputs)
    worst = worst_first(points.condition, ~points.deficient)[:top]
    facts = [f"the worst {len(worst)} of {points.facts[0]} in red", points.facts[1]]
    if points.deficient[worst].any():
        facts.append(f"dashed: rank < {observation.full_rank}")
    if len(shown) < n:
        facts.append(f"the {len(shown)} of {n} inputs that explain κ most")
    each = max(0.72, 4.0 / len(shown))
    labels = [*(style.wrapped(points.names[j], int(13 * each)) for j in shown), "κ"]
    below, tall = 0.2 + 0.14 * max(label.count("\n") + 1 for label in labels), 1.9
    width = max(style.CARD[0], each * len(shown) + 1.1)
    page = style.sheet(width, below + tall + 0.25, title, facts)
    axes = page.panel(0.6, below, page.width - 1.1, tall - 0.1)
    finite = points.log10[np.isfinite(points.condition)]
    least, most = (finite.min(), finite.max()) if finite.size else (0.0, style.CAP)
    infinity = most + GAP * max(most - least, 0.5)
    level = np.where(np.isinf(points.condition), infinity, points.log10)
    table = np.column_stack([points.inputs[:, shown], level])
    low, high = table.min(0), table.max(0)
    low[-1] = least
    _draw(axes, table, low, high, worst, points.deficient)
    axes.set_xticks(range(len(labels)), labels)
    _write_ends(axes, low[:-1], high[:-1])
    _write_kappa(axes, low[-1], most, high[-1], observation.thresholds.bands)
    return page.figure


def _draw(
    axes: Axes, table: Array, low: Array, high: Array, worst: Array, deficient: Array
) -> None:
    width = np.where(high > low, high - low, 1.0)
    position = np.where(high > low, (table - low) / width, 0.5)
    where = np.arange(table.shape[1])
    others = np.setdiff1d(np.arange(len(table)), worst)
    others = others[:: max(1, len(others) // MAX_OTHERS)]

    def draw(rows: Array, **look: Any) -> None:
        lines = [np.column_stack([where, position[row]]) for row in rows]
        axes.add_collection(LineCollection(lines, **look))

    draw(others, colors="0.6", lw=0.5, alpha=0.35)
    red: Any = {"colors": style.RED, "lw": 1.2, "alpha": 0.85}
    draw(worst[~deficient[worst]], gid="worst", linestyles="-", **red)
    draw(worst[deficient[worst]], gid="worst deficient", linestyles="--", **red)
    axes.vlines(where, 0, 1, color="0.2", lw=0.8)
    axes.set_xlim(-0.05, len(where) - 0.95)
    axes.set_ylim(-0.02, 1.02)
    for name in ("left", "bottom"):
        axes.spines[name].set_visible(False)
    axes.set_yticks([])
    axes.tick_params(axis="x", length=0, pad=14, labelsize=8)


def _write_ends(axes: Axes, low: Array, high: Array) -> None:
    """Write the ends of each input's axis below and above it."""
    for values, at, side in ((low, -0.03, "top"), (high, 1.03, "bottom")):
        for j, value in enumerate(values):
            text = short(float(value), 3)
            axes.text(j, at, text, ha="center", va=side, size=7, color="0.3")


def _write_kappa(axes: Axes, least: float, most: float, end: float, bands: Sequence[float]) -> None:
    """Write the ends of the axis of κ, the bands and ∞ beside it, where they have room."""
    width = float(end - least) or 1.0
    ticks = [float(least), most]
    ticks += [b for b in np.log10(bands) if all(abs(b - tick) > 0.08 * width for tick in ticks)]
    labels = [(tick, short(10**tick, 3)) for tick in ticks if least <= tick <= end]
    labels += [(float(end), "∞")] if end > most else []
    at = len(axes.get_xticks()) - 1 + 0.06
    for tick, text in labels:
        axes.text(at, (tick - least) / width, text, va="center", size=7, color="0.3")
