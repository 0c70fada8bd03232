"""Figure: how far settings move if a target does."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from lightning_invert.arguments import check_number
from lightning_invert.proposals.proposal import Proposal
from lightning_invert.report.figures import Array, style
from lightning_invert.report.figures.settings import input_ranges, most_sensitive
from lightning_invert.watch.numerals import percent
from lightning_invert.watch.quantities import to_numpy

BAR = 0.3
"""Inches from one input to the next, at least."""

BEYOND = 1.2
"""Longer bars are cut at this share of the bounds: the setting could not follow."""


@style.styled()
def sensitivities(
    proposal: Proposal,
    *,
    title: str = "sensitivity of the settings",
    known: Tensor | None = None,
    tolerance: float = 0.1,
) -> Figure:
    """Draw how far each input moves, at most, if the target moves by ``tolerance`` standard units."""
    tolerance = check_number("tolerance", tolerance, low=0.0)
    low, high = input_ranges(proposal, known)
    share = to_numpy(proposal.sensitivity) * tolerance / (high - low)
    share = share[~np.isnan(share).any(1)]
    facts = [
        *style.count_facts(len(share), len(proposal), "target"),
        f"if the target moves by {tolerance:g} standard units",
        "bar: median, line: 5 to 95 %" if len(share) > 1 else "",
    ]
    if not len(share):
        return style.empty_card(title, facts[:2], "no solutions")
    # An interpolated quantile would make NaN of what is infinite.
    bottom, median, top = np.quantile(share, [0.05, 0.5, 0.95], axis=0, method="nearest")
    labels = [variable.label for variable in proposal.input_variables]
    shown, names, fewer = most_sensitive(labels, median, letters=24)
    tall = style.room_for(names, BAR) * len(shown) + 0.1
    page = style.sheet(title, [*facts, fewer], 4.9, tall + 0.5)
    figure, axes = page.figure, page.panel(1.72, 0.5, 4.9 - 1.72 - 0.6, tall)
    limit = _limit(top[shown])
    where = np.arange(len(shown))[::-1]
    bars = 100 * median[shown].clip(max=limit)
    axes.barh(where, bars, height=0.62, color=style.BLUE, alpha=0.75, lw=0)
    if len(share) > 1:
        ends = (100 * end[shown].clip(max=limit) for end in (bottom, top))
        axes.hlines(where, *ends, color=style.BLACK, lw=1.1, gid="ranges")
    if limit > 1:
        axes.axvline(100, color=style.RED, lw=0.9, ls="--")
    leveled = np.array([bool(variable.levels) for variable in proposal.input_variables])
    fixed = leveled | ~proposal.bounds.movable.any(0).cpu().numpy()
    for at, j in zip(where, shown, strict=True):
        text = "fixed" if fixed[j] else percent(median[j])
        axes.text(
            1.02, float(at), text, transform=axes.get_yaxis_transform(), va="center", size=7.5,
            color="0.3",
        )  # fmt: skip
    axes.set_yticks(where, names)
    axes.tick_params(axis="y", length=0, labelsize=8)
    axes.set_xlim(0, 100 * limit)
    axes.set_ylim(-0.6, len(shown) - 0.4)
    axes.set_xlabel("change of the setting (% of its bounds)")
    return figure


def _limit(top: Array) -> float:
    """Return the share of the bounds at which the axis ends."""
    finite = top[np.isfinite(top)]
    highest = float(finite.max(initial=0.0)) if finite.size == top.size else BEYOND
    return min(1.05 * highest, BEYOND) or 0.01
