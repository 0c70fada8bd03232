"""What a tolerance buys: cost against how far from the target an outcome may be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lightning_invert.report.figures import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lightning_invert.pair.front import Front

__all__ = ["trade_off"]

SHADES = ((5, 95, "#CFE3F1"), (25, 75, "#9CC6E2"))


def trade_off(found: Front, *, title: str = "") -> Figure:
    r"""Draw the least cost over the distance from the target that will do.

    Of one target, its cost. Of several, what the tolerance saves: the cost beyond that at the
    narrowest width, as the targets differ by more than a tolerance ever does; the line is the
    median, the shades hold 50 % and 90 % of the targets. These are all that are reached at every
    width.

    Args:
        found: What :func:`~lightning_invert.pair.front.front` found.
        title: What it was found for.

    Returns:
        The figure.

    Example:
        >>> import torch
        >>> from lightning_invert.pair.front import Front
        >>> cost = torch.tensor([[3.0], [2.0]])
        >>> figure = trade_off(Front(torch.tensor([0.0, 0.1]), cost, torch.zeros(2, 1, 3)))
        >>> figure.axes[0].lines[0].get_ydata().tolist()
        [3.0, 2.0]
    """
    widths, cost = style.array(found.widths), style.array(found.cost)
    count = cost.shape[1]
    reached = np.isfinite(cost)
    title = title or "what a tolerance buys"
    facts = [style.targets(count)]
    if not reached.all():
        ends = [f"{int(reached[k].sum())} at {widths[k]:g}" for k in (0, -1)]
        facts.append("reached: " + ", ".join(ends))
    with style.styled():
        kept = cost if count == 1 else cost[:, reached.all(0)]
        if not kept.shape[1] or not np.isfinite(kept).any():
            return style.nothing(*style.card(title, facts), "no target is reached")
        if count > 1:
            level = float(np.median(kept[0]))
            facts += [f"median cost at {widths[0]:g}: {style.short(level)}", "shades: 50 %, 90 %"]
            kept = kept - kept[0]
        figure, axes = style.card(title, facts)
        for low, high, colour in SHADES if count > 1 else ():
            bottom, top = np.percentile(kept, [low, high], axis=1)
            axes.fill_between(widths, bottom, top, color=colour, lw=0)
        line = np.median(kept, axis=1)
        axes.plot(widths, line, color=style.BLACK, lw=1.3, marker="o", ms=3.5)
        axes.margins(x=0.03)
        axes.set_xlabel("each outcome may be off by (standard units)")
        axes.set_ylabel("cost" if count == 1 else f"change of the cost from {widths[0]:g}")
        ticks = style.ticks(*axes.get_ylim(), 5)
        axes.set_yticks([tick for tick, _ in ticks], [text for _, text in ticks])
        return figure
