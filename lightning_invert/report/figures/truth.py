"""The reported condition number against the true one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lightning_invert.report.figures import Array, map_figure, style
from lightning_invert.report.figures.points import best_pair, has_few_inputs
from lightning_invert.report.figures.zone_map import (
    COLOURS,
    colour_limits,
    draw_zones,
    kappa_bar,
    tick_room,
)
from lightning_invert.watch.findings.truth import Truth
from lightning_invert.watch.numerals import counted, percent, short
from lightning_invert.watch.observation import Observation
from lightning_invert.watch.quantities import capped_log10, to_numpy

SIDE = 2.35
"""Inches along each of the panels."""

MAX_DRAWN = 4096
"""Points of each kind: of more, every so-manieth is drawn; all are counted."""


@map_figure(lambda observation, _: "truth" in observation.findings)
def truth(observation: Observation, *, title: str = "") -> Figure:
    r"""Draw the reported condition number against the true one, and where each is fragile.

    Left: a point on the diagonal is right. Shaded squares: the bands, in which both agree. A point
    that truly leaves the first band is *found* (blue) where the map says so, too, and else *missed*
    (a red cross); one that leaves it by the map alone is a *false alarm* (an orange triangle). All
    are counted in their quadrants. Right, of maps with 2 to 1024 inputs: the true and the reported
    condition number over the two inputs that explain the most of the true one, in the same colours;
    what is beyond the first band is drawn larger.
    """
    held = observation.finding(Truth)
    if held is None:
        raise ValueError("This figure needs a map with a truth, but the observation has none.")
    thresholds, name = observation.thresholds, held.name
    sigmas = held.singular_values, observation.singular_values
    conditions = thresholds.condition(sigmas[0]), observation.condition
    inputs = observation.inputs.flatten(1).double().numpy()
    finite = ~(conditions[0].isnan() | conditions[1].isnan()).numpy() & np.isfinite(inputs).all(1)
    count = int(finite.sum())
    facts = style.count_facts(count, len(finite))
    title = title or f"κ against the {name}"
    if not count:
        return style.empty_card(title, facts)
    inputs = inputs[finite]
    true, reported = (capped_log10(to_numpy(condition))[finite] for condition in conditions)
    ranks = thresholds.rank(sigmas[0]), observation.rank
    deficient = [rank.numpy()[finite] < observation.full_rank for rank in ranks]
    scalars = observation.scalars
    facts.append(f"Jacobian off by {percent(scalars['jacobian_error_median'])} (median)")
    if (rho := scalars.get("cond_rank_correlation")) is not None:
        facts.append(f"rank correlation of κ {short(rho, 3)}")
    left, below = 0.62, 0.5
    if inputs.shape[1] < 2 or not has_few_inputs(observation):
        page = style.sheet(left + SIDE + 1.6, below + SIDE + 0.22, title, facts)
        _draw_points(page.panel(left, below, SIDE, SIDE), true, reported, thresholds.bands, name)
        return page.figure
    i, j, _ = best_pair(inputs, true)
    x, y = inputs[:, i], inputs[:, j]
    zones = left + SIDE + 0.42 + tick_room(y)
    page = style.sheet(zones + 2 * SIDE + 1.07, below + SIDE + 0.22, title, facts)
    _draw_points(page.panel(left, below, SIDE, SIDE), true, reported, thresholds.bands, name)
    limits = colour_limits(np.concatenate([true, reported]))
    for side, (who, log10) in enumerate(((name, true), ("reported", reported))):
        axes = page.panel(zones + side * (SIDE + 0.12), below, SIDE, SIDE)
        _draw_fragile(axes, x, y, log10, deficient[side], limits, math.log10(thresholds.bands[0]))
        axes.set_title(who, fontsize=8.5, pad=3)
        axes.set_xlabel(style.in_a_line(observation.input_names[i], 30))
        if side:
            axes.set_yticklabels([])
        else:
            axes.set_ylabel(style.in_a_line(observation.input_names[j], 30))
    kappa_bar(page.panel(page.width - 0.85, below, 0.12, SIDE), limits, thresholds.bands)
    return page.figure


def _draw_fragile(
    axes: Axes,
    x: Array,
    y: Array,
    log10: Array,
    deficient: Array,
    limits: tuple[float, float],
    edge: float,
) -> None:
    """Draw the zones, with the fragile points larger and on top."""
    rows = style.thinned(np.arange(len(x)), 4 * MAX_DRAWN)
    rows = rows[log10[rows].argsort()]
    draw_zones(axes, x[rows], y[rows], log10[rows], deficient[rows], limits)
    (fragile,) = (log10 >= edge).nonzero()
    fragile = style.thinned(fragile[log10[fragile].argsort()], MAX_DRAWN)
    axes.scatter(
        x[fragile], y[fragile], c=log10[fragile], cmap=COLOURS, vmin=limits[0], vmax=limits[1],
        s=15, lw=0.6, edgecolors="white",
    )  # fmt: skip


def _draw_points(
    axes: Axes, true: Array, reported: Array, bands: tuple[float, float], name: str
) -> None:
    edge = math.log10(bands[0])
    both = np.concatenate([true, reported])
    infinite = both >= style.CAP
    high = style.decades(both[~infinite], 10 * bands[0])
    infinity, end = high * 1.085, high * 1.16 if infinite.any() else high
    for _, colour, begin, stop in style.band_spans(bands, high, end):
        axes.fill_between([begin, stop], begin, stop, color=colour, alpha=0.18, lw=0)
    axes.plot([0, end], [0, end], color="0.45", lw=0.8, ls="--")
    axes.axvline(edge, color="0.45", lw=0.8)
    axes.axhline(edge, color="0.45", lw=0.8)
    x, y = (
        np.where(log10 >= style.CAP, infinity, log10.clip(max=high)) for log10 in (true, reported)
    )
    fragile, alarmed = true >= edge, reported >= edge
    plain = float(np.clip(2500 / len(x), 9, 40))
    kinds: dict[str, tuple[Array, dict[str, Any]]] = {
        "neither": (~fragile & ~alarmed, {"c": "0.35", "marker": ".", "s": plain, "alpha": 0.5}),
        "found": (fragile & alarmed, {"c": style.BLUE, "s": 13}),
        "missed": (fragile & ~alarmed, {"c": style.RED, "marker": "x", "s": 16, "lw": 1.1}),
        "alarms": (
            alarmed & ~fragile,
            {"c": style.ORANGE, "marker": "^", "s": 17, "lw": 0.4, "edgecolors": "k"},
        ),
    }
    for kind, (inside, look) in kinds.items():
        rows = style.thinned(inside.nonzero()[0], MAX_DRAWN)
        axes.scatter(x[rows], y[rows], **{"lw": 0, **look}, clip_on=False, zorder=3, gid=kind)
    counts = [int(inside.sum()) for inside, _ in kinds.values()][1:]
    _write_counts(axes, counts, name, 0.02 + edge / end)
    axes.set_xlim(0, end)
    axes.set_ylim(0, end)
    for axis in (axes.xaxis, axes.yaxis):
        style.kappa_ticks(axis, high, infinity if infinite.any() else None)
    axes.set_xlabel("true κ" if name == "truth" else f"κ of the {name}")
    axes.set_ylabel("reported κ")


def _write_counts(axes: Axes, counts: Sequence[int], name: str, right_of_edge: float) -> None:
    found, missed, alarms = counts
    words = f"{found} of {found + missed} found", f"{missed} missed", counted(alarms, "false alarm")
    if name != "truth":
        words = f"{found} in both", f"{missed} there alone", f"{alarms} here alone"
    places = (
        (right_of_edge, 0.98, "left", "top", style.BLUE),
        (0.98, 0.02, "right", "bottom", style.RED),
        (0.02, 0.98, "left", "top", style.BLACK),
    )
    for text, (x, y, ha, va, colour) in zip(words, places, strict=True):
        look: Any = {"size": 7.5, "color": colour, "zorder": 4, "bbox": style.BOX}
        axes.text(x, y, text, ha=ha, va=va, transform=axes.transAxes, **look)
