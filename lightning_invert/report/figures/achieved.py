"""What was wanted, held against what the proposals are predicted to achieve."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from lightning_invert.report.figures import style
from lightning_invert.report.figures.style import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lightning_invert.proposals.proposal import Proposal

__all__ = ["achieved"]

MAX_OUTPUTS = 12

MAX_BANDS = 200
"""Targets whose own bands are drawn: of more they would run into each other."""

MAX_DRAWN = 4096

TRUST_COLOURS = (style.RED, style.ORANGE, "#56B4E9", style.BLUE)

WIDE, TALL, LOW = 1.75, 1.4, 0.62
"""Inches along a panel, up it, and up the one below it."""


def achieved(found: Proposal, *, title: str = "") -> Figure:
    r"""Draw the predicted outcome against the wanted one, output by output.

    Above, a point on the diagonal is reached; an interval is a horizontal line from end to end, with
    its point where it comes nearest to the outcome. Below, how far that is off, in the output's unit,
    with the 90 % band of the outcome that would be measured: of more than 200 targets, the median of
    their bands. What is off by more than fits is drawn at the edge. The colour is the trust. Outputs
    of which no target wants anything are left out, and so are points without a solution; of more
    than 12 outputs, the first 12 are drawn.

    Args:
        found: What was proposed.
        title: What it was proposed for.

    Returns:
        The figure: two panels for each output, one above the other, and the colours last.

    Example:
        >>> import torch
        >>> from lightning_invert import ForwardInverseModule, SmoothMLP
        >>> pair = ForwardInverseModule(SmoothMLP(7, 4), SmoothMLP(4, 7))
        >>> found = pair.propose(torch.zeros(10, 4), bounds=(7 * [-2.0], 7 * [2.0]))
        >>> figure = achieved(found)
        >>> [axes.get_title() for axes in figure.axes[::2]]
        ['y0', 'y1', 'y2', 'y3']
    """
    low, high = style.array(found.targets.low), style.array(found.targets.high)
    outputs = style.array(found.outputs)
    solved = np.flatnonzero(np.isfinite(outputs).all(1))
    reached = found.converged.cpu().numpy()
    wanted = np.isfinite(low) | np.isfinite(high)
    columns = np.flatnonzero(wanted.any(0))[:MAX_OUTPUTS]
    band = [style.array(end) for end in (found.outcome_low, found.outcome_high) if end is not None]
    mark = "bars" if len(solved) <= MAX_BANDS else "grey"
    facts = [
        style.targets(len(outputs)),
        f"{int(reached.sum())} reached",
        "✕: not reached" if not reached[solved].all() else "",
        style.left_out(len(outputs) - len(solved)),
        f"{mark}: 90 % of what would be measured" if band else "",
    ]
    if len(columns) < wanted.any(0).sum():
        facts.append(f"the first {len(columns)} of {wanted.any(0).sum()} outputs")
    title = title or "wanted and achieved"
    with style.styled():
        if not len(solved):
            return style.nothing(*style.card(title, facts), "no solutions")
        # What is trusted least is drawn last, on top.
        some = solved[:: math.ceil(len(solved) / MAX_DRAWN)]
        trust = None if found.trust is None else style.array(found.trust)
        some = some if trust is None else some[np.argsort(-trust[some], kind="stable")]
        across = min(len(columns), 2 if len(columns) <= 4 else 4)
        down = math.ceil(len(columns) / across)
        left, gap, right = 0.78, 0.62, 0.2 if trust is None else 0.8
        row = 0.2 + TALL + 0.08 + LOW + 0.45
        width = max(style.CARD[0], left + across * WIDE + (across - 1) * gap + right)
        figure, height = style.headed(width, down * row, title, facts)
        wide = (width - left - right - (across - 1) * gap) / across

        def panel(x: float, below: float, w: float, h: float) -> Axes:
            return figure.add_axes(
                (x / width, (down * row - below - h) / height, w / width, h / height)
            )

        for place, j in enumerate(columns):
            x, below = left + place % across * (wide + gap), place // across * row + 0.2
            rows = some[wanted[some, j]]
            _draw(
                (panel(x, below, wide, TALL), panel(x, below + TALL + 0.08, wide, LOW)),
                (low[rows, j], high[rows, j]),
                outputs[rows, j],
                [end[rows, j] for end in band],
                reached[rows],
                None if trust is None else trust[rows],
                wide=wide,
                first=place % across == 0,
            )
            figure.axes[-2].set_title(
                style.in_a_line(found.output_variables[j].label, int(14.5 * (wide + gap - 0.1))),
                fontsize=8,
                pad=3,
            )
        if trust is not None:
            _colour_bar(panel(width - 0.62, 0.2, 0.11, TALL))
        return figure


def _draw(
    panels: tuple[Axes, Axes],
    ends: tuple[Array, Array],
    outputs: Array,
    band: list[Array],
    reached: Array,
    trust: Array | None,
    *,
    wide: float,
    first: bool,
) -> None:
    above, below = panels
    low, high = ends
    nearest = outputs.clip(low, high)
    single = len(outputs) <= MAX_BANDS
    shown = (*ends, *band) if single else ends
    everything = np.concatenate([outputs, *(end[np.isfinite(end)] for end in shown)])
    least, most = float(everything.min()), float(everything.max())
    margin = 0.05 * (most - least) or 0.05 * max(abs(most), 1.0)
    limits = least - margin, most + margin
    colours = _colours(trust, len(outputs))
    above.plot(limits, limits, color="0.45", lw=0.8, ls="--", zorder=0)
    spans = low < high
    above.hlines(
        outputs[spans], low[spans].clip(*limits), high[spans].clip(*limits), colors=colours[spans],
        lw=1.0, alpha=0.6,
    )  # fmt: skip
    off = outputs - nearest
    edge = _edge(off, [end - nearest for end in band])
    below.axhline(0, color="0.45", lw=0.8, ls="--", zorder=0)
    bars = [(end - nearest).clip(-edge, edge) for end in band]
    if bars and single:
        below.vlines(nearest, bars[0], bars[1], colors=colours, lw=0.8)
    elif bars:
        below.axhspan(*(float(np.nanmedian(end)) for end in bars), color="0.88", lw=0, zorder=0)
    size = float(np.clip(2000 / len(outputs), 5, 16))
    for axes, y in ((above, outputs), (below, off.clip(-edge, edge))):
        axes.scatter(
            nearest[reached], y[reached], c=colours[reached], s=size, lw=0, zorder=3, clip_on=False
        )
        axes.scatter(
            nearest[~reached], y[~reached], c=colours[~reached], s=22, marker="x", lw=1.2, zorder=4,
            clip_on=False,
        )  # fmt: skip
        axes.set_xlim(limits)
        axes.tick_params(length=2.5, pad=2, labelsize=7.5)
    above.set_ylim(limits)
    below.set_ylim(-1.1 * edge, 1.1 * edge)
    x_ticks = style.ticks(*limits, 4)
    above.set_xticks([tick for tick, _ in x_ticks], [])
    below.set_xticks([tick for tick, _ in x_ticks], [text for _, text in x_ticks])
    for axes, ticks in ((above, x_ticks), (below, style.ticks(-edge, edge, 3))):
        axes.set_yticks([tick for tick, _ in ticks], [text for _, text in ticks])
    below.set_xlabel("wanted", fontsize=8, labelpad=1)
    if first:
        above.set_ylabel("predicted", fontsize=8, labelpad=2)
        below.set_ylabel("off by", fontsize=8, labelpad=2)
        for axes in panels:
            axes.yaxis.set_label_coords(-0.58 / wide, 0.5)


def _edge(off: Array, band: list[Array]) -> float:
    """Return up to where the lower panel reaches: it shows the bands, or most of what is off."""
    shown = np.abs(np.concatenate(band or [off]))
    shown = shown[np.isfinite(shown)]
    return 1.1 * float(np.quantile(shown, 0.95)) if shown.any() else 1.0


def _colours(trust: Array | None, count: int) -> Any:
    from matplotlib.colors import to_rgba

    if trust is None:
        return np.tile(to_rgba(style.BLUE), (count, 1))
    return _colour_map()(trust)


def _colour_map() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("trust", TRUST_COLOURS)


def _colour_bar(axes: Axes) -> None:
    axes.imshow(
        np.linspace(0, 1, 64)[:, None], origin="lower", aspect="auto", extent=(0, 1, 0, 1),
        cmap=_colour_map(),
    )  # fmt: skip
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.yaxis.set_label_position("right")
    axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.tick_params(labelsize=7.5, length=2, pad=1.5)
    axes.set_ylabel("trust", fontsize=8, labelpad=2)
