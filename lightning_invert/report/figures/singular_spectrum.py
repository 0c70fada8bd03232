"""Singular values: their distribution, one beside the other, and what is too small to count."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lightning_invert.report.figures import Array, map_figure, style
from lightning_invert.watch.numerals import power
from lightning_invert.watch.observation import Observation

MIN_SIGMA = 1e-17
"""Smaller singular values are drawn here."""

MAX_BARS = 24


@map_figure(of_sigma=True)
def singular_spectrum(observation: Observation, *, title: str = "singular values") -> Figure:
    """Draw how each singular value is distributed over the points."""
    sigma, thresholds = observation.singular_values.double().numpy(), observation.thresholds
    finite = sigma[np.isfinite(sigma).all(1)]
    facts = style.count_facts(len(finite), len(sigma))
    if not finite.size:
        return style.empty_card(title, facts)
    figure, axes = style.card(title, [*facts, "line: median; shades: 50 %, 90 %, all"])
    log10 = np.log10(np.maximum(finite, MIN_SIGMA))
    largest = float(np.median(finite[:, 0]))
    smallest = (
        max(thresholds.rank_atol, thresholds.rank_rtol * largest),
        largest / observation.condition_limit,
    )
    threshold, limit = (math.log10(max(value, MIN_SIGMA)) for value in smallest)
    resolved = math.isinf(observation.condition_limit)
    bottom = min(float(log10.min()), threshold, threshold if resolved else limit)
    low, high = math.floor(bottom - 0.5), max(math.ceil(float(log10.max()) + 0.2), 0)
    _draw(axes, log10)
    axes.axhline(threshold, color=style.RED, lw=1.2, gid="threshold")
    above = 0.02 * (high - low)
    _write(axes, threshold + above, "rank threshold", style.RED, "bottom")
    if not resolved:
        axes.axhspan(low, limit, facecolor="none", edgecolor="0.6", hatch="////", lw=0)
        _write(axes, limit - above, "unresolved: rounding noise", "0.3", "top")
    axes.set_ylim(low, high)
    axes.set_xlim(0.4, finite.shape[1] + 0.6)
    _set_ticks(axes, low, high, zero=bool((finite < MIN_SIGMA).any()))
    axes.set_xlabel("index of the singular value")
    axes.set_ylabel("singular value σ")
    return figure


def _draw(axes: Axes, log10: Array) -> None:
    k = log10.shape[1]
    index = np.arange(1, k + 1)
    low, p05, p25, median, p75, p95, high = np.quantile(
        log10, (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1), axis=0
    )
    ranges = ((low, high), (p05, p95), (p25, p75))
    for (lower, upper), colour in zip(ranges, style.SHADES, strict=True):
        if k > MAX_BARS:
            axes.fill_between(index, lower, upper, color=colour, lw=0)
        else:
            axes.bar(index, np.maximum(upper - lower, 0.02), 0.5, lower, color=colour)
    if k > MAX_BARS:
        axes.plot(index, median, color=style.BLACK, lw=1.3, gid="median")
    else:
        axes.hlines(median, index - 0.3, index + 0.3, color=style.BLACK, lw=1.5, gid="median")
        axes.set_xticks(index if k <= 12 else index[::2])


def _write(axes: Axes, at: float, text: str, colour: str, side: str) -> None:
    axes.text(
        0.99, at, text, color=colour, size=8, ha="right", va=side,
        transform=axes.get_yaxis_transform(),
        bbox={**style.BOX, "pad": 0.5},
    )  # fmt: skip


def _set_ticks(axes: Axes, low: int, high: int, *, zero: bool) -> None:
    powers = range(high, low - 1, -max(1, math.ceil((high - low) / 6)))
    ticks = [(float(exponent), power(exponent)) for exponent in powers]
    if zero:
        bottom = math.log10(MIN_SIGMA)
        ticks = [tick for tick in ticks if tick[0] >= bottom + 0.1 * (high - low)]
        ticks.append((bottom, "0"))
    style.set_ticks(axes.yaxis, ticks)
