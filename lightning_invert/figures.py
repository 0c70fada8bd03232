"""Arrays into pictures: the only file that knows matplotlib, and only when something is drawn.

Figures are made for small cards: few words, colours that the colour-blind can tell apart (M. Okabe
and K. Ito, *Color universal design*, 2008), units on the axes. Nothing goes through ``pyplot``: no
backend is chosen, no global state is touched and no figure outlives its caller.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["condition_histogram", "fragile_zones", "rank_histogram", "to_image", "to_png"]

Array = npt.NDArray[Any]

CAP = 16.0
"""Where log10 of a condition number ends, and where an infinite one is drawn."""

GREEN, ORANGE, RED, BLACK, BLUE = "#009E73", "#E69F00", "#D55E00", "#000000", "#0072B2"
BANDS = (("stable", GREEN), ("moderate", ORANGE), ("ill-conditioned", RED))

STYLE = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "figure.dpi": 110,
}

SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

INPUT_BINS = 12
CONDITION_BINS = 20
MOST_RANKS = 30


def rank_histogram(rank: Any, *, full_rank: int, title: str = "") -> Figure:
    """Draw how many points have which numerical rank.

    Args:
        rank: Shape (N,), integers from 0 to ``full_rank``.
        full_rank: k = min(m, n).
        title: What was watched.

    Returns:
        The figure.

    Raises:
        ValueError: If ``rank`` is not of shape (N,).

    Example:
        >>> figure = rank_histogram(np.array([4, 4, 3]), full_rank=4)
        >>> [round(bar.get_height()) for bar in figure.axes[0].patches]
        [0, 0, 0, 33, 67]
    """
    rank = _column("rank", rank).astype(int)
    with _styled():
        figure, axes = _card(4.2, 2.9, _headline(title, f"rank of {len(rank)} Jacobians"))
        if len(rank) == 0:
            return _nothing(figure, axes)
        lowest = max(0, full_rank - MOST_RANKS)
        ranks = np.arange(lowest, full_rank + 1)
        share = 100 * np.bincount(rank.clip(lowest) - lowest, minlength=len(ranks)) / len(rank)
        colours = [BLUE if r == full_rank else RED for r in ranks]
        axes.bar(ranks, share, color=colours, width=0.8)
        for r, height in zip(ranks, share, strict=True):
            if height > 0:
                text = f"{height:.3g} %"
                axes.text(float(r), height + 1.5, text, ha="center", color=BLACK, fontsize=8)
        axes.set_xlim(lowest - 0.6, full_rank + 0.6)
        axes.set_xticks(ranks[:: max(1, math.ceil(len(ranks) / 10))])
        axes.set_ylim(0, 112)
        axes.set_xlabel(f"numerical rank (full: {full_rank})")
        axes.set_ylabel("share of points (%)")
        return figure


def condition_histogram(
    condition: Any,
    *,
    bands: tuple[float, float] = (100.0, 1e4),
    resolution: float | None = None,
    title: str = "",
) -> Figure:
    r"""Draw the distribution of condition numbers, with the bands marked.

    Args:
        condition: :math:`\\kappa`, shape (N,); inf is drawn in a bar of its own, NaN left out.
        bands: Where *stable* ends and *ill-conditioned* begins.
        resolution: The largest :math:`\\kappa` that the arithmetic can tell; hatched beyond.
        title: What was watched.

    Returns:
        The figure.

    Raises:
        ValueError: If ``condition`` is not of shape (N,).

    Example:
        >>> figure = condition_histogram(np.array([3.0, 5.0, np.inf]))
        >>> round(sum(bar.get_height() for bar in figure.axes[0].containers[0]))
        67
    """
    condition = _column("condition", condition)
    log10_cond, left_out = _log10(condition)
    with _styled():
        if len(log10_cond) == 0:
            return _nothing(*_card(4.8, 2.9, _headline(title, "κ", left_out)))
        median, p95 = np.quantile(log10_cond, (0.5, 0.95))
        what = f"κ: median {_kappa(median)}, 95 % {_kappa(p95)} ({len(log10_cond)} points)"
        figure, axes = _card(4.8, 2.9, _headline(title, what, left_out))
        singular = np.isinf(condition[~np.isnan(condition)])
        resolved = log10_cond[~singular]
        low, high = _decades(resolved, bands)
        share, edges = np.histogram(
            resolved.clip(low, high), bins=4 * (high - low), range=(low, high)
        )
        share = 100 * share / len(log10_cond)
        edge = high + 0.6 if singular.any() else high
        top = 1.2 * max(share.max(initial=0), 100 * singular.mean(), 1)
        _shade_bands(axes, bands, low, high, top)
        axes.bar(edges[:-1], share, width=np.diff(edges), align="edge", color=BLUE, lw=0)
        if singular.any():
            axes.bar(high + 0.35, 100 * singular.mean(), width=0.4, color=BLACK)
        if resolution is not None and math.log10(resolution) < high:
            axes.axvspan(
                math.log10(resolution), high, facecolor="none", edgecolor="0.5", hatch="///", lw=0
            )
            axes.text(high, 0.8 * top, "unresolved ", ha="right", fontsize=7, color="0.25")
        for value, style in ((median, "-"), (p95, ":")):
            axes.axvline(value if value < CAP else high + 0.35, color=BLACK, ls=style, lw=1.2)
        axes.set_xlim(low, edge)
        axes.set_ylim(0, top)
        _kappa_ticks(axes.xaxis, low, high, [high + 0.35] if singular.any() else [])
        axes.set_xlabel("condition number κ")
        axes.set_ylabel("share of points (%)")
        return figure


def fragile_zones(
    inputs: Any,
    condition: Any,
    rank: Any,
    *,
    full_rank: int,
    names: Sequence[str] | None = None,
    bands: tuple[float, float] = (100.0, 1e4),
    title: str = "",
    max_inputs: int = 12,
) -> Figure:
    r"""Draw where, along each input, the condition number rises and the rank drops.

    A panel an input: a heat map of how :math:`\\kappa` is distributed in each bin of the input
    (each column adds up to 1, so that a thinly sampled range is as visible as a dense one), the
    median as a line, the bands' limits dashed. The strip below is the share of the bin's points
    that are not of full rank. Of more than ``max_inputs`` inputs those are shown whose bins explain
    most of the variance of log10 :math:`\\kappa`.

    Args:
        inputs: Shape (N, n).
        condition: :math:`\\kappa`, shape (N,); rows with NaN are left out.
        rank: Shape (N,).
        full_rank: k = min(m, n).
        names: Of the inputs, with units; ``x0``, ``x1``, ... by default.
        bands: Where *stable* ends and *ill-conditioned* begins.
        title: What was watched.
        max_inputs: How many panels at most.

    Returns:
        The figure.

    Raises:
        ValueError: If the shapes do not fit.

    Example:
        >>> x = np.random.default_rng(0).uniform(size=(50, 3))
        >>> figure = fragile_zones(x, 10 ** (4 * x[:, 0]), np.full(50, 2), full_rank=2)
        >>> [axes.get_xlabel() for axes in figure.axes[:3]]
        ['x0', 'x1', 'x2']
    """
    condition, rank = _column("condition", condition), _column("rank", rank)
    inputs = np.asarray(inputs, dtype=float)
    if inputs.ndim != 2 or not len(inputs) == len(condition) == len(rank):
        raise ValueError(
            "Expected arguments `inputs`, `condition` and `rank` to be of shapes (N, n), (N,) and "
            f"(N,), but got {inputs.shape}, {condition.shape} and {rank.shape}."
        )
    names = list(names) if names is not None else [f"x{j}" for j in range(inputs.shape[1])]
    if len(names) != inputs.shape[1]:
        raise ValueError(
            f"Expected argument `names` to name {inputs.shape[1]} inputs, but got {len(names)}."
        )
    log10_cond, left_out = _log10(condition)
    kept = ~np.isnan(condition)
    inputs, deficient = inputs[kept], rank[kept] < full_rank
    shown = _most_telling(inputs, log10_cond, max_inputs)
    what = "κ and rank along each input"
    if len(shown) < inputs.shape[1]:
        what = f"κ and rank along the {len(shown)} of {inputs.shape[1]} inputs that explain κ most"
    with _styled():
        if len(log10_cond) == 0:
            return _nothing(*_card(4.2, 2.9, _headline(title, what, left_out)))
        figure, panels, bars = _grid(len(shown), _headline(title, what, left_out))
        singular = np.isinf(condition[kept])
        low, high = _decades(log10_cond[~singular], None)
        row = (high - low) / CONDITION_BINS
        infinite = [high + 1.5 * row] if singular.any() else []
        level = np.where(singular, high + 1.5 * row, log10_cond)
        for panel, j in zip(panels, shown, strict=True):
            density, shortage = _draw_zone(panel, inputs[:, j], level, deficient, low, high, bands)
            panel.set_xlabel(_wrapped(names[j]), fontsize=8, labelpad=1)
        columns = _columns(len(shown))
        for i, panel in enumerate(panels):
            _kappa_ticks(panel.yaxis, low, high, infinite)
            if i % columns:
                panel.set_yticklabels([])
        for panel in panels[::columns]:
            panel.set_ylabel("κ")
        for mappable, where, label in (
            (density, bars[0], "share of points"),
            (shortage, bars[1], f"below rank {full_rank}"),
        ):
            bar = figure.colorbar(mappable, cax=where)
            bar.set_label(label, fontsize=7.5)
            bar.set_ticks([0, 0.5, 1])
            where.set_ylim(0, 1)
            where.tick_params(labelsize=7)
        return figure


def to_png(figure: Figure) -> bytes:
    """Return the figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def to_image(figure: Figure) -> npt.NDArray[np.uint8]:
    """Return the figure as an image, shape (height, width, 3)."""
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()  # type: ignore[attr-defined]


