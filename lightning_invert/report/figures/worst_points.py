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

TOP, MAX_OTHERS, MAX_INPUTS = 20, 150, 8

GAP = 0.25
"""Between the highest number and ∞, as a share of the axis."""


@map_figure(has_few_inputs)
def worst_points(observation: Observation, *, title: str = "worst points") -> Figure:
    """Draw the points with the highest condition numbers in parallel coordinates."""
    points = drawable(observation)
    n = points.inputs.shape[1]
    if not points.inputs.size:
        return style.empty_card(title, points.facts, "no points" if n else "no inputs")
    shown = best_single([quantile_cells(x) for x in points.inputs.T], points.log10, MAX_INPUTS)
    worst = worst_first(points.condition, ~points.deficient)[:TOP]
    facts = [f"the worst {len(worst)} of {points.facts[0]} in red", points.facts[1]]
    if points.deficient[worst].any():
        facts.append(f"dashed: rank < {observation.full_rank}")
    if len(shown) < n:
        facts.append(f"the {len(shown)} of {n} inputs that explain κ most")
    finite = points.log10[np.isfinite(points.condition)]
    least, most = (finite.min(), finite.max()) if finite.size else (0.0, style.CAP)
    infinity = most + GAP * max(most - least, 0.5)
    level = np.where(np.isinf(points.condition), infinity, points.log10)
    table = np.column_stack([points.inputs[:, shown], level])
    low, high = table.min(0), table.max(0)
    low[-1] = least
    ends = [[short(float(end), 3) for end in side[:-1]] for side in (low, high)]
    lower, upper = (max(0.47, 0.1 + 0.06 * max(map(len, texts))) for texts in ends)  # inches
    page = style.sheet(title, facts)
    axes = page.panel(1.9, 0.24, page.width - 1.98 - upper, page.room - 0.3)
    names = [style.in_a_line(points.names[j], int((1.9 - lower) / 0.068)) for j in shown]
    axes.set_yticks(range(len(shown) + 1), [*names, "κ"])
    for at, texts, side in ((-0.03, ends[0], "right"), (1.03, ends[1], "left")):
        for j, text in enumerate(texts):
            axes.text(at, j, text, ha=side, va="center", size=8, color="0.3")
    axes.tick_params(length=0, labelsize=8)
    axes.tick_params(axis="y", pad=72 * lower)
    _draw(axes, table, low, high, worst, points.deficient)
    _write_kappa(axes, low[-1], most, high[-1], observation.thresholds.bands)
    return page.figure


def _draw(
    axes: Axes, table: Array, low: Array, high: Array, worst: Array, deficient: Array
) -> None:
    width = np.where(high > low, high - low, 1.0)
    position = np.where(high > low, (table - low) / width, 0.5)
    where = np.arange(table.shape[1])
    others = style.thinned(np.setdiff1d(np.arange(len(table)), worst), MAX_OTHERS)

    def draw(rows: Array, **look: Any) -> None:
        lines = [np.column_stack([position[row], where]) for row in rows]
        axes.add_collection(LineCollection(lines, **look))

    draw(others, colors="0.6", lw=0.5, alpha=0.35)
    red: Any = {"colors": style.RED, "lw": 1.2, "alpha": 0.85}
    draw(worst[~deficient[worst]], gid="worst", linestyles="-", **red)
    draw(worst[deficient[worst]], gid="worst deficient", linestyles="--", **red)
    axes.hlines(where, 0, 1, color="0.2", lw=0.8)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(len(where) - 0.95, -0.3)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _write_kappa(axes: Axes, least: float, most: float, end: float, bands: Sequence[float]) -> None:
    """Write the ends of the axis of κ, the bands and ∞ below it, where they have room."""
    width = float(end - least) or 1.0
    ticks = [*dict.fromkeys((float(least), most))]
    ticks += [b for b in np.log10(bands) if all(abs(b - tick) > 0.2 * width for tick in ticks)]
    labels = [(tick, short(10**tick, 3)) for tick in ticks if least <= tick <= end]
    labels += [(float(end), "∞")] if end > most else []
    style.set_ticks(axes.xaxis, [((tick - least) / width, text) for tick, text in labels])
