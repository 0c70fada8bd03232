"""What a map reports of its condition number, held against the truth."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from lightning_invert.report.figures import style
from lightning_invert.report.figures.points import most_telling_pair
from lightning_invert.report.figures.style import Array
from lightning_invert.report.figures.zone_map import (
    COLOURS,
    colour_bar,
    colour_limits,
    draw_zones,
)
from lightning_invert.report.worst_points import MAX_INPUTS_SHOWN

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lightning_invert.watch.observation import Observation

__all__ = ["truth"]

SIDE = 2.35
"""Inches along each of the panels."""

MAX_DRAWN = 4096
"""Points of each kind: of more, every so-manieth is drawn; all are counted."""


def truth(one: Observation, *, title: str = "") -> Figure:
    r"""Draw the reported condition number against the true one, and where both are fragile.

    Left: a point on the diagonal is right. Shaded squares: the bands, in which both agree. A point
    that truly leaves the first band is *found* (blue) where the map says so, too, and else *missed*
    (a red cross); one that leaves it by the map alone is a *false alarm* (an orange triangle). All
    are counted in their quadrants. Right, of maps with 2 to 1024 inputs: the true and the reported
    condition number over the two inputs that explain the most of the true one, in the same colours;
    what is beyond the first band is drawn larger.

    Args:
        one: What was found of a map that was held against a truth; points where either is not finite
            are left out.
        title: What was watched.

    Returns:
        The figure.

    Raises:
        ValueError: If the map was held against nothing.

    Example:
        >>> import torch
        >>> from lightning_invert.jacobians.comparison import Comparison
        >>> from lightning_invert.watch.observation import Observation
        >>> sigma = torch.tensor([[1.0, 0.1], [1.0, 0.001], [1.0, 0.0001]])
        >>> other = torch.tensor([[1.0, 0.1], [1.0, 0.002], [1.0, 0.1]])
        >>> known = Comparison(torch.zeros(3), sigma)
        >>> figure = truth(Observation.of(other, truth=known))
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['1 of 2 found', '1 missed', '0 false alarms']
    """
    if one.truth is None:
        raise ValueError("Expected a map that was held against a truth, but there is none.")
    name = one.truth.name
    inputs = one.inputs.flatten(1).double().numpy()
    reported = one.condition.double().numpy()
    true = one.thresholds.condition(one.truth.singular_values).double().numpy()
    deficient = [
        rank.numpy() < one.full_rank
        for rank in (one.thresholds.rank(one.truth.singular_values), one.rank)
    ]
    known = ~(np.isnan(reported) | np.isnan(true)) & np.isfinite(inputs).all(1)
    count = int(known.sum())
    facts = [style.points(count), style.left_out(len(known) - count)]
    title = title or f"κ against the {name}"
    with style.styled():
        if not count:
            return style.nothing(*style.card(title, facts))
        inputs, reported, true = (
            inputs[known],
            style.log10(reported[known]),
            style.log10(true[known]),
        )
        facts += [
            f"Jacobian off by {style.percent(one.scalars['jacobian_error_median'])} (median)",
            f"rank correlation of κ {style.short(one.scalars['cond_rank_correlation'], 3)}",
        ]
        maps = 2 <= inputs.shape[1] <= MAX_INPUTS_SHOWN
        if maps:
            i, j, _ = most_telling_pair(inputs, true)
            y_ticks = style.ticks(float(inputs[:, j].min()), float(inputs[:, j].max()), 4)
            written = 0.08 * max([len(text) for _, text in y_ticks] or [4])
        left, below, above, gap = 0.62, 0.5, 0.22, 0.12
        zones = left + SIDE + 0.42 + written if maps else 0.0
        width = zones + 2 * SIDE + gap + 0.95 if maps else left + SIDE + 1.6
        figure, height = style.headed(width, below + SIDE + above, title, facts)

        def panel(x: float, size: float = SIDE) -> Axes:
            return figure.add_axes((x / width, below / height, size / width, SIDE / height))

        _against(panel(left), true, reported, one.thresholds.bands, name)
        if maps:
            some = _thinned(np.arange(count), 4 * MAX_DRAWN)
            limits = colour_limits(np.concatenate([true, reported]))
            for side, (who, log10) in enumerate(((name, true), ("reported", reported))):
                axes = panel(zones + side * (SIDE + gap))
                lost = deficient[side][known]
                # In ascending order, so that what is fragile is not covered.
                few = some[log10[some].argsort()]
                x, y = inputs[:, i], inputs[:, j]
                draw_zones(axes, x[few], y[few], log10[few], lost[few], limits)
                (fragile,) = (log10 >= math.log10(one.thresholds.bands[0])).nonzero()
                fragile = _thinned(fragile[log10[fragile].argsort()], MAX_DRAWN)
                axes.scatter(
                    x[fragile], y[fragile], c=log10[fragile], cmap=COLOURS, vmin=limits[0],
                    vmax=limits[1], s=15, lw=0.6, edgecolors="white",
                )  # fmt: skip
                axes.set_title(who, fontsize=8.5, pad=3)
                axes.set_xlabel(style.in_a_line(one.input_names[i], 30))
                if side == 0:
                    axes.set_ylabel(style.in_a_line(one.input_names[j], 30))
                else:
                    axes.set_yticklabels([])
            colour_bar(panel(width - 0.85, 0.12), limits, one.thresholds.bands)
        return figure


def _against(
    axes: Axes, true: Array, reported: Array, bands: tuple[float, float], name: str
) -> None:
    edge = math.log10(bands[0])
    both = np.concatenate([true, reported])
    infinite = both >= style.CAP
    high = style.decades(both[~infinite], 10 * bands[0])
    bar = high * 1.085
    end = high * 1.16 if infinite.any() else high
    limits = [0.0, *(min(math.log10(band), high) for band in bands), end]
    for (_, colour), low, top in zip(style.BAND_COLOURS, limits[:-1], limits[1:], strict=True):
        axes.fill_between([low, top], low, top, color=colour, alpha=0.18, lw=0)
    axes.plot([0, end], [0, end], color="0.45", lw=0.8, ls="--")
    for place in (axes.axvline, axes.axhline):
        place(edge, color="0.45", lw=0.8)
    x, y = (
        np.where(values >= style.CAP, bar, np.minimum(values, high)) for values in (true, reported)
    )
    fragile, told = true >= edge, reported >= edge
    plain = float(np.clip(2500 / len(x), 9, 40))
    kinds: tuple[tuple[Array, dict[str, Any]], ...] = (
        (~fragile & ~told, {"c": "0.35", "marker": ".", "s": plain, "alpha": 0.5, "lw": 0}),
        (fragile & told, {"c": style.BLUE, "marker": "o", "s": 13, "lw": 0}),
        (fragile & ~told, {"c": style.RED, "marker": "x", "s": 16, "lw": 1.1}),
        (
            told & ~fragile,
            {"c": style.ORANGE, "marker": "^", "s": 17, "lw": 0.4, "edgecolors": "k"},
        ),
    )
    for kind, look in kinds:
        (some,) = kind.nonzero()
        some = _thinned(some, MAX_DRAWN)
        axes.scatter(x[some], y[some], **look, clip_on=False, zorder=3)
    found, missed, alarms = (int(kind.sum()) for kind, _ in kinds[1:])
    alarm = "false alarm" if alarms == 1 else "false alarms"
    said = (f"{found} of {found + missed} found", f"{missed} missed", f"{alarms} {alarm}")
    if name != "truth":
        said = (f"{found} in both", f"{missed} there alone", f"{alarms} here alone")
    words = (
        (0.02 + edge / end, 0.98, "left", "top", style.BLUE, said[0]),
        (0.98, 0.02, "right", "bottom", style.RED, said[1]),
        (0.02, 0.98, "left", "top", style.BLACK, said[2]),
    )
    for across, up, ha, va, colour, text in words:
        axes.text(
            across, up, text, ha=ha, va=va, size=7.5, color=colour, transform=axes.transAxes,
            zorder=4, bbox={"facecolor": "white", "alpha": 0.75, "lw": 0, "pad": 0.8},
        )  # fmt: skip
    axes.set_xlim(0, end)
    axes.set_ylim(0, end)
    for axis in (axes.xaxis, axes.yaxis):
        style.kappa_ticks(axis, high, bar if infinite.any() else None)
    axes.set_xlabel("true κ" if name == "truth" else f"κ of the {name}")
    axes.set_ylabel("reported κ")


def _thinned(which: Array, most: int) -> Array:
    return which[:: max(1, math.ceil(len(which) / most))]