# What is drawn in more than one figure.


@contextmanager
def _styled() -> Iterator[None]:
    """Draw alike on every machine, whatever its matplotlib is set to."""
    import matplotlib

    settings: Any = {**matplotlib.rcParamsDefault, **STYLE}
    settings.pop("backend")  # naming one would choose it
    with matplotlib.rc_context(settings):
        yield


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def _card(width: float, height: float, title: str) -> tuple[Figure, Axes]:
    figure = _figure(width, height)
    axes = figure.add_axes((0.56 / width, 0.45 / height, 1 - 0.7 / width, 1 - 0.75 / height))
    axes.set_title(title, loc="left")
    return figure, axes


def _columns(panels: int) -> int:
    return min(panels, 4 if panels > 3 else 3)


def _grid(panels: int, title: str) -> tuple[Figure, list[Axes], list[Axes]]:
    """Lay out ``panels`` panels and, at the right, two colour bars; sizes in inches."""
    columns = _columns(panels)
    rows = math.ceil(panels / columns)
    left, right, top, bottom, gap, label = 0.55, 0.95, 0.32, 0.1, 0.12, 0.52
    across = 1.75 if columns > 1 else 3.2
    down = 1.55
    width = left + columns * (across + gap) + right
    height = top + rows * (down + label) + bottom
    figure = _figure(width, height)
    figure.text(0.1 / width, 1 - 0.2 / height, title, fontsize=9, va="center")
    boxes = [
        (
            (left + (i % columns) * (across + gap)) / width,
            1 - (top + (i // columns) * (down + label) + down) / height,
            across / width,
            down / height,
        )
        for i in range(panels)
    ]
    x, tall = 1 - (right - 0.12) / width, (height - top - label - bottom)
    bars = [
        (x, (label + bottom + offset * tall) / height, 0.1 / width, 0.42 * tall / height)
        for offset in (0.54, 0.0)
    ]
    return figure, [figure.add_axes(box) for box in boxes], [figure.add_axes(b) for b in bars]


def _draw_zone(
    axes: Axes,
    x: Array,
    level: Array,
    deficient: Array,
    low: int,
    high: int,
    bands: tuple[float, float],
) -> tuple[Any, Any]:
    edges, index = _bins(x)
    count = np.bincount(index, minlength=INPUT_BINS)
    row = (high - low) / CONDITION_BINS
    top = high + 2 * row if level.max() > high else high  # a row for ∞, and a gap below it
    levels = np.linspace(low, top, round((top - low) / row) + 1)
    cells, _, _ = np.histogram2d(index, level, bins=(np.arange(INPUT_BINS + 1) - 0.5, levels))
    with np.errstate(invalid="ignore"):
        share = cells / count[:, None]
        short = np.bincount(index, deficient, minlength=INPUT_BINS) / count
    strip = 0.09 * (high - low)
    extent = (edges[0], edges[-1])
    shown = np.where(cells > 0, share, np.nan)
    density = axes.imshow(
        shown.T, origin="lower", aspect="auto", extent=(*extent, low, top), vmin=-0.15, vmax=1,
        cmap="Blues", interpolation="nearest",
    )  # fmt: skip
    shortage = axes.imshow(
        short[None], origin="lower", aspect="auto", extent=(*extent, low - 2 * strip, low - strip),
        vmin=0, vmax=1, cmap="Reds", interpolation="nearest",
    )  # fmt: skip
    axes.axhspan(low - 2 * strip, low - strip, facecolor="none", edgecolor="0.6", lw=0.6)
    for limit, colour in zip(np.log10(bands), (ORANGE, RED), strict=True):
        if low < limit < high:
            axes.axhline(limit, color=colour, ls="--", lw=1)
    middle = (edges[:-1] + edges[1:]) / 2
    medians = [np.median(level[index == i]) if count[i] else np.nan for i in range(INPUT_BINS)]
    axes.plot(middle, medians, color=BLACK, lw=1.4, marker="o", ms=2.5)
    axes.set_xlim(*extent)
    axes.set_ylim(low - 2 * strip, top)
    axes.tick_params(labelsize=7.5, length=2.5, pad=1.5)
    axes.locator_params(axis="x", nbins=3)
    return density, shortage


def _bins(x: Array) -> tuple[Array, Array]:
    """Return the edges of equal bins over the range of ``x`` and the bin of each point."""
    low, high = float(x.min()), float(x.max())
    if high - low <= 1e-12 * max(abs(low), abs(high), 1e-300):
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, INPUT_BINS + 1)
    return edges, np.clip(np.digitize(x, edges) - 1, 0, INPUT_BINS - 1)


def _most_telling(inputs: Array, log10_cond: Array, most: int) -> list[int]:
    """Return the inputs by which bins log10 κ varies most (correlation ratio), in their order."""
    n = inputs.shape[1]
    if n <= most or len(log10_cond) == 0:
        return list(range(min(n, most)))
    mean = log10_cond.mean()
    between = []
    for x in inputs.T:
        _, index = _bins(x)
        count = np.bincount(index, minlength=INPUT_BINS)
        total = np.bincount(index, log10_cond, minlength=INPUT_BINS)
        between.append((count * (total / np.maximum(count, 1) - mean) ** 2).sum())
    return sorted(np.argsort(between)[-most:].tolist())


def _shade_bands(axes: Axes, bands: tuple[float, float], low: int, high: int, top: float) -> None:
    limits = [low, *np.log10(bands), high]
    for (name, colour), begin, end in zip(BANDS, limits[:-1], limits[1:], strict=True):
        begin, end = max(begin, low), min(end, high)
        if end <= begin:
            continue
        axes.axvspan(begin, end, color=colour, alpha=0.16, lw=0)
        if end - begin >= 0.17 * (high - low):
            axes.text((begin + end) / 2, 0.93 * top, name, ha="center", fontsize=7.5, color="0.2")


def _decades(log10_cond: Array, bands: tuple[float, float] | None) -> tuple[int, int]:
    """Return whole decades that hold the values and, if asked, show the bands' limits."""
    low = math.floor(log10_cond.min(initial=CAP if len(log10_cond) else 0))
    high = math.ceil(log10_cond.max(initial=0.0))
    if bands is not None:
        low, high = min(low, 0), max(high, math.ceil(math.log10(bands[1])) + 1)
    return (low, high) if high > low else (low, low + 1)


def _kappa_ticks(axis: Any, low: int, high: int, infinite: list[float]) -> None:
    step = max(1, math.ceil((high - low) / 6))
    ticks = list(range(low, high if infinite else high + 1, step))
    # Plain text: typesetting a formula takes longer than all else in a figure.
    labels = [f"10{str(tick).translate(SUPERSCRIPT)}" for tick in ticks]
    axis.set_ticks([*ticks, *infinite], [*labels, *("∞" for _ in infinite)])


def _kappa(log10_cond: float) -> str:
    return "∞" if log10_cond >= CAP else f"{10**log10_cond:.3g}"


def _log10(condition: Array) -> tuple[Array, int]:
    """Return log10 of those that are numbers, capped, and how many are not."""
    numbers = condition[~np.isnan(condition)]
    return np.minimum(np.log10(numbers), CAP), len(condition) - len(numbers)


def _headline(title: str, what: str, left_out: int = 0) -> str:
    parts = [title, what, f"{left_out} without a finite Jacobian left out" if left_out else ""]
    return ": ".join(part for part in parts if part)


def _wrapped(name: str) -> str:
    """Put the unit of a long name on a line of its own, and cut what does not fit all the same."""
    if len(name) > 20 and " [" in name:
        name = name.replace(" [", "\n[")
    return "\n".join(line if len(line) <= 32 else line[:31] + "…" for line in name.split("\n"))


def _nothing(figure: Figure, axes: Axes) -> Figure:
    axes.set_axis_off()
    axes.text(0.5, 0.5, "no points", ha="center", va="center", transform=axes.transAxes)
    return figure


def _column(name: str, values: Any) -> Array:
    array = np.asarray(values)
    if array.ndim != 1:
        raise ValueError(f"Expected argument `{name}` to be of shape (N,), but got {array.shape}.")
    return array
