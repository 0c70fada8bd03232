"""The wanted outcomes against those that the proposals are predicted to achieve."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgba
from matplotlib.figure import Figure

from lightning_invert.proposals.proposal import Proposal
from lightning_invert.report.figures import Array, style
from lightning_invert.watch.numerals import counted
from lightning_invert.watch.quantities import to_numpy

MAX_OUTPUTS = 12

MAX_BANDS = 200
"""Targets whose own bands are drawn: of more they would run into each other."""

MAX_DRAWN = 4096

TRUST_COLOURS = (style.RED, style.ORANGE, "#56B4E9", style.BLUE)

WIDE, TALL, LOW = 1.75, 1.4, 0.62
"""Inches along a panel, up it, and up the one below it."""

LEFT, GAP = 0.78, 0.62
"""Inches at the left of the panels, and between them."""

ROW = 0.2 + TALL + 0.08 + LOW + 0.45


@style.styled()
def achieved(proposal: Proposal, *, title: str = "wanted and achieved") -> Figure:
    """Draw the predicted outcome against the wanted one, output by output."""
    outputs = to_numpy(proposal.outputs)
    solved = np.flatnonzero(np.isfinite(outputs).all(1))
    reached = proposal.converged.cpu().numpy()
    has_target = (proposal.targets.low.isfinite() | proposal.targets.high.isfinite()).cpu().numpy()
    columns = np.flatnonzero(has_target.any(0))[:MAX_OUTPUTS]
    single = len(solved) <= MAX_BANDS
    facts = [
        counted(len(outputs), "target"),
        f"{int(reached.sum())} reached",
        "" if reached[solved].all() else "✕: not reached",
        style.count_facts(len(solved), len(outputs))[1],
    ]
    if proposal.outcome_low is not None:
        facts.append(f"{'bars' if single else 'grey'}: 90 % of what would be measured")
    if len(columns) < has_target.any(0).sum():
        facts.append(f"the first {len(columns)} of {has_target.any(0).sum()} outputs")
    if not len(solved):
        return style.empty_card(title, facts, "no solutions")
    rows = style.thinned(solved, MAX_DRAWN)
    trust = None if proposal.trust is None else to_numpy(proposal.trust)
    if trust is not None:  # what is trusted least is drawn last, on top
        rows = rows[np.argsort(-trust[rows], kind="stable")]
    across = min(len(columns), 2 if len(columns) <= 4 else 4)
    right = 0.2 if trust is None else 0.8
    around = LEFT + right + (across - 1) * GAP
    width = max(style.CARD[0], around + across * WIDE)
    wide = (width - around) / across
    page = style.sheet(title, facts, width, math.ceil(len(columns) / across) * ROW)
    for place, j in enumerate(columns):
        x, top = LEFT + place % across * (wide + GAP), page.room - place // across * ROW - 0.2
        above = page.panel(x, top - TALL, wide, TALL)
        below = page.panel(x, top - TALL - 0.08 - LOW, wide, LOW)
        output = _output(proposal, int(j), rows[has_target[rows, j]])
        _draw_outcomes(above, output, single=single)
        _draw_errors(below, output, single=single)
        _set_axes(above, below, wide if place % across == 0 else None)
        name = style.in_a_line(proposal.output_variables[j].label, int(14.5 * (wide + GAP - 0.1)))
        above.set_title(name, fontsize=8, pad=3)
    if trust is not None:
        bar = page.panel(width - 0.62, page.room - 0.2 - TALL, 0.11, TALL)
        ticks = [(value, f"{value:g}") for value in (0.0, 0.5, 1.0)]
        style.colour_bar(bar, _colour_map(), (0.0, 1.0), ticks, "trust")
    return page.figure


class _Output(NamedTuple):
    """What is drawn of one output, (N,) each."""

    low: Array  # of the target
    high: Array
    predicted: Array
    nearest: Array  # of the target, to what is predicted
    band: list[Array]  # ends of what would be measured, or none
    reached: Array
    colours: Any


def _output(proposal: Proposal, j: int, rows: Array) -> _Output:
    parts = (*proposal.targets, proposal.outputs)
    low, high, predicted = (to_numpy(part)[rows, j] for part in parts)
    ends = (proposal.outcome_low, proposal.outcome_high)
    band = [to_numpy(end)[rows, j] for end in ends if end is not None]
    reached = proposal.converged.cpu().numpy()[rows]
    if proposal.trust is None:
        colours = np.tile(to_rgba(style.BLUE), (len(rows), 1))
    else:
        colours = _colour_map()(to_numpy(proposal.trust)[rows])
    return _Output(low, high, predicted, predicted.clip(low, high), band, reached, colours)


def _draw_outcomes(axes: Axes, output: _Output, *, single: bool) -> None:
    """Draw what is predicted over what was wanted."""
    ends = [output.low, output.high, *(output.band if single else [])]
    every = np.concatenate([output.predicted, *(end[np.isfinite(end)] for end in ends)])
    least, most = float(every.min()), float(every.max())
    margin = 0.05 * (most - least) or 0.05 * max(abs(most), 1.0)
    limits = least - margin, most + margin
    axes.plot(limits, limits, color="0.45", lw=0.8, ls="--", zorder=0)
    spans = output.low < output.high
    axes.hlines(
        output.predicted[spans], output.low[spans].clip(*limits), output.high[spans].clip(*limits),
        colors=output.colours[spans], lw=1.0, alpha=0.6, gid="intervals",
    )  # fmt: skip
    _draw_points(axes, output, output.predicted)
    axes.set_xlim(limits)
    axes.set_ylim(limits)


def _draw_errors(axes: Axes, output: _Output, *, single: bool) -> None:
    """Draw by how much what is predicted misses what was wanted, with the bands."""
    off = output.predicted - output.nearest
    band = [end - output.nearest for end in output.band]
    # Up to here the panel reaches: it shows the bands, or most of what is off.
    shown = np.abs(np.concatenate(band or [off]))
    shown = shown[np.isfinite(shown)]
    edge = 1.1 * float(np.quantile(shown, 0.95)) if shown.any() else 1.0
    axes.axhline(0, color="0.45", lw=0.8, ls="--", zorder=0)
    band = [end.clip(-edge, edge) for end in band]
    if band and single:
        axes.vlines(output.nearest, band[0], band[1], colors=output.colours, lw=0.8, gid="bands")
    elif band:
        ends = (float(np.nanmedian(end)) for end in band)
        axes.axhspan(*ends, color="0.88", lw=0, zorder=0, gid="median band")
    _draw_points(axes, output, off.clip(-edge, edge))
    axes.set_ylim(-1.1 * edge, 1.1 * edge)
    style.set_ticks(axes.yaxis, style.ticks(-edge, edge, 3))


def _draw_points(axes: Axes, output: _Output, y: Array) -> None:
    size = float(np.clip(2000 / len(y), 5, 16))
    dot: dict[str, Any] = {"s": size, "lw": 0, "zorder": 3, "gid": "reached"}
    cross: dict[str, Any] = {"s": 22, "marker": "x", "lw": 1.2, "zorder": 4, "gid": "missed"}
    for rows, look in ((output.reached, dot), (~output.reached, cross)):
        x, colours = output.nearest[rows], output.colours[rows]
        axes.scatter(x, y[rows], c=colours, clip_on=False, **look)


def _set_axes(above: Axes, below: Axes, wide: float | None) -> None:
    """Give both panels the same ticks along, and the first of a row (``wide``) its labels."""
    limits = above.get_xlim()
    along = style.ticks(*limits, 4)
    below.set_xlim(limits)
    style.set_ticks(above.yaxis, along)
    style.set_ticks(below.xaxis, along)
    above.set_xticks([tick for tick, _ in along], [])
    below.set_xlabel("wanted", fontsize=8, labelpad=1)
    for axes, label in ((above, "predicted"), (below, "off by")):
        axes.tick_params(length=2.5, pad=2, labelsize=7.5)
        if wide is not None:
            axes.set_ylabel(label, fontsize=8, labelpad=2)
            axes.yaxis.set_label_coords(-0.58 / wide, 0.5)


def _colour_map() -> Any:
    return LinearSegmentedColormap.from_list("trust", TRUST_COLOURS)
