"""Figure: what a history cost against what the cheapest settings would."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from lightning_invert.proposals.backtest import Backtest
from lightning_invert.report.figures import style
from lightning_invert.watch.numerals import counted, percent
from lightning_invert.watch.quantities import to_numpy

MOST = 2000


@style.styled()
def backtest(result: Backtest, *, title: str = "what it would have saved") -> Figure:
    """Draw a point for each row: spent before, and what the proposal costs. Below the line is cheaper."""
    proposal = result.proposal
    assert proposal.cost is not None
    rows = np.column_stack(
        [to_numpy(part.double()) for part in (result.spent, proposal.cost, proposal.converged)]
    )
    certified = np.zeros(len(rows)) if proposal.certified is None else to_numpy(proposal.certified)
    facts = [
        counted(len(rows), "row"),
        f"cheaper: {percent(float(result.cheaper.double().mean()))}",
        f"certified: {int(certified.sum())}, filled",
    ]
    rows = np.column_stack([rows, certified])[rows[:, 2] > 0]
    if len(rows) < len(result):
        facts.append(f"{len(result) - len(rows)} not reached, left out")
    if not len(rows):
        return style.empty_card(title, facts, "no outcome is reached")
    rows = style.thinned(rows, MOST)
    figure, axes = style.card(title, facts)
    low, high = float(rows[:, :2].min()), float(rows[:, :2].max())
    room = 0.04 * (high - low) or 1.0
    ends = low - room, high + room
    axes.plot(ends, ends, color="0.5", lw=0.8, zorder=0, gid="as before")
    for filled, name in ((False, "others"), (True, "certified")):
        some = rows[(rows[:, 3] > 0) == filled]
        face = style.BLUE if filled else "none"
        axes.scatter(
            some[:, 0], some[:, 1], s=9, facecolors=face, edgecolors=style.BLUE if filled else style.RED,
            linewidths=0.6, alpha=0.6, gid=name,
        )  # fmt: skip
    axes.set_xlim(*ends)
    axes.set_ylim(*ends)
    axes.set_xlabel("spent, the settings of the history")
    axes.set_ylabel("the proposals' cost")
    style.set_ticks(axes.xaxis, style.ticks(*ends, 5))
    style.set_ticks(axes.yaxis, style.ticks(*ends, 5))
    return figure
