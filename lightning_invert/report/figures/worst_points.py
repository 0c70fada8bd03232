"""What the worst points have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lightning_invert.report.figures import style
from lightning_invert.report.figures.points import drawable, most_telling, parted
from lightning_invert.report.figures.style import Array
from lightning_invert.report.worst_points import worst_first

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lightning_invert.watch.observation import Observation

__all__ = ["worst_points"]

MAX_OTHERS = 150
GAP = 0.12
"""Between the highest number and ∞, as a share of the axis."""


def worst_points(
    one: Observation,
    *,
    title: str = "",
    top: int = 20,
    max_inputs: int = 10,
) -> Figure:
    r"""Draw the points with the highest condition numbers in parallel coordinates.

    A line a point: it crosses the axis of each input at its value, and the last axis at its
    :math:`\kappa`. The worst are red, those that are not of full rank dashed; some of the others
    are grey. Where the red lines run together, the map is fragile.

    Args:
        one: What was found of a map; points that are not finite are left out.
        title: What was watched.
        top: How many are red.
        max_inputs: How many axes at most: those that explain the most of log10 :math:`\kappa`.

    Returns:
        The figure.

    Raises:
        ValueError: If the shapes do not fit, or a rank is not between 0 and ``full_rank``.

    Example:
        >>> import torch
        >>> from lightning_invert.watch.observation import Observation
        >>> x = torch.rand(200, 3)
        >>> sigma = torch.stack([torch.ones(200), 10 ** (-4 * x[:, 0])], dim=1)
        >>> figure = worst_points(Observation.of(sigma, inputs=x), top=5)
        >>> [label.get_text() for label in figure.axes[0].get_xticklabels()]
        ['x0', 'x1', 'x2', 'κ']
    """
    full_rank, bands = one.full_rank, one.thresholds.bands
    inputs, condition, deficient, names, facts = drawable(one)
    title, n = title or "worst points", inputs.shape[1]
    with style.styled():
        if inputs.size == 0:
            return style.nothing(*style.card(title, facts), "no points" if n else "no inputs")
        log10 = style.log10(condition)
        shown = most_telling([parted(x) for x in inputs.T], log10, max_inputs)
        worst = worst_first(condition, ~deficient)[:top]
        facts = [f"the worst {len(worst)} of {facts[0]} in red", facts[1]]
        if deficient[worst].any():
            facts.append(f"dashed: rank < {full_rank}")
        if len(shown) < n:
            facts.append(f"the {len(shown)} of {n} inputs that explain κ most")
        room = max(0.72, 4.0 / len(shown))
        letters = int(13 * room)
        labels = [*(style.wrapped(names[j], letters) for j in shown), "κ"]
        below = 0.2 + 0.14 * max(label.count("\n") + 1 for label in labels)
        across, tall = max(style.CARD[0], room * len(shown) + 1.1), 1.9
        figure, height = style.headed(across, below + tall + 0.25, title, facts)
        box = (0.6 / across, below / height, 1 - 1.1 / across, (tall - 0.1) / height)
        axes = figure.add_axes(box)
        finite = log10[np.isfinite(condition)]
        least, most = (finite.min(), finite.max()) if finite.size else (0.0, style.CAP)
        infinity = most + GAP * max(most - least, 0.5)
        level = np.where(np.isinf(condition), infinity, log10)
        table = np.column_stack([inputs[:, shown], level])
        low, top_values = table.min(0), table.max(0)
        low[-1] = least
        _draw(axes, table, low, top_values, worst, deficient)
        _label(axes, labels, low, top_values, most, bands)
        return figure


def _draw(
    axes: Axes, table: Array, low: Array, high: Array, worst: Array, deficient: Array
) -> None:
    width = np.where(high > low, high - low, 1.0)
    position = np.where(high > low, (table - low) / width, 0.5)
    where = np.arange(table.shape[1])
    others = np.setdiff1d(np.arange(len(table)), worst)
    others = others[:: max(1, len(others) // MAX_OTHERS)]
    from matplotlib.collections import LineCollection

    def lines(rows: Array) -> list[Array]:
        return [np.column_stack([where, position[row]]) for row in rows]

    axes.add_collection(LineCollection(lines(others), colors="0.6", lw=0.5, alpha=0.35))
    for short, dashes in ((False, "-"), (True, "--")):
        rows = worst[deficient[worst] == short]
        axes.add_collection(
            LineCollection(lines(rows), colors=style.RED, lw=1.2, linestyles=dashes, alpha=0.85)
        )
    axes.vlines(where, 0, 1, color="0.2", lw=0.8)
    axes.set_xlim(-0.05, len(where) - 0.95)
    axes.set_ylim(-0.02, 1.02)


def _label(
    axes: Axes,
    labels: list[str],
    low: Array,
    high: Array,
    most: float,
    bands: tuple[float, float],
) -> None:
    for name in ("left", "bottom"):
        axes.spines[name].set_visible(False)
    axes.set_yticks([])
    axes.set_xticks(range(len(labels)), labels)
    axes.tick_params(axis="x", length=0, pad=14, labelsize=8)
    last = len(labels) - 1
    for j in range(last):
        for value, at, side in ((low[j], -0.03, "top"), (high[j], 1.03, "bottom")):
            text = style.short(float(value), 3)
            axes.text(j, at, text, ha="center", va=side, size=7, color="0.3")
    width = float(high[-1] - low[-1]) or 1.0
    ticks = [float(low[-1]), most]
    ticks += [b for b in np.log10(bands) if all(abs(b - t) > 0.08 * width for t in ticks)]
    named = [(t, style.short(10**t, 3)) for t in ticks if low[-1] <= t <= high[-1]]
    if high[-1] > most:
        named.append((float(high[-1]), "∞"))
    for at, text in named:
        where = (at - low[-1]) / width
        axes.text(last + 0.06, where, text, va="center", size=7, color="0.3")
