"""The settings that are proposed for one target, beside their alternatives and what is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from lightning_invert.arguments import check_integer, check_number
from lightning_invert.report.figures import style
from lightning_invert.report.figures.input_rows import input_rows
from lightning_invert.report.figures.style import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lightning_invert.solver.proposal import Proposal

__all__ = ["box", "settings"]

TRACK = 0.42
"""Inches from one input to the next, at least."""

BINS = 48


def settings(
    found: Proposal,
    row: int = 0,
    *,
    known: Tensor | None = None,
    tolerance: float = 0.1,
    title: str = "",
) -> Figure:
    r"""Draw the settings that are proposed for a target, each in its box.

    A line is the box of an input, its ends written beside it; the shade on it is the density of the
    known settings, which is cut where many share one value. The filled mark is the proposal, the
    hollow ones the alternatives; one that is fixed is a square. The error bar is how far the input
    moves, at most, if the target moves by the tolerance: the sensitivity times that.

    Args:
        found: What was proposed.
        row: For which of the targets.
        known: Settings of the training data, shape (K, n), such as
            ``pair.evidence.rows("train")[0]``.
        tolerance: Of the target, in standard units.
        title: What it was proposed for.

    Returns:
        The figure. Of more than 24 inputs, those are drawn that are the most sensitive.

    Raises:
        ValueError: If there is no such row, or a shape does not fit.
        TypeError: If an argument is of a wrong type.

    Example:
        >>> import torch
        >>> from lightning_invert import ForwardInverseModule, SmoothMLP
        >>> pair = ForwardInverseModule(SmoothMLP(3, 2), SmoothMLP(2, 3))
        >>> found = pair.propose(torch.zeros(1, 2), bounds=(3 * [-2.0], 3 * [2.0]))
        >>> figure = settings(found, known=torch.randn(100, 3))
        >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
        ['x0', 'x1', 'x2']
    """
    row = check_integer("row", row, low=0, high=len(found) - 1)
    tolerance = check_number("tolerance", tolerance, low=0.0)
    low, high = box(found, known)
    width = high - low
    chosen = (style.array(found.inputs)[row] - low) / width
    others = [(style.array(one.inputs)[row] - low) / width for one in found.alternatives]
    others = [one for one in others if np.isfinite(one).all()]
    moves = style.array(found.sensitivity)[row] * tolerance / width
    fixed = (found.box_low[row] == found.box_high[row]).cpu().numpy()
    title = title or f"settings for target {row}"
    facts = [
        _trust(found, row),
        "1 alternative" if len(others) == 1 else f"{len(others)} alternatives",
        f"bars: if the target moves by {tolerance:g} standard units",
        "shade: known settings" if known is not None else "",
    ]
    with style.styled():
        if not np.isfinite(chosen).all():
            return style.nothing(*style.card(title, facts[:1]), "no solution")
        figure, axes, shown, names = input_rows(
            [one.label for one in found.input_variables], moves, letters=22, each=TRACK, wide=5.5,
            margins=(0.12, 1.9, 0.62), title=title, facts=facts,
        )  # fmt: skip
        for place, j in enumerate(shown):
            up = len(shown) - 1 - place
            if known is not None:
                _density(axes, (style.array(known)[:, j] - low[j]) / width[j], up)
            _track(axes, up, chosen[j], [one[j] for one in others], moves[j], fixed[j])
            for at, text, side in ((-0.03, low[j], "right"), (1.03, high[j], "left")):
                axes.text(
                    at, up, style.short(float(text), 3), ha=side, va="center", size=7.5, color="0.3"
                )
        axes.set_yticks(range(len(shown))[::-1], names)
        axes.tick_params(axis="y", length=0, pad=34, labelsize=8)
        axes.set_xticks([])
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.5, len(shown) - 0.4)
        return figure


def box(found: Proposal, known: Tensor | None = None) -> tuple[Array, Array]:
    """Return the ends of each input, (n,): where all targets were looked for.

    Of an input that was fixed, or whose box is open: its own range, or else that of what is known.
    """
    if known is not None and (known.ndim != 2 or known.shape[1] != found.inputs.shape[1]):
        raise ValueError(
            f"Expected argument `known` to be of shape (K, {found.inputs.shape[1]}), settings as "
            f"they are proposed, but got {tuple(known.shape)}."
        )
    low, high = style.array(found.box_low).min(0), style.array(found.box_high).max(0)
    parts = [found.inputs, *(one.inputs for one in found.alternatives)]
    values = np.concatenate(
        [style.array(part) for part in (*parts, *([] if known is None else [known]))]
    )
    for j, variable in enumerate(found.input_variables):
        if low[j] < high[j] and np.isfinite(high[j] - low[j]):
            continue
        there = values[np.isfinite(values[:, j]), j]
        there = there if there.size else np.zeros(1)
        ends = (variable.low, float(there.min())), (variable.high, float(there.max()))
        low[j], high[j] = (seen if own is None else own for own, seen in ends)
        if not low[j] < high[j]:
            about = max(abs(low[j]), 1.0) / 2
            low[j], high[j] = low[j] - about, low[j] + about
    return low, high


def _trust(found: Proposal, row: int) -> str:
    reached = "" if found.converged[row] else ", not reached"
    if found.trust is None:
        return f"trust not known{reached}"
    return f"trust {float(found.trust[row]):.2f}{reached}"


def _density(axes: Axes, values: Array, up: float) -> None:
    counts, edges = np.histogram(values[np.isfinite(values)], BINS, (0.0, 1.0))
    if counts.any():
        # A value that many points share would leave nothing to see of the others.
        most = 1.3 * np.quantile(counts[counts > 0], 0.9)
        tops = up + 0.62 * np.minimum(counts / most, 1.0)
        axes.stairs(tops, edges, baseline=up, fill=True, color="0.83", lw=0)


def _track(
    axes: Axes, up: float, chosen: float, others: list[float], move: float, fixed: bool
) -> None:
    axes.hlines(up, 0, 1, color="0.55", lw=1.0, zorder=1)
    axes.vlines([0, 1], up - 0.11, up + 0.11, color="0.55", lw=1.0, zorder=1)
    if move > 0:
        ends = np.clip([chosen - move, chosen + move], 0, 1)
        axes.hlines(up, *ends, color=style.BLUE, lw=4.0, alpha=0.45, zorder=2)
    axes.scatter(
        others, np.full(len(others), up), s=22, facecolors="white", edgecolors=style.RED, lw=1.0,
        zorder=3, clip_on=False,
    )  # fmt: skip
    axes.scatter(
        chosen, up, s=44, c=style.BLUE, marker="s" if fixed else "o", zorder=4, clip_on=False, lw=0
    )
