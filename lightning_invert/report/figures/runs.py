"""Reported condition numbers, with the spread over several runs as their error bars."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from matplotlib.figure import Figure

from lightning_invert.report.figures import map_figure, style
from lightning_invert.watch.findings.runs import COVERAGE, Runs
from lightning_invert.watch.findings.truth import Truth
from lightning_invert.watch.numerals import percent
from lightning_invert.watch.observation import Observation
from lightning_invert.watch.quantities import capped_log10, to_numpy

MAX_BARS = 128
"""Of more points, those at so many evenly spaced ranks are drawn."""


@map_figure(lambda observation, _: "runs" in observation.findings)
def runs(observation: Observation, *, title: str = "κ over several runs") -> Figure:
    """Draw the condition numbers over several runs in ascending order, with error bars."""
    spread, truth = cast("Runs", observation.finding(Runs)), observation.finding(Truth)
    reported = capped_log10(to_numpy(observation.condition))
    mean, half = spread.mean.double().numpy(), spread.half_width.double().numpy()
    finite = ~np.isnan(mean) & ~np.isnan(reported)
    count = int(finite.sum())
    facts = style.count_facts(count, len(finite))
    facts.append(f"bars: {percent(COVERAGE)} over {spread.count} runs")
    if truth is not None:
        inside = percent(observation.scalars["log10_cond_coverage"])
        facts.append(f"○ {truth.name}, red beyond its bar: inside at {inside}")
    if not count:
        return style.empty_card(title, facts)
    figure, axes = style.card(title, facts)
    order = finite.nonzero()[0][mean[finite].argsort(kind="stable")]
    ranks = np.unique(np.linspace(0, count - 1, min(count, MAX_BARS)).round().astype(int))
    rows = order[ranks]
    x, mean, half = 100 * (ranks + 0.5) / count, mean[rows], half[rows]
    low, top = mean - half, mean + half
    highest = np.quantile(top, 0.95) if len(top) > 20 else top.max()
    bands = observation.thresholds.bands
    if truth is not None:
        true = capped_log10(to_numpy(truth.condition(observation)))[rows]
        highest = max(highest, np.nanmax(true, initial=0.0))
    high = style.decades(np.append(mean, highest), 10 * bands[0])
    for _, colour, begin, stop in style.band_spans(bands, high):
        axes.axhspan(begin, stop, color=colour, alpha=0.18, lw=0)
    bars: dict[str, Any] = {"color": "0.25", "lw": 0.9, "alpha": 0.75, "gid": "bars"}
    axes.vlines(x, low.clip(0, high), top.clip(0, high), **bars)
    axes.scatter(x, mean, s=7, color=style.BLUE, lw=0, zorder=3)
    axes.step(x, reported[rows], where="mid", color=style.BLACK, lw=0.7, zorder=2)
    if truth is not None:
        beyond = (true < low - 1e-12) | (true > top + 1e-12)
        hollow: dict[str, Any] = {"facecolors": "white", "edgecolors": style.BLACK, "lw": 0.7}
        red: dict[str, Any] = {"facecolors": style.RED, "edgecolors": "white", "lw": 0.3}
        axes.scatter(x[~beyond], true[~beyond], s=11, zorder=4, gid="inside", **hollow)
        axes.scatter(x[beyond], true[beyond], s=11, zorder=4, gid="beyond", **red)
    axes.set_xlim(0, 100)
    axes.set_ylim(0, high)
    style.kappa_ticks(axes.yaxis, high, style.CAP if high >= style.CAP else None)
    axes.set_xlabel("points by κ (%)")
    axes.set_ylabel("condition number κ")
    return figure
