"""How far settings move if a target does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from lightning_invert.arguments import check_number
from lightning_invert.report.figures import style
from lightning_invert.report.figures.input_rows import input_rows
from lightning_invert.report.figures.settings import box
from lightning_invert.report.figures.style import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lightning_invert.solver.proposal import Proposal

__all__ = ["sensitivities"]

BAR = 0.3
"""Inches from one input to the next, at least."""

BEYOND = 1.2
"""Shares of the box above it are cut: the setting could not follow."""


def sensitivities(
    found: Proposal, *, tolerance: float = 0.1, known: Tensor | None = None, title: str = ""
) -> Figure:
    r"""Draw how far each input moves, at most, if the target moves by a tolerance.

    The sensitivity times the tolerance, as a share of the width of the input's box: the bar is the
    median over the targets, the line through its end the 5th to the 95th percentile. Where that is
    large, the setting has to be known anew for each change of the target; where it is more than
    100 %, it could not follow. Targets without a solution are left out.

    Args:
        found: What was proposed.
        tolerance: Of the target, in standard units, in whatever direction is the most adverse.
        known: Settings of the training data, shape (K, n): the range of an input without a box.
        title: What it was proposed for.

    Returns:
        The figure; lengths in % of the box. Of more than 24 inputs, the most sensitive ones.

    Raises:
        ValueError: If an argument is out of its range or of a wrong shape.
        TypeError: If ``tolerance`` is no number.

    Example:
        >>> import torch
        >>> from lightning_invert import ForwardInverseModule, SmoothMLP
        >>> _ = torch.manual_seed(0)
        >>> pair = ForwardInverseModule(SmoothMLP(3, 2), SmoothMLP(2, 3))
        >>> found = pair.propose(torch.zeros(1, 2), bounds=(3 * [-2.0], 3 * [2.0]))
        >>> figure = sensitivities(found, tolerance=0.2)
        >>> drawn = torch.tensor([bar.get_width() for bar in figure.axes[0].patches]).double()
        >>> bool(torch.allclose(drawn, 100 * found.sensitivity[0] * 0.2 / 4))  # of a box 4 wide
        True
    """
    tolerance = check_number("tolerance", tolerance, low=0.0)
    low, high = box(found, known)
    share = style.array(found.sensitivity) * tolerance / (high - low)
    share = share[~np.isnan(share).any(1)]
    title = title or "sensitivity of the settings"
    facts = [
        style.targets(len(share)),
        style.left_out(len(found) - len(share)),
        f"if the target moves by {tolerance:g} standard units",
        "bar: median, line: 5 to 95 %" if len(share) > 1 else "",
    ]
    with style.styled():
        if not len(share):
            return style.nothing(*style.card(title, facts[:2]), "no solutions")
        # An interpolated quantile would make NaN of what is infinite.
        bottom, median, top = np.quantile(share, [0.05, 0.5, 0.95], axis=0, method="nearest")
        figure, axes, shown, names = input_rows(
            [one.label for one in found.input_variables], median, letters=24, each=BAR, wide=4.9,
            margins=(0.5, 1.72, 0.6), title=title, facts=facts,
        )  # fmt: skip
        limit = _limit(top[shown])
        where = np.arange(len(shown))[::-1]
        bars = 100 * median[shown].clip(max=limit)
        axes.barh(where, bars, height=0.62, color=style.BLUE, alpha=0.75, lw=0)
        if len(share) > 1:
            ends = (100 * end[shown].clip(max=limit) for end in (bottom, top))
            axes.hlines(where, *ends, color=style.BLACK, lw=1.1)
        if limit > 1:
            axes.axvline(100, color=style.RED, lw=0.9, ls="--")
        fixed = (found.box_low == found.box_high).all(0).cpu().numpy()
        for at, j in zip(where, shown, strict=True):
            share_there = "∞" if np.isinf(median[j]) else style.percent(median[j])
            text = "fixed" if fixed[j] else share_there
            axes.text(
                1.02, float(at), text, transform=axes.get_yaxis_transform(), va="center", size=7.5,
                color="0.3",
            )  # fmt: skip
        axes.set_yticks(where, names)
        axes.tick_params(axis="y", length=0, labelsize=8)
        axes.set_xlim(0, 100 * limit)
        axes.set_ylim(-0.6, len(shown) - 0.4)
        axes.set_xlabel("change of the setting (% of its box)")
        return figure


def _limit(top: Array) -> float:
    """Return up to which share of the box the axis goes."""
    finite = top[np.isfinite(top)]
    highest = float(finite.max(initial=0.0)) if finite.size == top.size else BEYOND
    return min(1.05 * highest, BEYOND) or 0.01
