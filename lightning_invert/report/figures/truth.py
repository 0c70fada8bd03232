"""The reported condition number against the true one."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lightning_invert.report.figures import Array, map_figure, style
from lightning_invert.report.figures.points import best_pair, has_few_inputs
from lightning_invert.report.figures.zone_map import set_plane, tick_room
from lightning_invert.watch.findings.truth import Truth
from lightning_invert.watch.numerals import counted, percent, short
from lightning_invert.watch.observation import Observation
from lightning_invert.watch.quantities import capped_log10, to_numpy

MAX_DRAWN = 4096
"""Points of each kind: of more, every so-manieth is drawn; all are counted."""


@map_figure(lambda observation, _: "truth" in observation.findings)
def truth(observation: Observation, *, title: str = "") -> Figure:
    """Draw the reported condition number against the true one, and where it is right."""
    held = cast("Truth", observation.finding(Truth))
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
    scalars = observation.scalars
    facts.append(f"Jacobian off by {percent(scalars['jacobian_error_median'])} (median)")
    if not math.isnan(rho := scalars["cond_rank_correlation"]):
        facts.append(f"rank correlation of κ {short(rho, 3)}")
    page = style.sheet(title, facts)
    left, below, side = 0.56, 0.45, page.room - 0.7
    kinds = _kinds(true, reported, math.log10(thresholds.bands[0]))
    _write_counts(page, kinds, name)
    _draw_points(page.panel(left, below, side, side), true, reported, kinds, thresholds.bands, name)
    if inputs.shape[1] > 1 and has_few_inputs(observation):
        i, j, _ = best_pair(inputs, true)
        x, y = inputs[:, i], inputs[:, j]
        begin = left + side + 0.42 + tick_room(y)
        axes = page.panel(begin, below, page.width - begin - 0.15, side)
        _draw_kinds(axes, x, y, kinds)
        letters = int(15 * side)
        axes.set_xlabel(style.in_a_line(observation.input_names[i], letters))
        axes.set_ylabel(style.in_a_line(observation.input_names[j], letters), labelpad=1)
        set_plane(axes, x, y)
    return page.figure


class _Kind(NamedTuple):
    """Points that are marked alike."""

    rows: Array
    mark: str
    colour: str
    size: float


def _kinds(true: Array, reported: Array, edge: float) -> dict[str, _Kind]:
    """Sort points by whether they are fragile, and whether the map says so."""
    fragile, alarmed = true >= edge, reported >= edge
    plain = float(np.clip(2500 / len(true), 9, 40))
    return {
        "neither": _Kind((~fragile & ~alarmed).nonzero()[0], ".", "0.6", plain),
        "found": _Kind((fragile & alarmed).nonzero()[0], "o", style.BLUE, 13),
        "missed": _Kind((fragile & ~alarmed).nonzero()[0], "x", style.RED, 16),
        "alarms": _Kind((alarmed & ~fragile).nonzero()[0], "^", style.ORANGE, 15),
    }


def _draw_kinds(axes: Axes, x: Array, y: Array, kinds: dict[str, _Kind]) -> None:
    for name, kind in kinds.items():
        rows = style.thinned(kind.rows, MAX_DRAWN)
        look: Any = {"lw": 1.1 if kind.mark == "x" else 0, "zorder": 3, "gid": name}
        axes.scatter(
            x[rows], y[rows], c=kind.colour, marker=kind.mark, s=kind.size, clip_on=False, **look
        )


def _draw_points(
    axes: Axes,
    true: Array,
    reported: Array,
    kinds: dict[str, _Kind],
    bands: tuple[float, float],
    name: str,
) -> None:
    both = np.concatenate([true, reported])
    infinite = both >= style.CAP
    high = style.decades(both[~infinite], 10 * bands[0])
    infinity, end = high * 1.085, high * 1.16 if infinite.any() else high
    for _, colour, begin, stop in style.band_spans(bands, high, end):
        axes.fill_between([begin, stop], begin, stop, color=colour, alpha=0.18, lw=0)
    axes.plot([0, end], [0, end], color="0.45", lw=0.8, ls="--")
    axes.axvline(math.log10(bands[0]), color="0.45", lw=0.8)
    axes.axhline(math.log10(bands[0]), color="0.45", lw=0.8)
    x, y = (
        np.where(log10 >= style.CAP, infinity, log10.clip(max=high)) for log10 in (true, reported)
    )
    _draw_kinds(axes, x, y, kinds)
    axes.set_xlim(0, end)
    axes.set_ylim(0, end)
    for axis in (axes.xaxis, axes.yaxis):
        style.kappa_ticks(axis, high, infinity if infinite.any() else None, most=3)
    axes.set_xlabel("true κ" if name == "truth" else f"κ of the {name}")
    axes.set_ylabel("reported κ")


def _write_counts(page: style.Sheet, kinds: dict[str, _Kind], name: str) -> None:
    """Count what is found, missed and a false alarm, in the colours of their marks."""
    found, missed, alarms = (len(kinds[kind].rows) for kind in ("found", "missed", "alarms"))
    words = f"{found} of {found + missed} found", f"{missed} missed", counted(alarms, "false alarm")
    if name != "truth":
        words = f"{found} in both", f"{missed} there alone", f"{alarms} here alone"
    for at, mark, text, kind in zip((0.12, 1.5, 2.6), "●✕▲", words, [*kinds][1:], strict=True):
        place = at / page.width, (page.room - 0.08) / page.height
        page.figure.text(*place, f"{mark} {text}", size=8.5, color=kinds[kind].colour, va="center")
