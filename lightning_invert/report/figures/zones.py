"""Where, along the inputs, the condition number rises and the rank drops."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lightning_invert.arguments import check_integer
from lightning_invert.report.figures import style
from lightning_invert.report.figures.points import drawable, most_telling
from lightning_invert.report.figures.style import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lightning_invert.watch.observation import Observation

__all__ = ["fragile_zones"]

MAX_COLUMNS = 10
ROWS = 16
"""Cells of the density along the condition number, without the one for ∞."""


def fragile_zones(
    one: Observation,
    *,
    title: str = "",
    max_inputs: int = 12,
) -> Figure:
    r"""Draw where, along each input, the condition number rises and the rank drops.

    A panel an input: a heat map of how :math:`\kappa` is distributed in each column of points, on
    the bands' colours, the median as a line; the strip below is the share of the column's points
    that are not of full rank. Columns hold about as many points each, so that no median is one of
    two or three points; a value at an end of the range that many points share (a rate that is 0
    half of the time) has a column of its own. Of more than ``max_inputs`` inputs those are shown
    whose columns explain most of the variance of log10 :math:`\kappa` (the correlation ratio:
    K. Pearson, 1905).

    Args:
        one: What was found of a map; points that are not finite are left out.
        title: What was watched.
        max_inputs: How many panels at most.

    Returns:
        The figure: first the panels, each with the density and the strip, then two colour bars.

    Raises:
        ValueError: If the shapes do not fit, a rank is not between 0 and ``full_rank`` or
            ``max_inputs`` is not positive.

    Example:
        >>> import torch
        >>> from lightning_invert.watch.observation import Observation
        >>> x = torch.rand(200, 3)
        >>> sigma = torch.stack([torch.ones(200), 10 ** (-4 * x[:, 0])], dim=1)
        >>> figure = fragile_zones(Observation.of(sigma, inputs=x))
        >>> [axes.get_xlabel() for axes in figure.axes[:3]]
        ['x0', 'x1', 'x2']
    """
    full_rank, bands = one.full_rank, one.thresholds.bands
    check_integer("max_inputs", max_inputs, low=1)
    points = drawable(one)
    inputs, condition, deficient, names, facts = points
    n = inputs.shape[1]
    title = title or "κ and rank along the inputs"
    with style.styled():
        if inputs.size == 0:
            return style.nothing(*style.card(title, facts), "no points" if n else "no inputs")
        columns = [_columns(x) for x in inputs.T]
        shown = most_telling([c.column for c in columns], style.log10(condition), max_inputs)
        if len(shown) < n:
            facts.append(f"the {len(shown)} of {n} inputs that explain κ most")
        scale = _Axis.of(condition, bands)
        zones = [_zone(columns[j], scale.level(condition), deficient, scale) for j in shown]
        facts += [
            f"{style.percent(1 - deficient.mean())} at full rank ({full_rank})",
            "line: median κ",
        ]
        labels, letters = _grid_labels([names[j] for j in shown])
        figure, panels, bars = _grid(labels, title, facts)
        darkest = max(0.2, math.ceil(10 * max(np.nanmax(z.density) for z in zones)) / 10)
        for panel, zone in zip(panels, zones, strict=True):
            _draw_zone(panel, zone, scale, darkest)
            _label_ticks(panel, zone.columns.ticks, letters)
        _colour_bar(bars[0], "Blues", -0.3 * darkest, darkest, "column share (%)")
        _colour_bar(bars[1], "Reds", 0, 1, f"rank < {full_rank} (%)")
        return figure


# What the fragile zones consist of.


class _Columns(NamedTuple):
    """How the points are sorted along one input."""

    edges: Array  # (C + 1,), of what is drawn
    column: Array  # (N,), of each point
    ticks: list[tuple[float, str]]


class _Axis(NamedTuple):
    """The axis of κ: its decades, and where ∞ is."""

    high: int
    row: float
    singular: bool
    bands: tuple[float, float]

    @classmethod
    def of(cls, condition: Array, bands: tuple[float, float]) -> _Axis:
        singular = np.isinf(condition)
        high = style.decades(style.log10(condition[~singular]), bands[0])
        return cls(high, high / ROWS, bool(singular.any()), bands)

    @property
    def infinity(self) -> float:
        return self.high + 1.75 * self.row

    @property
    def edges(self) -> Array:
        edges = np.linspace(0, self.high, ROWS + 1)
        if not self.singular:
            return edges
        return np.append(edges, self.infinity + self.row * np.array([-1.0, 1.0]))

    def level(self, condition: Array) -> Array:
        # The last row of numbers is closed above: what is beyond belongs to ∞, or to the gap.
        finite = np.minimum(style.log10(condition), self.high - 1e-9)
        return np.where(np.isinf(condition), self.infinity, finite)


class _Zone(NamedTuple):
    """What one panel shows."""

    columns: _Columns
    density: Array  # (rows, C), NaN where there is no point
    median: Array  # (C,), NaN where there is no point
    deficient: Array  # (C,), NaN where there is no point


def _zone(columns: _Columns, level: Array, deficient: Array, scale: _Axis) -> _Zone:
    number = len(columns.edges) - 1
    count = np.bincount(columns.column, minlength=number)
    middles = np.arange(number + 1) - 0.5
    cells, _, _ = np.histogram2d(level, columns.column, bins=(scale.edges, middles))
    order = np.lexsort((level, columns.column))
    # The higher one of an even number: between a number and ∞ nothing is to be interpolated.
    at = np.minimum(np.cumsum(count) - count + count // 2, len(level) - 1)
    with np.errstate(invalid="ignore"):
        density = np.where(cells > 0, cells / count, np.nan)
        short = np.bincount(columns.column, deficient, minlength=number) / count
    return _Zone(columns, density, np.where(count > 0, level[order][at], np.nan), short)


def _columns(x: Array) -> _Columns:
    """Sort points into columns of about equal numbers, repeated values into columns of their own."""
    low, high = float(x.min()), float(x.max())
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        half = max(abs(low), 1.0) / 2
        edges = np.array([low - half, low + half])
        return _Columns(edges, np.zeros(len(x), dtype=int), [(low, style.short(low))])
    most = min(MAX_COLUMNS, max(2, round(math.sqrt(len(x)))))
    values = np.unique(x)
    if len(values) <= most:
        inner = (values[:-1] + values[1:]) / 2
        edges = np.array([1.5 * low - values[1] / 2, *inner, 1.5 * high - values[-2] / 2])
        return _Columns(edges, _locate(inner, x), style.ticks(low, high))
    return _with_ends_apart(x, most)


def _with_ends_apart(x: Array, most: int) -> _Columns:
    """Give the lowest and the highest value a column of their own if they have enough points."""
    low, high = x.min(), x.max()
    apart = [bool((x == end).sum() > len(x) / most) for end in (low, high)]
    rest = x[~((x == low) & apart[0]) & ~((x == high) & apart[1])]
    begin, stop = float(rest.min()), float(rest.max())
    number = max(1, round(most * len(rest) / len(x)))
    inner = np.unique(np.quantile(rest, np.linspace(0, 1, number + 1)))
    if len(inner) < 2:
        inner = np.array([begin - (begin - low) / 3, stop + (high - stop) / 3])
    width = (inner[-1] - inner[0]) / 9
    index = _locate(inner[1:-1], x) + 2 * apart[0]
    edges, ticks = inner, style.ticks(begin, stop)
    if apart[0]:
        edges = np.concatenate([inner[0] - width * np.array([1.5, 0.4]), edges])
        ticks = [t for t in ticks if t[0] > begin + 2.5 * width]
        ticks.insert(0, (float(inner[0] - 0.95 * width), f"={style.short(low)}"))
        index[x == low] = 0
    if apart[1]:
        edges = np.concatenate([edges, inner[-1] + width * np.array([0.4, 1.5])])
        ticks = [t for t in ticks if t[0] < stop - 2.5 * width]
        ticks.append((float(inner[-1] + 0.95 * width), f"={style.short(high)}"))
        index[x == high] = len(edges) - 2
    return _Columns(edges, index, ticks)


def _locate(inner: Array, x: Array) -> Array:
    return np.asarray(np.searchsorted(inner, x, side="right"))


def _shape(panels: int) -> tuple[int, int, float]:
    """Return the rows and columns of the grid and how wide a panel is."""
    rows = math.ceil(panels / 4)
    across = math.ceil(panels / rows)
    return rows, across, {1: 3.2, 2: 1.8, 3: 1.45}.get(across, 1.12)


def _grid_labels(names: Sequence[str]) -> tuple[list[str], int]:
    """Return the names as they fit below panels, and the number of letters that do."""
    letters = int(15.5 * _shape(len(names))[2])
    return [style.wrapped(name, letters) for name in names], letters


def _grid(
    labels: Sequence[str], title: str, facts: Sequence[str]
) -> tuple[Figure, list[Axes], list[Axes]]:
    """Lay out a panel for each label and, at the right, two colour bars."""
    rows, across, wide = _shape(len(labels))
    left, right, gap = 0.5, 0.72, 0.12
    tall = 1.75 if rows == 1 else 1.3
    down = tall + 0.3 + 0.13 * max(label.count("\n") + 1 for label in labels)
    width = left + across * (wide + gap) + right
    figure, height = style.headed(width, rows * down, title, facts)

    def axes(x: float, below: float, w: float, h: float) -> Axes:
        return figure.add_axes(
            (x / width, (rows * down - below - h) / height, w / width, h / height)
        )

    panels = []
    for i, label in enumerate(labels):
        row, column = divmod(i, across)
        panel = axes(left + column * (wide + gap), row * down, wide, tall)
        panel.set_xlabel(label, fontsize=8, labelpad=1.5)
        panels.append(panel)
    for panel in panels[::across]:
        panel.set_ylabel("condition number κ", fontsize=8, labelpad=1)
    at, tall = width - right + 0.02, min(1.0, (tall - 0.17) / 2) if rows == 1 else 1.0
    return figure, panels, [axes(at, 0, 0.1, tall), axes(at, tall + 0.17, 0.1, tall)]


def _draw_zone(axes: Axes, zone: _Zone, scale: _Axis, darkest: float) -> None:
    edges = zone.columns.edges
    strip = 0.09 * scale.high
    top = scale.edges[-1]
    _tint(axes, edges, scale)
    axes.pcolorfast(
        edges, scale.edges, zone.density, cmap="Blues", vmin=-0.3 * darkest,
        vmax=darkest,
    )  # fmt: skip
    axes.pcolorfast(
        edges, [-2 * strip, -0.6 * strip], zone.deficient[None], cmap="Reds", vmin=0, vmax=1
    )
    for colour, width in (("white", 3.2), (style.BLACK, 1.5)):
        axes.stairs(zone.median, edges, baseline=None, color=colour, lw=width)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(-2 * strip, top)
    axes.tick_params(length=2.5, pad=1.5, labelsize=7.5)
    if axes.get_ylabel():
        style.kappa_ticks(axes.yaxis, scale.high, scale.infinity if scale.singular else None)
    else:
        axes.set_yticks([])


def _tint(axes: Axes, edges: Array, scale: _Axis) -> None:
    """Colour the bands as in the histogram, all in one image: artists are what takes time."""
    from matplotlib.colors import to_rgba_array

    limits = np.minimum(np.log10(scale.bands), scale.high)
    heights = np.array([0.0, *limits, scale.high, *scale.edges[-2:]])
    colours = to_rgba_array([*(colour for _, colour in style.BAND_COLOURS), "none", style.BLACK])
    colours[:, 3] *= [0.18, 0.18, 0.18, 0, 0.12]
    drawn = 5 if scale.singular else 3
    seen = np.diff(heights[: drawn + 1]) > 0
    lower, colours = heights[:drawn][seen], colours[:drawn][seen]
    ends = [*lower, heights[drawn]]
    axes.pcolorfast([edges[0], edges[-1]], ends, colours[:, None])
    inside = limits < scale.high
    axes.hlines(
        limits[inside], edges[0], edges[-1], lw=0.8,
        colors=[colour for (_, colour), there in zip(style.BAND_COLOURS, inside, strict=False) if there],
    )  # fmt: skip


def _label_ticks(axes: Axes, ticks: list[tuple[float, str]], letters: int) -> None:
    """Set as many ticks as have room for their labels, none of which sticks out of the panel."""
    while len(ticks) > 1 and sum(len(text) + 2 for _, text in ticks) > letters:
        ticks = ticks[::2]
    axes.set_xticks([tick for tick, _ in ticks], [text for _, text in ticks])
    low, high = axes.get_xlim()
    for (tick, text), label in zip(ticks, axes.get_xticklabels(), strict=True):
        where, half = (tick - low) / (high - low), 0.5 * len(text) / letters
        if where < half:
            label.set_horizontalalignment("left")
        elif where > 1 - half:
            label.set_horizontalalignment("right")


def _colour_bar(axes: Axes, colours: str, low: float, high: float, label: str) -> None:
    """Draw what ``Figure.colorbar`` draws in a tenth of its time."""
    ramp = np.linspace(0, high, 64)[:, None]
    axes.imshow(
        ramp, origin="lower", aspect="auto", extent=(0, 1, 0, high), cmap=colours, vmin=low,
        vmax=high,
    )  # fmt: skip
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.yaxis.set_label_position("right")
    axes.set_yticks([0, high / 2, high], [f"{100 * v:.3g}" for v in (0, high / 2, high)])
    axes.tick_params(labelsize=7, length=2, pad=1.5)
    axes.set_ylabel(label, fontsize=7, labelpad=2)
