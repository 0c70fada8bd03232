"""Where, in the plane of the two most telling inputs, a map is fragile."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from lightning_invert.report.figures import style
from lightning_invert.report.figures.points import drawable, most_telling_pair
from lightning_invert.report.figures.style import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lightning_invert.watch.observation import Observation

__all__ = ["COLOURS", "colour_bar", "colour_limits", "draw_zones", "zone_map"]

COLOURS = "cividis"
NICE = (1, 1.5, 2, 3, 4, 5, 7)
POINTS_A_CELL = 6
MAX_CELLS = 8
"""Along each input."""


def zone_map(
    one: Observation,
    *,
    title: str = "",
) -> Figure:
    r"""Draw the condition number over the two inputs that tell most about it.

    Those are the two whose 4 × 4 common quantiles explain the most of the variance of log10
    :math:`\kappa` (the correlation ratio :math:`\eta^2`, which is 1 if they tell all). Cells have
    the colour of the median of their points, the points their own; a red cross is a point that is
    not of full rank.

    Args:
        one: What was found of a map; points that are not finite are left out.
        title: What was watched.

    Returns:
        The figure: the map, and its colours.

    Raises:
        ValueError: If the shapes do not fit, there is only one input, or a rank is not between 0
            and ``full_rank``.

    Example:
        >>> import torch
        >>> from lightning_invert.watch.observation import Observation
        >>> x = torch.rand(200, 4)
        >>> sigma = torch.stack([torch.ones(200), 10 ** (-4 * x[:, 1] * x[:, 3])], dim=1)
        >>> figure = zone_map(Observation.of(sigma, inputs=x))
        >>> figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()
        ('x1', 'x3')
    """
    full_rank, bands = one.full_rank, one.thresholds.bands
    inputs, condition, deficient, names, facts = drawable(one)
    if inputs.shape[1] < 2:
        raise ValueError(
            f"Expected argument `inputs` to be of shape (N, n) with n > 1, but got {inputs.shape}."
        )
    title = title or "κ over two inputs"
    with style.styled():
        if len(inputs) == 0:
            return style.nothing(*style.card(title, facts))
        log10 = style.log10(condition)
        i, j, ratio = most_telling_pair(inputs, log10)
        if inputs.shape[1] > 2:
            facts.append(f"the 2 of {inputs.shape[1]} inputs that explain κ most")
        facts.append(f"η² {ratio:.2f}")
        if deficient.any():
            facts.append(f"✕: rank < {full_rank}")
        width, room = style.CARD
        figure, height = style.headed(width, room, title, facts)
        y = inputs[:, j]
        low, high = _edges(y, 1)
        written = max(len(text) for _, text in style.ticks(low, high, 4))
        left, below, right = 0.36 + 0.08 * written, 0.5, 0.95
        box = (left / width, below / height)
        size = (1 - (left + right) / width, (room - below - 0.1) / height)
        axes = figure.add_axes((*box, *size))
        limits = colour_limits(log10)
        draw_zones(axes, inputs[:, i], y, log10, deficient, limits)
        axes.set_xlabel(style.in_a_line(names[i], 40))
        axes.set_ylabel(style.in_a_line(names[j], 26))
        bar = figure.add_axes((1 - 0.85 / width, below / height, 0.12 / width, size[1]))
        colour_bar(bar, limits, bands)
        return figure


def draw_zones(
    axes: Axes, x: Array, y: Array, log10: Array, deficient: Array, limits: tuple[float, float]
) -> None:
    """Draw log10 of the condition numbers over two inputs, and cross what is not of full rank."""
    cells = int(np.clip(np.sqrt(len(x) / POINTS_A_CELL), 1, MAX_CELLS))
    x_edges, y_edges = _edges(x, cells), _edges(y, cells)
    column = np.clip(np.searchsorted(x_edges, x, side="right") - 1, 0, len(x_edges) - 2)
    row = np.clip(np.searchsorted(y_edges, y, side="right") - 1, 0, len(y_edges) - 2)
    median = np.full((len(y_edges) - 1, len(x_edges) - 1), np.nan)
    for r, c in np.ndindex(*median.shape):
        inside = log10[(row == r) & (column == c)]
        if len(inside):
            median[r, c] = np.median(inside)
    colours: dict[str, Any] = {"cmap": COLOURS, "vmin": limits[0], "vmax": limits[1]}
    size = float(np.clip(2500 / len(x), 3, 9))
    axes.pcolormesh(x_edges, y_edges, median, **colours, alpha=0.75, lw=0)
    axes.scatter(x, y, c=log10, **colours, s=size, lw=0.04 * size, edgecolors="white")
    axes.scatter(x[deficient], y[deficient], marker="x", c=style.RED, s=15, lw=1.1)
    axes.set_xlim(x_edges[0], x_edges[-1])
    axes.set_ylim(y_edges[0], y_edges[-1])
    for axis, edges in ((axes.xaxis, x_edges), (axes.yaxis, y_edges)):
        ticks = style.ticks(edges[0], edges[-1], 4)
        axis.set_ticks([tick for tick, _ in ticks], [text for _, text in ticks])


def _edges(x: Array, cells: int) -> Array:
    low, high = float(x.min()), float(x.max())
    margin = 0.03 * (high - low) or max(abs(low), 1.0) / 2
    return np.linspace(low - margin, high + margin, cells + 1)


def colour_limits(log10: Array) -> tuple[float, float]:
    """Return where the colours begin and end: at quarters of a decade, half a decade at least."""
    low, high = math.floor(4 * log10.min()) / 4, math.ceil(4 * log10.max()) / 4
    return (low, high) if high - low >= 0.5 else (max(0.0, high - 0.5), max(0.5, high))


def colour_bar(axes: Axes, limits: tuple[float, float], bands: tuple[float, float]) -> None:
    """Draw what the colours mean, with white lines where bands end."""
    low, high = limits
    ramp = np.linspace(low, high, 128)[:, None]
    axes.imshow(
        ramp, origin="lower", aspect="auto", extent=(0, 1, low, high), cmap=COLOURS, vmin=low,
        vmax=high,
    )  # fmt: skip
    inside = [math.log10(band) for band in bands if low < math.log10(band) < high]
    axes.hlines(inside, 0, 1, color="white", lw=1.5)
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.yaxis.set_label_position("right")
    if high - low > 3:
        step = math.ceil((high - low) / 6)
        values = [10.0**power for power in range(math.ceil(low), math.floor(high) + 1, step)]
    else:
        nice = [d * 10.0**p for p in range(17) for d in ((1, 2, 5) if high - low > 1 else NICE)]
        values = [value for value in nice if low <= math.log10(value) <= high]
    labels = [style.short(v, 2) if v < 1e4 else style.power(round(math.log10(v))) for v in values]
    if high >= style.CAP:
        near = len([v for v in values if math.log10(v) > high - 0.06 * (high - low)])
        values = [*values[: len(values) - near], 10**style.CAP]
        labels = [*labels[: len(labels) - near], "∞"]
    axes.set_yticks(np.log10(values), labels)
    axes.set_ylabel("condition number κ", fontsize=8)
