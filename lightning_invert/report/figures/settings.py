"""Figure: the settings proposed for one target, their alternatives and the known settings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from lightning_invert.arguments import check_integer, check_number
from lightning_invert.proposals.proposal import Proposal
from lightning_invert.report.figures import Array, style
from lightning_invert.watch.numerals import counted, short
from lightning_invert.watch.quantities import to_numpy

__all__ = ["input_ranges", "input_rows", "settings"]

MAX_INPUTS = 24

TRACK = 0.42
"""Inches from one input to the next, at least."""

BINS = 48


@style.styled()
def settings(
    proposal: Proposal,
    *,
    title: str = "",
    row: int = 0,
    known: Tensor | None = None,
    tolerance: float = 0.1,
) -> Figure:
    """Draw the settings proposed for one target, each within its bounds.

    A line spans the bounds of an input, with the ends beside it; the shade on it is the density of
    the known settings (K, n). The filled mark is the proposal, a square if it is fixed; hollow marks
    are the alternatives. The error bar is how far the input moves, at most, if the target moves by
    ``tolerance`` standard units. Of more than 24 inputs, the most sensitive are drawn.
    """
    row = check_integer("row", row, low=0, high=len(proposal) - 1)
    tolerance = check_number("tolerance", tolerance, low=0.0)
    low, high = input_ranges(proposal, known)
    width = high - low
    chosen = (to_numpy(proposal.inputs)[row] - low) / width
    others = (to_numpy(proposal.alternatives.inputs)[row] - low) / width
    others = others[: int(proposal.alternatives.count[row])]
    moves = to_numpy(proposal.sensitivity)[row] * tolerance / width
    fixed = ~proposal.bounds.movable[row].cpu().numpy()
    first = f"the first of {len(proposal)} targets" if len(proposal) > 1 else "the target"
    title = title or f"settings for {f'target {row} (counted from 0)' if row else first}"
    facts = [
        _trust(proposal, row),
        counted(len(others), "alternative"),
        f"bars: if the target moves by {tolerance:g} standard units",
        "shade: known settings" if known is not None else "",
    ]
    if not np.isfinite(chosen).all():
        return style.empty_card(title, facts[:1], "no solution")
    ends = [[short(float(end), 3) for end in ends] for ends in (low, high)]
    pad = max(34.0, 8 + 4.6 * max(map(len, ends[0])))  # points, for the low ends
    labels = [variable.label for variable in proposal.input_variables]
    figure, axes, shown, names = input_rows(
        labels, moves, letters=22, each=TRACK, wide=5.5, margins=(0.12, 1.43 + pad / 72, 0.62),
        title=title, facts=facts,
    )  # fmt: skip
    for place, j in enumerate(shown):
        up = len(shown) - 1 - place
        if known is not None:
            _density(axes, (to_numpy(known)[:, j] - low[j]) / width[j], up)
        _track(axes, up, chosen[j], others[:, j], moves[j], fixed[j])
        for at, texts, side in ((-0.03, ends[0], "right"), (1.03, ends[1], "left")):
            axes.text(at, up, texts[j], ha=side, va="center", size=7.5, color="0.3")
    axes.set_yticks(range(len(shown))[::-1], names)
    axes.tick_params(axis="y", length=0, pad=pad, labelsize=8)
    axes.set_xticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.5, len(shown) - 0.4)
    return figure


def input_rows(
    labels: Sequence[str],
    moves: Array,
    *,
    letters: int,
    each: float,
    wide: float,
    margins: tuple[float, float, float],
    title: str,
    facts: Sequence[str],
) -> tuple[Figure, Axes, Array, list[str]]:
    """Return a figure with axes for the inputs that move most (n,), one below the other.

    ``letters`` of a name stand in a line, ``each`` input takes as many inches at least; the margins
    are below, left and right. Also return which inputs are shown, in their order, and their names.
    """
    shown = np.sort(np.argsort(-moves, kind="stable")[:MAX_INPUTS])
    fewer = f"the {len(shown)} of {len(moves)} inputs that are the most sensitive"
    names = [style.wrapped(labels[j], letters) for j in shown]
    below, left, right = margins
    tall = style.room_for(names, each) * len(shown) + 0.1
    facts = [*facts, fewer if len(shown) < len(moves) else ""]
    page = style.sheet(title, facts, wide, tall + below)
    return page.figure, page.panel(left, below, wide - left - right, tall), shown, names


def input_ranges(proposal: Proposal, known: Tensor | None = None) -> tuple[Array, Array]:
    """Return the low and high end of each input over all targets, (n,) each.

    An input that was fixed, or whose bounds are open, gets its variable's range, or else the range of
    all proposed and known settings.
    """
    if known is not None and (known.ndim != 2 or known.shape[1] != proposal.inputs.shape[1]):
        raise ValueError(
            f"Expected argument `known` to be of shape (K, {proposal.inputs.shape[1]}), settings as "
            f"they are proposed, but got {tuple(known.shape)}."
        )
    low, high = to_numpy(proposal.bounds.low).min(0), to_numpy(proposal.bounds.high).max(0)
    parts = [proposal.inputs, proposal.alternatives.inputs.flatten(0, 1)]
    parts += [] if known is None else [known]
    values = np.concatenate([to_numpy(part) for part in parts])
    for j, variable in enumerate(proposal.input_variables):
        if low[j] < high[j] and np.isfinite(high[j] - low[j]):
            continue
        finite = values[np.isfinite(values[:, j]), j]
        finite = finite if finite.size else np.zeros(1)
        ends = (variable.low, float(finite.min())), (variable.high, float(finite.max()))
        low[j], high[j] = (seen if own is None else own for own, seen in ends)
        if not low[j] < high[j]:
            about = max(abs(low[j]), 1.0) / 2
            low[j], high[j] = low[j] - about, low[j] + about
    return low, high


def _trust(proposal: Proposal, row: int) -> str:
    reached = "" if proposal.converged[row] else ", not reached"
    if proposal.trust is None:
        return f"trust not known{reached}"
    return f"trust {float(proposal.trust[row]):.2f}{reached}"


def _density(axes: Axes, values: Array, up: float) -> None:
    counts, edges = np.histogram(values[np.isfinite(values)], BINS, (0.0, 1.0))
    if counts.any():
        # A value that many points share would flatten all others.
        most = 1.3 * np.quantile(counts[counts > 0], 0.9)
        tops = up + 0.62 * np.minimum(counts / most, 1.0)
        axes.stairs(tops, edges, baseline=up, fill=True, color="0.83", lw=0, gid="known")


def _track(axes: Axes, up: float, chosen: float, others: Array, move: float, fixed: bool) -> None:
    axes.hlines(up, 0, 1, color="0.55", lw=1.0, zorder=1)
    axes.vlines([0, 1], up - 0.11, up + 0.11, color="0.55", lw=1.0, zorder=1)
    if move > 0:
        ends = np.clip([chosen - move, chosen + move], 0, 1)
        axes.hlines(up, *ends, color=style.BLUE, lw=4.0, alpha=0.45, zorder=2, gid="bar")
    axes.scatter(
        others, np.full(len(others), up), s=22, facecolors="white", edgecolors=style.RED, lw=1.0,
        zorder=3, clip_on=False, gid="alternatives",
    )  # fmt: skip
    axes.scatter(
        chosen, up, s=44, c=style.BLUE, marker="s" if fixed else "o", zorder=4, clip_on=False, lw=0,
        gid="chosen",
    )  # fmt: skip
