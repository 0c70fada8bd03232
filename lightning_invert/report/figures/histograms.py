"""How ranks and condition numbers are distributed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from lightning_invert.report.figures import style
from lightning_invert.report.figures.style import Array
from lightning_invert.watch.quantiles import quantile_ranks, quantiles, wilson_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lightning_invert.watch.observation import Observation

__all__ = ["condition_histogram", "rank_histogram"]

MAX_RANKS = 30
BINS_A_DECADE = 4


def rank_histogram(one: Observation, *, title: str = "") -> Figure:
    """Draw how many points have which numerical rank.

    Args:
        one: What was found of a map. With more than 30 singular values, the lower ranks share the
            leftmost bar.
        title: What was watched.

    Returns:
        The figure; the bars are shares of the points in %.

    Example:
        >>> import torch
        >>> from lightning_invert.watch.observation import Observation
        >>> sigma = torch.tensor([[2.0, 1.0], [2.0, 1.0], [2.0, 0.0]])
        >>> figure = rank_histogram(Observation.of(sigma))
        >>> [round(bar.get_height()) for bar in figure.axes[0].patches]
        [0, 33, 67]
    """
    rank, full_rank = one.finite().rank.numpy(), one.full_rank
    facts = [style.points(len(rank))]
    if len(rank):
        at_full_rank = float(np.mean(rank == full_rank))
        low, high = wilson_interval(at_full_rank, len(rank))
        facts.append(f"{style.percent(at_full_rank)} at full rank ({full_rank})")
        facts.append(f"95 % interval {100 * low:.3g} to {style.percent(high)}")
    with style.styled():
        figure, axes = style.card(title or "numerical rank", facts)
        if len(rank) == 0:
            return style.nothing(figure, axes)
        lowest = max(0, full_rank - MAX_RANKS)
        ranks = np.arange(lowest, full_rank + 1)
        share = np.bincount(rank.clip(lowest) - lowest, minlength=len(ranks)) / len(rank)
        axes.bar(ranks, 100 * share, color=[*[style.RED] * (len(ranks) - 1), style.BLUE], width=0.8)
        if len(ranks) <= 12:
            for r, part in zip(ranks, share, strict=True):
                if part > 0:
                    axes.text(
                        float(r), 100 * part + 2, style.percent(part), ha="center", fontsize=8
                    )
        ticks = ranks[::-1][:: 1 if len(ranks) <= 16 else 2]
        labels = [f"≤{r}" if r == lowest > 0 else str(r) for r in ticks]
        axes.set_xticks(ticks, labels, fontsize=8 if len(ranks) <= 16 else 7.5)
        axes.set_xlim(lowest - 0.6, full_rank + 0.6)
        axes.set_ylim(0, 114)
        axes.set_yticks([0, 25, 50, 75, 100])
        axes.set_xlabel(f"numerical rank (full: {full_rank})")
        axes.set_ylabel("share of points (%)")
        return figure


def condition_histogram(one: Observation, *, title: str = "") -> Figure:
    r"""Draw the distribution of condition numbers, with the bands and their shares marked.

    Infinite ones are drawn in a bar of their own; what is beyond the arithmetic is hatched.

    Args:
        one: What was found of a map.
        title: What was watched.

    Returns:
        The figure; the bars are shares of the points in %, four a decade. The grey spans are 95 %
        intervals of the median and of the 95th percentile.

    Example:
        >>> import torch
        >>> from lightning_invert.watch.observation import Observation
        >>> sigma = torch.tensor([[3.0, 1.0], [5.0, 1.0], [1.0, 0.0]])
        >>> figure = condition_histogram(Observation.of(sigma))
        >>> finite, singular = figure.axes[0].patches[-2:]
        >>> round(sum(finite.get_data().values)), round(singular.get_height())
        (67, 33)
    """
    condition, bands = one.condition.double().numpy(), one.thresholds.bands
    limit = one.condition_limit
    known = condition[~np.isnan(condition)]
    facts = [style.points(len(known)), style.left_out(len(condition) - len(known))]
    facts += ["grey: 95 % intervals"] if len(known) else []
    with style.styled():
        figure, axes = style.card(title or "condition number", facts)
        if len(known) == 0:
            return style.nothing(figure, axes)
        singular = float(np.mean(np.isinf(known)))
        finite = style.log10(known[np.isfinite(known)])
        unresolved = float(np.mean(known > limit))
        room = 100 if singular else 10  # for the name of the last band
        beyond = 10 * limit if unresolved else 1
        high = style.decades(finite, room * bands[1], beyond)
        counts, edges = np.histogram(finite, bins=BINS_A_DECADE * high, range=(0, high))
        share = 100 * counts / len(known)
        bar = high * 1.085
        end = high * 1.16 if singular else high
        # The bars leave the upper part to the words.
        top = max(share.max(), 100 * singular) / 0.66
        _shade_bands(axes, known, bands, high, end)
        if unresolved or math.log10(limit) < high:
            _hatch_unresolved(axes, limit, unresolved, end)
        for q in (0.5, 0.95):
            ends = _interval(known, q, bar, high)
            axes.axvspan(*ends, ymax=0.7, color=style.BLACK, alpha=0.15, lw=0)
        axes.stairs(share, edges, fill=True, color=style.BLUE)
        if singular:
            axes.bar(bar, 100 * singular, width=0.1 * high, color=style.BLACK)
            _band_name(axes, "singular", singular, bar)
        axes.set_xlim(0, end)
        axes.set_ylim(0, top)
        if top > 100:
            axes.set_yticks([0, 25, 50, 75, 100])
        for name, q, line, height in (
            ("median", 0.5, "-", 0.82),
            ("95th percentile", 0.95, "--", 0.73),
        ):
            (value,) = quantiles(np.sort(known), (q,))
            where = bar if value == math.inf else min(float(style.log10(value)), high)
            _mark(axes, where / end, f"{name}: {style.short(value, 3)}", line, height)
        style.kappa_ticks(axes.xaxis, high, bar if singular else None, "singular\n(∞)")
        axes.set_xlabel("condition number κ")
        axes.xaxis.set_label_coords(0.44, -0.12)
        axes.set_ylabel("share of points (%)")
        return figure


# What the histogram of condition numbers consists of.


def _shade_bands(
    axes: Axes, condition: Array, bands: tuple[float, float], high: int, end: float
) -> None:
    stable, moderate = condition < bands[0], condition <= bands[1]
    shares = (stable, moderate & ~stable, ~moderate & np.isfinite(condition))
    limits = np.minimum([0.0, *np.log10(bands), high], high)
    for (name, colour), inside, begin, stop in zip(
        style.BAND_COLOURS, shares, limits[:-1], limits[1:], strict=True
    ):
        axes.axvspan(begin, stop, color=colour, alpha=0.18, lw=0)
        if style.CARD[0] * 0.85 * (stop - begin) / end > 0.05 * len(name):
            _band_name(axes, name, float(inside.mean()), (begin + stop) / 2)


def _interval(known: Array, q: float, bar: float, high: float) -> tuple[float, float]:
    """Return where the 95 % interval of a quantile begins and ends on the axis."""
    ordered = np.sort(known)
    low, top = quantile_ranks(len(known), q)
    ends = (0.0 if low is None else ordered[low], math.inf if top is None else ordered[top])
    begin, end = (bar if e == math.inf else min(float(style.log10(e)), high) for e in ends)
    return begin, end


def _band_name(axes: Axes, name: str, share: float, where: float) -> None:
    axes.text(
        where, 0.985, f"{name}\n{style.percent(share)}", ha="center", va="top", size=7, color="0.15",
        linespacing=1.15, transform=axes.get_xaxis_transform(),
    )  # fmt: skip


def _hatch_unresolved(axes: Axes, limit: float, share: float, end: float) -> None:
    begin = max(math.log10(max(limit, 1.0)), 0.0)
    axes.axvspan(begin, end, facecolor="none", edgecolor="0.6", hatch="////", lw=0)
    text = f"unresolved: κ > {style.short(limit, 2)}"
    if share:
        text += f" ({style.percent(share)})"
    axes.text(
        1, 1.02, f"▨ {text}", ha="right", va="bottom", size=7.5, color="0.3",
        transform=axes.transAxes,
    )  # fmt: skip


def _mark(axes: Axes, where: float, text: str, line: str, height: float) -> None:
    """Draw a line up to its text, which stands on the side that has more room."""
    axes.plot(
        [where, where],
        [0, height + 0.05],
        ls=line,
        color=style.BLACK,
        lw=1.2,
        transform=axes.transAxes,
    )
    left = where < 0.5
    axes.text(
        where + (0.01 if left else -0.01), height, text, ha="left" if left else "right",
        size=7.5, transform=axes.transAxes,
        bbox={"facecolor": "white", "alpha": 0.75, "lw": 0, "pad": 0.8},
    )  # fmt: skip
