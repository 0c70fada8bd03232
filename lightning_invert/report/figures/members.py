"""Reported condition numbers with the spread over several runs as their error bars."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from lightning_invert.report.figures import style
from lightning_invert.watch.members import COVERAGE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lightning_invert.watch.observation import Observation

__all__ = ["members"]

MAX_BARS = 128
"""Of more points, those at so many evenly spaced ranks are drawn."""


def members(one: Observation, *, title: str = "") -> Figure:
    r"""Draw the condition number over several runs in ascending order, with error bars.

    A point is the mean of log10 :math:`\kappa` over the runs, its bar where a further run's would be
    with 90 % probability (see :class:`~lightning_invert.watch.members.Members`), the line what the
    map itself reports. Where a truth is known, it is a dot: hollow inside the bar, red beyond it.

    Args:
        one: What was found of a map and other runs of it; points that are not finite are left out.
        title: What was watched.

    Returns:
        The figure.

    Raises:
        ValueError: If there are no other runs.

    Example:
        >>> import torch
        >>> from lightning_invert.watch.members import Members
        >>> from lightning_invert.watch.observation import Observation
        >>> spread = Members(torch.tensor([1.0, 2.0]), torch.tensor([0.1, 0.5]), 3)
        >>> figure = members(Observation.of(torch.ones(2, 2), members=spread))
        >>> figure.axes[0].get_xlabel()
        'points by κ (%)'
    """
    if one.members is None:
        raise ValueError("Expected a map with other runs of it, but there are none.")
    reported = style.log10(one.condition.double().numpy())
    mean, half = one.members.mean.double().numpy(), one.members.half_width.double().numpy()
    known = ~np.isnan(mean) & ~np.isnan(reported)
    count = int(known.sum())
    facts = [style.points(count), style.left_out(len(known) - count)]
    facts.append(f"bars: {style.percent(COVERAGE)} over {one.members.runs} runs")
    title = title or "κ over several runs"
    with style.styled():
        figure, axes = style.card(title, _with_truth(one, facts))
        if not count:
            return style.nothing(figure, axes)
        order = known.nonzero()[0][mean[known].argsort(kind="stable")]
        ranks = np.unique(np.linspace(0, count - 1, min(count, MAX_BARS)).round().astype(int))
        shown = order[ranks]
        x = 100 * (ranks + 0.5) / count
        low, top = mean[shown] - half[shown], mean[shown] + half[shown]
        highest = np.quantile(top, 0.95) if len(top) > 20 else top.max()
        true = None
        if one.truth is not None:
            kappa = one.thresholds.condition(one.truth.singular_values).double().numpy()[shown]
            true = style.log10(kappa)
            highest = max(highest, np.nanmax(true, initial=0.0))
        high = style.decades(np.append(mean[shown], highest), 10 * one.thresholds.bands[0])
        limits = [0.0, *(min(math.log10(band), high) for band in one.thresholds.bands), float(high)]
        for (_, colour), begin, stop in zip(
            style.BAND_COLOURS, limits[:-1], limits[1:], strict=True
        ):
            axes.axhspan(begin, stop, color=colour, alpha=0.18, lw=0)
        axes.vlines(x, low.clip(0, high), top.clip(0, high), color="0.25", lw=0.9, alpha=0.75)
        axes.scatter(x, mean[shown], s=7, color=style.BLUE, lw=0, zorder=3)
        axes.step(x, reported[shown], where="mid", color=style.BLACK, lw=0.7, zorder=2)
        if true is not None:
            inside: dict[str, Any] = {"facecolors": "white", "edgecolors": style.BLACK, "lw": 0.7}
            beyond = (true < low - 1e-12) | (true > top + 1e-12)
            for some, look in (
                (~beyond, inside),
                (beyond, {"facecolors": style.RED, "edgecolors": "white", "lw": 0.3}),
            ):
                axes.scatter(x[some], true[some], s=11, zorder=4, **look)
        axes.set_xlim(0, 100)
        axes.set_ylim(0, high)
        style.kappa_ticks(axes.yaxis, high, style.CAP if high >= style.CAP else None)
        axes.set_xlabel("points by κ (%)")
        axes.set_ylabel("condition number κ")
        return figure


def _with_truth(one: Observation, facts: list[str]) -> list[str]:
    if one.truth is None:
        return facts
    inside = style.percent(one.scalars["log10_cond_coverage"])
    return [*facts, f"○ {one.truth.name}, red beyond its bar: inside at {inside}"]
