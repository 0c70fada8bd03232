"""Numerical ranks: the share of points at each."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from lightning_invert.report.figures import map_figure, style
from lightning_invert.watch.numerals import counted, percent
from lightning_invert.watch.observation import Observation
from lightning_invert.watch.quantiles import wilson_interval

MAX_RANKS = 30


@map_figure()
def rank_histogram(observation: Observation, *, title: str = "numerical rank") -> Figure:
    """Draw the share of points at each numerical rank."""
    rank, full_rank = observation.finite().rank.numpy(), observation.full_rank
    if not len(rank):
        return style.empty_card(title, [counted(0, "point")])
    at_full_rank = float(np.mean(rank == full_rank))
    low, high = wilson_interval(at_full_rank, len(rank))
    facts = [
        counted(len(rank), "point"),
        f"{percent(at_full_rank)} at full rank ({full_rank})",
        f"95 % interval {100 * low:.3g} to {percent(high)}",
    ]
    figure, axes = style.card(title, facts)
    lowest = max(0, full_rank - MAX_RANKS)
    ranks = np.arange(lowest, full_rank + 1)
    shares = np.bincount(rank.clip(lowest) - lowest, minlength=len(ranks)) / len(rank)
    colours = [*[style.RED] * (len(ranks) - 1), style.BLUE]
    axes.bar(ranks, 100 * shares, color=colours, width=0.8)
    for r, share in zip(ranks, shares, strict=True) if len(ranks) <= 12 else ():
        if share > 0:
            axes.text(float(r), 100 * share + 2, percent(share), ha="center", fontsize=8)
    few = len(ranks) <= 16
    ticks = ranks[::-1][:: 1 if few else 2]
    labels = [f"≤{r}" if r == lowest > 0 else str(r) for r in ticks]
    axes.set_xticks(ticks, labels, fontsize=8)
    axes.set_xlim(lowest - 0.6, full_rank + 0.6)
    axes.set_ylim(0, 114)
    axes.set_yticks([0, 25, 50, 75, 100])
    axes.set_xlabel(f"numerical rank (full: {full_rank})")
    axes.set_ylabel("share of points (%)")
    return figure
