"""Figure: what a wider target saves."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from lightning_invert.proposals.trade_off import TradeOff
from lightning_invert.report.figures import style
from lightning_invert.watch.numerals import counted, short
from lightning_invert.watch.quantities import to_numpy

SHADES = ((5, 95, style.SHADES[0]), (25, 75, style.SHADES[1]))


@style.styled()
def trade_off(result: TradeOff, *, title: str = "what a wider target saves") -> Figure:
    """Draw the least cost over the width of the target."""
    widths, cost = to_numpy(result.widths), to_numpy(result.cost)
    count = cost.shape[1]
    reached = np.isfinite(cost)
    facts = [counted(count, "target")]
    if not reached.all():
        ends = [f"{int(reached[k].sum())} at {widths[k]:g}" for k in (0, -1)]
        facts.append("reached: " + ", ".join(ends))
    costs = cost if count == 1 else cost[:, reached.all(0)]
    if not costs.shape[1] or not np.isfinite(costs).any():
        return style.empty_card(title, facts, "no target is reached")
    if count > 1:
        level = float(np.median(costs[0]))
        facts += [f"median cost at {widths[0]:g}: {short(level)}", "shades: 50 %, 90 %"]
        costs = costs - costs[0]
    figure, axes = style.card(title, facts)
    for low, high, colour in SHADES if count > 1 else ():
        bottom, top = np.percentile(costs, [low, high], axis=1)
        axes.fill_between(widths, bottom, top, color=colour, lw=0, gid=f"{high - low} %")
    line = np.median(costs, axis=1)
    axes.plot(widths, line, color=style.BLACK, lw=1.3, marker="o", ms=3.5)
    axes.margins(x=0.03)
    axes.set_xlabel("each outcome may be off by (standard units)")
    axes.set_ylabel("cost" if count == 1 else f"change of the cost from {widths[0]:g}")
    style.set_ticks(axes.yaxis, style.ticks(*axes.get_ylim(), 5))
    return figure
