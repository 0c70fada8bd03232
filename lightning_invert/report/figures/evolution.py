"""How ranks and condition numbers evolved in training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lightning_invert.jacobians.thresholds import Thresholds
from lightning_invert.report.figures import style
from lightning_invert.report.figures.style import Array
from lightning_invert.watch.history import MAX_LOOKS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lightning_invert.watch.history import Record

__all__ = ["evolution"]

RANK_COLOURS = (style.BLUE, "#F0C35A", style.ORANGE, style.RED, "#7A2E00")
QUANTILE_COLOURS = ((0, 6, "#CFE3F1"), (1, 5, "#9CC6E2"), (2, 4, "#5FA3CE"))
"""Between which of the quantiles, from the outermost to the innermost."""

LEGEND = (
    "line: median",
    "dashed: 95th percentile",
    "hatched: their 95 % intervals",
    "shades: 50 %, 90 %, all",
)


def evolution(
    history: Sequence[Record],
    *,
    full_rank: int,
    bands: tuple[float, float] = Thresholds.bands,
    title: str = "",
) -> Figure:
    r"""Draw the shares of the ranks and the quantiles of the condition number over the epochs.

    Above, the areas are shares of the points; the dotted lines enclose the 95 % interval of the
    share at full rank. Below, in the manner of TensorBoard's distributions, lie the ranges of all
    points, of 90 % and of 50 % of them; the median is drawn through, the 95th percentile dashed,
    each with its 95 % interval hatched: a change within it may be chance.

    Args:
        history: The looks, in order.
        full_rank: k = min(m, n).
        bands: Where *stable* ends and *ill-conditioned* begins.
        title: What was watched.

    Returns:
        The figure: the panel of the ranks, and that of the condition numbers.

    Example:
        >>> look = {"epoch": 0, "step": 9, "num_points": 100, "rank_shares": [0.9, 0.1, 0.0],
        ...         "log10_cond": [0.1, 0.5, 1.0, 1.2, 1.5, 2.0, 3.0],
        ...         "full_rank_interval": [0.83, 0.94], "median_interval": [1.1, 1.3],
        ...         "p95_interval": [1.8, 2.5]}
        >>> figure = evolution([look, {**look, "epoch": 1}], full_rank=2)
        >>> [axes.get_ylabel() for axes in figure.axes]
        ['points (%)', 'condition number κ']
    """
    epochs = [look["epoch"] for look in history]
    by_step = len(set(epochs)) < len(epochs)
    x = np.array([look["step"] for look in history] if by_step else epochs, dtype=float)
    facts = [f"{len(history)} looks" if len(history) != 1 else "1 look"]
    if history:
        counts = sorted({look["num_points"] for look in history})
        each = (
            style.points(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]} points"
        )
        thinned = " (older ones are thinned out)" if len(history) == MAX_LOOKS else ""
        facts = [f"{facts[0]}{thinned} at {each}", *LEGEND]
    with style.styled():
        width, tall = style.CARD[0], 3.6
        figure, height = style.headed(width, tall, title or "evolution", facts)
        left, right = 0.58, 1.08
        across = 1 - (left + right) / width
        above = figure.add_axes((left / width, 2.45 / height, across, 1.0 / height))
        below = figure.add_axes((left / width, 0.5 / height, across, 1.8 / height))
        if not history:
            below.set_axis_off()
            return style.nothing(figure, above, "no looks")
        if len(x) == 1:
            x, history = x + np.array([-0.5, 0.5]), [history[0], history[0]]
        _draw_ranks(above, x, history, full_rank)
        _draw_quantiles(below, x, history, bands)
        for axes in (above, below):
            axes.set_xlim(x[0], x[-1])
            axes.margins(x=0)
        above.set_xticklabels([])
        from matplotlib.ticker import MaxNLocator

        for axes in (above, below):
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        below.set_xlabel("step" if by_step else "epoch")
        return figure


def _draw_ranks(axes: Axes, x: Array, history: Sequence[Record], full_rank: int) -> None:
    shares = 100 * np.array([look["rank_shares"] for look in history]).T
    ends = 100 * np.array([look["full_rank_interval"] for look in history]).T
    axes.stackplot(x, shares, colors=RANK_COLOURS[: len(shares)], lw=0)
    for end in ends:
        axes.plot(x, end, ls=":", color=style.BLACK, lw=0.9)
    axes.set_ylim(0, 100)
    axes.set_yticks([0, 50, 100])
    axes.set_ylabel("points (%)")
    names = _rank_names(len(shares), full_rank)
    shown = [i for i, share in enumerate(shares) if i == 0 or share.max() > 0]
    for line, i in enumerate(reversed(shown)):
        _key(axes, 0.86 - 0.19 * line, RANK_COLOURS[i], names[i])


def _key(axes: Axes, at: float, colour: str, name: str) -> None:
    """Name a colour, at the right of the axes."""
    for where, text, shade in ((1.03, "■", colour), (1.075, name, "0.2")):
        axes.text(where, at, text, color=shade, size=7.5, va="center", transform=axes.transAxes)


def _rank_names(shares: int, full_rank: int) -> list[str]:
    lower = [f"rank {full_rank - i}" for i in range(1, shares)]
    if full_rank >= shares:
        lower[-1] = f"rank ≤ {full_rank - shares + 1}"
    return [f"full rank ({full_rank})", *lower]


def _draw_quantiles(
    axes: Axes, x: Array, history: Sequence[Record], bands: tuple[float, float]
) -> None:
    quantiles = np.array([look["log10_cond"] for look in history]).T
    high = style.decades(quantiles, 10 * bands[0])
    limits = np.minimum([0.0, *np.log10(bands), high], high)
    for (name, colour), begin, stop in zip(
        style.BAND_COLOURS, limits[:-1], limits[1:], strict=True
    ):
        axes.axhspan(begin, stop, color=colour, alpha=0.16, lw=0)
        if stop - begin > 0.07 * high:
            _key(axes, (begin + stop) / 2 / high, colour, name)
    for lower, upper, colour in QUANTILE_COLOURS:
        axes.fill_between(x, quantiles[lower], quantiles[upper], color=colour, lw=0)
    for which, i, line in (("median_interval", 3, "-"), ("p95_interval", 5, "--")):
        low, top = np.array([look[which] for look in history]).T  # type: ignore[literal-required]
        axes.fill_between(
            x, low, np.minimum(top, high), facecolor="none", edgecolor="0.25", hatch="/////", lw=0
        )
        axes.plot(x, quantiles[i], color=style.BLACK, ls=line, lw=1.3)
    axes.set_ylim(0, high)
    style.kappa_ticks(axes.yaxis, high, high if quantiles.max() >= style.CAP else None)
    axes.set_ylabel("condition number κ")
