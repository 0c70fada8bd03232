"""Figure: the settings proposed for one target, their alternatives and the known settings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from lightning_invert.arguments import check_integer, check_number
from lightning_invert.proposals.proposal import Proposal
from lightning_invert.proposals.windows import Windows
from lightning_invert.report.figures import Array, style
from lightning_invert.watch.numerals import short
from lightning_invert.watch.quantities import to_numpy

__all__ = ["input_ranges", "most_sensitive", "settings"]

MAX_INPUTS = 24

MAX_TARGETS = 12

ACROSS = 3
"""Panels side by side."""

LONE, TOGETHER = 2.9, 1.5
"""Inches of a track, where there is one panel and where there are more."""

TRACK = 0.42
"""Inches from one input to the next, at least."""

BINS = 48


@style.styled()
def settings(
    proposal: Proposal,
    *,
    title: str = "",
    rows: Sequence[int] | None = None,
    row_names: Sequence[str] = (),
    known: Tensor | None = None,
    tolerance: float = 0.1,
    windows: Windows | None = None,
) -> Figure:
    """Draw the settings proposed for each target, by default the first 12, within their bounds.

    A panel is a target, named by ``row_names`` (N). A line spans the bounds of an input; its shade is the
    density of the known settings (K, n). The filled mark is the proposal, a square if it is fixed; hollow
    marks are the alternatives. The error bar is how far the input moves, at most, if the target moves by
    ``tolerance`` standard units, or else its window. Of more than 24 inputs, the most sensitive are drawn.
    """
    shown_rows = list(range(len(proposal)))[:MAX_TARGETS] if rows is None else list(rows)
    for row in shown_rows:
        check_integer("rows", row, low=0, high=len(proposal) - 1)
    tolerance = check_number("tolerance", tolerance, low=0.0)
    low, high = input_ranges(proposal, known)
    moves = to_numpy(proposal.sensitivity) * tolerance / (high - low)
    chosen = to_numpy(proposal.inputs)
    bars = np.stack([chosen, chosen]) + (high - low) * np.stack([-moves, moves])
    if windows is not None:
        bars = np.stack([to_numpy(windows.low), to_numpy(windows.high)])
    bars = (bars - low) / (high - low)
    points = None if known is None else to_numpy(known)
    labels = [variable.label for variable in proposal.input_variables]
    shown, names, fewer = most_sensitive(
        labels, np.nan_to_num(moves[shown_rows]).max(0), letters=22
    )
    few = len(shown_rows) < len(proposal)
    facts = [
        f"{len(shown_rows)} of {len(proposal)} targets" if few else "",
        f"bars: if the target moves by {tolerance:g} standard units"
        if windows is None
        else "bars: how far one can go while the others compensate",
        "shade: known settings" if known is not None else "",
        fewer,
    ]
    ends = [[short(float(end), 3) for end in ends] for ends in (low, high)]
    pad = max(34.0, 8 + 4.6 * max(map(len, ends[0])))  # points, for the low ends
    across = min(len(shown_rows), ACROSS)
    track = LONE if across == 1 else TOGETHER
    wide, beside = pad / 72 + track + 0.62, 0.09 / track
    tall = style.room_for(names, TRACK) * len(shown) + 0.1
    high_of_all = (tall + 0.32) * -(-len(shown_rows) // across)
    page = style.sheet(
        title or ("settings" if windows is None else "windows"),
        facts,
        1.43 + across * wide,
        high_of_all,
    )
    for number, row in enumerate(shown_rows):
        down, right = divmod(number, across)
        axes = page.panel(
            1.43 + right * wide + pad / 72, high_of_all - (tall + 0.32) * (down + 1) + 0.08,
            track, tall,
        )  # fmt: skip
        name = row_names[row] if row_names else f"target {row + 1}"
        heading = f"{name}: {_trust(proposal, row)}"
        axes.text(0, 1, heading, transform=axes.transAxes, va="bottom", size=8)
        _panel(axes, proposal, row, (low, high), points, bars[:, row], shown)
        for up, j in zip(range(len(shown))[::-1], shown, strict=True):
            for at, texts, side in ((-beside, ends[0], "right"), (1 + beside, ends[1], "left")):
                axes.text(at, up, texts[j], ha=side, va="center", size=7.5, color="0.3")
        axes.set_yticks(range(len(shown))[::-1], names if right == 0 else [""] * len(names))
        axes.tick_params(axis="y", length=0, pad=pad, labelsize=8)
        axes.set_ylim(-0.5, len(shown) - 0.4)
    return page.figure


def _panel(
    axes: Axes,
    proposal: Proposal,
    row: int,
    ranges: tuple[Array, Array],
    known: Array | None,
    bars: Array,
    shown: Array,
) -> None:
    """Draw the tracks of one target."""
    low, width = ranges[0], ranges[1] - ranges[0]
    chosen = (to_numpy(proposal.inputs)[row] - low) / width
    others = (to_numpy(proposal.alternatives.inputs)[row] - low) / width
    others = others[: int(proposal.alternatives.count[row])]
    fixed = ~proposal.bounds.movable[row].cpu().numpy()
    axes.set_xticks([])
    axes.set_xlim(-0.02, 1.02)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if not np.isfinite(chosen).all():
        axes.text(0.5, 0.5, "no solution", transform=axes.transAxes, ha="center", size=8)
        return
    for up, j in zip(range(len(shown))[::-1], shown, strict=True):
        if known is not None:
            _density(axes, (known[:, j] - low[j]) / width[j], up)
        _track(axes, up, chosen[j], others[:, j], bars[:, j], fixed[j])


def most_sensitive(
    labels: Sequence[str], moves: Array, *, letters: int
) -> tuple[Array, list[str], str]:
    """Return which inputs are shown, those that move most (n,), their names in lines, and a fact.

    ``letters`` of a name stand in a line.
    """
    shown = np.sort(np.argsort(-moves, kind="stable")[:MAX_INPUTS])
    fewer = f"the {len(shown)} of {len(moves)} inputs that are the most sensitive"
    names = [style.wrapped(labels[j], letters) for j in shown]
    return shown, names, fewer if len(shown) < len(moves) else ""


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


def _track(axes: Axes, up: float, chosen: float, others: Array, bar: Array, fixed: bool) -> None:
    axes.hlines(up, 0, 1, color="0.55", lw=1.0, zorder=1)
    axes.vlines([0, 1], up - 0.11, up + 0.11, color="0.55", lw=1.0, zorder=1)
    if bar[1] > bar[0]:
        axes.hlines(
            up, *np.clip(bar, 0, 1), color=style.BLUE, lw=4.0, alpha=0.45, zorder=2, gid="bar"
        )
    axes.scatter(
        others, np.full(len(others), up), s=22, facecolors="white", edgecolors=style.RED, lw=1.0,
        zorder=3, clip_on=False, gid="alternatives",
    )  # fmt: skip
    axes.scatter(
        chosen, up, s=44, c=style.BLUE, marker="s" if fixed else "o", zorder=4, clip_on=False, lw=0,
        gid="chosen",
    )  # fmt: skip
