"""Condition numbers: their distribution, with the bands."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lightning_invert.report.figures import Array, map_figure, style
from lightning_invert.watch.numerals import percent, short
from lightning_invert.watch.observation import Observation
from lightning_invert.watch.quantiles import quantile_ranks, quantiles
from lightning_invert.watch.quantities import capped_log10, to_numpy

BINS_A_DECADE = 4


@map_figure()
def condition_histogram(observation: Observation, *, title: str = "condition number") -> Figure:
    """Draw the distribution of the condition numbers, with the bands and their shares."""
    bands, limit = observation.thresholds.bands, observation.condition_limit
    kappa = observation.condition[~observation.condition.isnan()]
    condition = np.sort(kappa.double().numpy())
    log10 = np.sort(capped_log10(to_numpy(kappa)))
    facts = style.count_facts(len(condition), len(observation.condition))
    if not len(condition):
        return style.empty_card(title, facts)
    figure, axes = style.card(title, [*facts, "grey: 95 % intervals"])
    finite = log10[np.isfinite(condition)]
    singular = 1 - len(finite) / len(condition)
    unresolved = float(np.mean(condition > limit))
    room = 100 if singular else 10  # for the name of the last band
    high = style.decades(finite, room * bands[1], 10 * limit if unresolved else 1)
    infinity, end = high * 1.085, high * 1.16 if singular else high
    counts, edges = np.histogram(finite, bins=BINS_A_DECADE * high, range=(0, high))
    shares = 100 * counts / len(condition)
    place = np.where(np.isinf(condition), infinity, log10.clip(max=high))
    _shade_bands(axes, observation, high, end)
    if unresolved or math.log10(limit) < high:
        _hatch_unresolved(axes, limit, unresolved, end)
    for q in (0.5, 0.95):
        low, top = quantile_ranks(len(place), q)
        ends = 0.0 if low is None else place[low], infinity if top is None else place[top]
        axes.axvspan(*ends, ymax=0.62, color=style.BLACK, alpha=0.15, lw=0)
    axes.stairs(shares, edges, fill=True, color=style.BLUE, gid="shares")
    if singular:
        axes.bar(infinity, 100 * singular, width=0.1 * high, color=style.BLACK, gid="singular")
        _name_band(axes, "singular", singular, infinity)
    for name, q, line, at in (("median", 0.5, "-", 0.75), ("95th percentile", 0.95, "--", 0.66)):
        (value,) = quantiles(condition, (q,))
        where = infinity if value == math.inf else min(math.log10(max(value, 1.0)), high)
        _mark(axes, where / end, f"{name}: {short(value, 3)}", line, at)
    top = max(shares.max(), 100 * singular) / 0.6  # the upper part is left to the words
    axes.set_xlim(0, end)
    axes.set_ylim(0, top)
    if top > 100:
        axes.set_yticks([0, 25, 50, 75, 100])
    style.kappa_ticks(axes.xaxis, high, infinity if singular else None, "singular\n(∞)")
    axes.set_xlabel("condition number κ")
    axes.xaxis.set_label_coords(0.44, -0.16)
    axes.set_ylabel("share of points (%)")
    return figure


def _shade_bands(axes: Axes, observation: Observation, high: int, end: float) -> None:
    band = observation.thresholds.band(observation.condition).numpy()
    counts: Array = np.bincount(band, minlength=5)
    for i, (name, colour, begin, stop) in enumerate(
        style.band_spans(observation.thresholds.bands, high)
    ):
        axes.axvspan(begin, stop, color=colour, alpha=0.18, lw=0)
        if style.CARD[0] * 0.83 * (stop - begin) / end > 0.058 * len(name):
            _name_band(axes, name, counts[i] / counts[:4].sum(), (begin + stop) / 2)


def _name_band(axes: Axes, name: str, share: float, where: float) -> None:
    axes.text(
        where, 0.985, f"{name}\n{percent(share)}", ha="center", va="top", size=8, color="0.15",
        linespacing=1.15, transform=axes.get_xaxis_transform(),
    )  # fmt: skip


def _hatch_unresolved(axes: Axes, limit: float, share: float, end: float) -> None:
    begin = math.log10(max(limit, 1.0))
    axes.axvspan(begin, end, facecolor="none", edgecolor="0.6", hatch="////", lw=0)
    text = f"▨ unresolved: κ > {short(limit, 2)}" + (f" ({percent(share)})" if share else "")
    axes.text(1, 1.02, text, ha="right", va="bottom", size=8, color="0.3", transform=axes.transAxes)


def _mark(axes: Axes, where: float, text: str, line: str, height: float) -> None:
    """Draw a line up to its text, which stands on the side that has more room."""
    across: Any = {"transform": axes.transAxes}
    axes.plot([where] * 2, [0, height + 0.05], ls=line, color=style.BLACK, lw=1.2, **across)
    side, gap = ("left", 0.01) if where < 0.5 else ("right", -0.01)
    axes.text(where + gap, height, text, ha=side, size=8, bbox=style.BOX, **across)
