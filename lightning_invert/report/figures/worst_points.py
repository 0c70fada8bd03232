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
GAP = 0.25
"""Between the highest number and ∞, as a share of the axis."""


@map_figure(has_few_inputs)
def worst_points(
    observation: Observation, *, title: str = "worst points", top: int = 20, max_inputs: int = 8
) -> Figure:
    r"""Draw the points with the highest condition numbers in parallel coordinates.

    A line a point: it crosses the axis of each input at its value, and the lowest axis at its
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
    page = style.sheet(title, facts)
    axes = page.panel(1.9, 0.24, page.width - 2.45, page.room - 0.3)
    finite = points.log10[np.isfinite(points.condition)]
    least, most = (finite.min(), finite.max()) if finite.size else (0.0, style.CAP)
    infinity = most + GAP * max(most - least, 0.5)
    level = np.where(np.isinf(points.condition), infinity, points.log10)
    table = np.column_stack([points.inputs[:, shown], level])
    low, high = table.min(0), table.max(0)
    low[-1] = least
    _draw(axes, table, low, high, worst, points.deficient)
    _write_names(axes, [style.in_a_line(points.names[j], 21) for j in shown], low, high)
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
    axes.tick_params(length=0, labelsize=8)


def _write_names(axes: Axes, names: Sequence[str], low: Array, high: Array) -> None:
    """Write the names of the inputs, and the ends of each input's axis beside it."""
    axes.set_yticks(range(len(low)), [*names, "κ"])
    axes.tick_params(axis="y", pad=34)
    for j in range(len(names)):
        for at, value, side in ((-0.03, low[j], "right"), (1.03, high[j], "left")):
            axes.text(at, j, short(float(value), 3), ha=side, va="center", size=8, color="0.3")


def _write_kappa(axes: Axes, least: float, most: float, end: float, bands: Sequence[float]) -> None:
    """Write the ends of the axis of κ, the bands and ∞ below it, where they have room."""
    width = float(end - least) or 1.0
    ticks = [float(least), most]
    ticks += [b for b in np.log10(bands) if all(abs(b - tick) > 0.2 * width for tick in ticks)]
    labels = [(tick, short(10**tick, 3)) for tick in ticks if least <= tick <= end]
    labels += [(float(end), "∞")] if end > most else []
    style.set_ticks(axes.xaxis, [((tick - least) / width, text) for tick, text in labels])
