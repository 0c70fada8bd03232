"""The evolution of ranks and condition numbers in training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lightning_invert.report.figures import Array, map_figure, style
from lightning_invert.watch.history import MAX_LOOKS, QUANTILES, Record
from lightning_invert.watch.numerals import counted
from lightning_invert.watch.observation import Observation

RANK_COLOURS = (style.BLUE, "#F0C35A", style.ORANGE, style.RED, "#7A2E00")

LEGEND = (
    "line: median",
    "dashed: 95th percentile",
    "hatched: 95 % intervals",
    "shades: 50, 90, 100 %",
)


@map_figure(lambda observation, history: len(history) > 1)
def evolution(
    observation: Observation, *, title: str = "evolution", history: Sequence[Record] = ()
) -> Figure:
    """Draw the shares of the ranks and the quantiles of the condition number over the epochs."""
    counts = sorted({look["num_points"] for look in history})
    points = counted(counts[0], "point")
    if len(counts) > 1:
        points = f"{counts[0]} to {counts[-1]} points"
    thinned = " (older ones are thinned out)" if len(history) == MAX_LOOKS else ""
    facts = [f"{counted(len(history), 'look')}{thinned} at {points}", *LEGEND]
    page = style.sheet(title, facts)
    above = page.panel(0.58, page.room - 0.6, page.width - 1.68, 0.52)
    below = page.panel(0.58, 0.42, page.width - 1.68, page.room - 1.14)
    epochs = [look["epoch"] for look in history]
    by_step = len(set(epochs)) < len(epochs)
    x = np.array([look["step"] for look in history] if by_step else epochs, dtype=float)
    _draw_ranks(above, x, history, observation.full_rank)
    _draw_quantiles(below, x, history, observation.thresholds.bands)
    for axes in (above, below):
        axes.set_xlim(x[0], x[-1])
        axes.margins(x=0)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    above.tick_params(axis="x", labelbottom=False)
    below.set_xlabel("step" if by_step else "epoch")
    return page.figure


def _draw_ranks(axes: Axes, x: Array, history: Sequence[Record], full_rank: int) -> None:
    shares = 100 * np.array([look["rank_shares"] for look in history]).T
    ends = 100 * _interval(history, "full_rank_fraction")
    last = full_rank - len(shares) + 1
    names = [f"rank {full_rank - i}" for i in range(len(shares))]
    names[-1] = f"rank ≤ {last}" if last > 0 else names[-1]
    names[0] = f"full rank ({full_rank})"
    areas = axes.stackplot(x, shares, colors=RANK_COLOURS[: len(shares)], lw=0)
    for area, name in zip(areas, names, strict=True):
        area.set_gid(name)
    for end in ends:
        axes.plot(x, end, ls=":", color=style.BLACK, lw=0.9)
    axes.set_ylim(0, 100)
    axes.set_yticks([0, 50, 100])
    axes.set_ylabel("points (%)")
    shown = [i for i, share in enumerate(shares) if i == 0 or share.max() > 0]
    for line, i in enumerate(reversed(shown)):
        _name_colour(axes, 0.9 - 0.23 * line, RANK_COLOURS[i], names[i])


def _interval(history: Sequence[Record], name: str) -> Array:
    """Return both ends of a scalar's intervals, (2, looks)."""
    return np.array([[look[f"{name}_{end}"] for look in history] for end in ("low", "high")])


def _name_colour(axes: Axes, at: float, colour: str, name: str) -> None:
    """Name a colour, at the right of the axes."""
    for where, text, shade in ((1.03, "■", colour), (1.075, name, "0.2")):
        axes.text(where, at, text, color=shade, size=8, va="center", transform=axes.transAxes)


def _draw_quantiles(
    axes: Axes, x: Array, history: Sequence[Record], bands: tuple[float, float]
) -> None:
    quantiles = np.array([[look[f"log10_cond_{name}"] for look in history] for name in QUANTILES])
    high = style.decades(quantiles, 10 * bands[0])
    at = -1.0
    for name, colour, begin, stop in style.band_spans(bands, high):
        axes.axhspan(begin, stop, color=colour, alpha=0.16, lw=0)
        if stop - begin > 0.07 * high:
            at = max((begin + stop) / 2 / high, at + 0.15)
            _name_colour(axes, at, colour, name)
    for i, colour in enumerate(style.SHADES):
        axes.fill_between(x, quantiles[i], quantiles[-1 - i], color=colour, lw=0)
    for name, line in (("median", "-"), ("p95", "--")):
        i = [*QUANTILES].index(name)
        low, top = _interval(history, f"log10_cond_{name}")
        axes.fill_between(
            x, low, top.clip(max=high), facecolor="none", edgecolor="0.25", hatch="/////", lw=0
        )
        axes.plot(x, quantiles[i], color=style.BLACK, ls=line, lw=1.3, gid=name)
    axes.set_ylim(0, high)
    style.kappa_ticks(axes.yaxis, high, high if quantiles.max() >= style.CAP else None)
    axes.set_ylabel("condition κ")
