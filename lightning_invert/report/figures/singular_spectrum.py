"""The singular values, one beside the other, and what is too small to count."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from lightning_invert.report.figures import style
from lightning_invert.report.figures.style import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lightning_invert.watch.observation import Observation

__all__ = ["singular_spectrum"]

MIN_SIGMA = 1e-17
"""What is smaller is drawn here."""

MAX_BARS = 24
RANGES = ((0.0, 1.0, "#CFE3F1", 0.5), (0.05, 0.95, "#9CC6E2", 0.5), (0.25, 0.75, "#5FA3CE", 0.5))


def singular_spectrum(one: Observation, *, title: str = "") -> Figure:
    r"""Draw how each singular value is distributed over the points.

    For each index the ranges of all points, of 90 % and of 50 % of them, and the median as a line.
    The threshold of the rank and, hatched below it, the limit of what the arithmetic can tell from
    zero are those of a point with the median :math:`\sigma_1`.

    Args:
        one: What was found of a map.
        title: What was watched.

    Returns:
        The figure.

    Example:
        >>> import torch
        >>> from lightning_invert.watch.observation import Observation
        >>> figure = singular_spectrum(Observation.of(torch.tensor([[3.0, 1.0, 1e-7]])))
        >>> figure.axes[0].get_xlabel()
        'index of the singular value'
    """
    sigma, thresholds = one.singular_values.double().numpy(), one.thresholds
    finite = sigma[np.isfinite(sigma).all(1)]
    facts = [style.points(len(finite)), style.left_out(len(sigma) - len(finite))]
    with style.styled():
        if finite.size:
            facts.append("line: median; shades: 50 %, 90 %, all")
        figure, axes = style.card(title or "singular values", facts)
        if finite.size == 0:
            return style.nothing(figure, axes)
        log10 = np.log10(np.maximum(finite, MIN_SIGMA))
        largest = float(np.median(finite[:, 0]))
        threshold = math.log10(max(thresholds.rank_atol, thresholds.rank_rtol * largest, MIN_SIGMA))
        limit = None
        if math.isfinite(one.condition_limit):
            limit = math.log10(max(largest / one.condition_limit, MIN_SIGMA))
        bottom = min(float(log10.min()), threshold, threshold if limit is None else limit)
        low, high = math.floor(bottom - 0.5), max(math.ceil(float(log10.max()) + 0.2), 0)
        _draw(axes, log10)
        axes.axhline(threshold, color=style.RED, lw=1.2)
        _label(axes, threshold, low, high, "counts for the rank above", style.RED, "bottom")
        if limit is not None:
            axes.axhspan(low, limit, facecolor="none", edgecolor="0.6", hatch="////", lw=0)
            _label(axes, limit, low, high, "unresolved: rounding noise", "0.3", "top")
        axes.set_ylim(low, high)
        axes.set_xlim(0.4, finite.shape[1] + 0.6)
        _ticks(axes, low, high, zero=bool((finite < MIN_SIGMA).any()))
        axes.set_xlabel("index of the singular value")
        axes.set_ylabel("singular value σ")
        return figure


def _draw(axes: Axes, log10: Array) -> None:
    k = log10.shape[1]
    index = np.arange(1, k + 1)
    median = np.median(log10, axis=0)
    for below, above, colour, width in RANGES:
        lower, upper = np.quantile(log10, (below, above), axis=0)
        if k > MAX_BARS:
            axes.fill_between(index, lower, upper, color=colour, lw=0)
        else:
            axes.bar(index, np.maximum(upper - lower, 0.02), width, lower, color=colour)
    if k > MAX_BARS:
        axes.plot(index, median, color=style.BLACK, lw=1.3)
        return
    axes.hlines(median, index - 0.3, index + 0.3, color=style.BLACK, lw=1.5)
    axes.set_xticks(index if k <= 12 else index[::2])


def _label(axes: Axes, at: float, low: int, high: int, text: str, colour: str, side: str) -> None:
    room = 0.02 * (high - low)
    axes.text(
        0.99, at + (room if side == "bottom" else -room), text, color=colour, size=7, ha="right",
        va=side, transform=axes.get_yaxis_transform(),
        bbox={"facecolor": "white", "alpha": 0.75, "lw": 0, "pad": 0.5},
    )  # fmt: skip


def _ticks(axes: Axes, low: int, high: int, *, zero: bool) -> None:
    ticks = [float(t) for t in range(high, low - 1, -max(1, math.ceil((high - low) / 6)))]
    labels = [style.power(int(t)) for t in ticks]
    if zero:
        while ticks[-1] < math.log10(MIN_SIGMA) + 0.1 * (high - low):
            ticks, labels = ticks[:-1], labels[:-1]
        ticks, labels = [*ticks, math.log10(MIN_SIGMA)], [*labels, "0"]
    axes.set_yticks(ticks, labels)
