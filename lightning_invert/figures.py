"""Arrays into pictures: the only file that knows matplotlib, and only when something is drawn.

Figures are made for small cards: few words, colours that the colour-blind can tell apart (M. Okabe
and K. Ito, *Color universal design*, 2008), units on the axes. Nothing goes through ``pyplot``: no
backend is chosen, no global state is touched and no figure outlives its caller. Sizes are inches.
"""

from __future__ import annotations

import io
import math
import re
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lightning_invert.report import MapReport

__all__ = [
    "condition_histogram",
    "fragile_zones",
    "map_figures",
    "rank_histogram",
    "to_image",
    "to_png",
]

Array = npt.NDArray[Any]

CAP = 16.0
"""Where log10 of a condition number ends."""

GREEN, ORANGE, RED, BLACK, BLUE = "#009E73", "#E69F00", "#D55E00", "#000000", "#0072B2"
BANDS = (("stable", GREEN), ("moderate", ORANGE), ("ill-conditioned", RED))

STYLE = {
    "font.size": 8.5,
    "axes.labelsize": 8.5,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "figure.dpi": 110,
    "hatch.linewidth": 0.6,
}

SUPERSCRIPT = str.maketrans("+-0123456789", "⁺⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

MOST_COLUMNS = 10
ROWS = 16
"""Cells of the density along the condition number, without the one for ∞."""

MOST_RANKS = 30
BINS_A_DECADE = 4
CARD = (4.6, 2.75)


def rank_histogram(rank: Any, *, full_rank: int, title: str = "") -> Figure:
    """Draw how many points have which numerical rank.

    Args:
        rank: Shape (N,), integers from 0 to ``full_rank``.
        full_rank: k = min(m, n). Above 30, the lower ranks share the leftmost bar.
        title: What was watched.

    Returns:
        The figure; the bars are shares of the points in %.

    Raises:
        ValueError: If ``rank`` is not of shape (N,) or not between 0 and ``full_rank``.

    Example:
        >>> figure = rank_histogram(np.array([4, 4, 3]), full_rank=4)
        >>> [round(bar.get_height()) for bar in figure.axes[0].patches]
        [0, 0, 0, 33, 67]
    """
    rank = _ranks(rank, full_rank)
    facts = [_points(len(rank))]
    if len(rank):
        facts.append(f"{_percent(np.mean(rank == full_rank))} at full rank ({full_rank})")
    with _styled():
        figure, axes = _card(title or "numerical rank", facts)
        if len(rank) == 0:
            return _nothing(figure, axes)
        lowest = max(0, full_rank - MOST_RANKS)
        ranks = np.arange(lowest, full_rank + 1)
        share = np.bincount(rank.clip(lowest) - lowest, minlength=len(ranks)) / len(rank)
        axes.bar(ranks, 100 * share, color=[*[RED] * (len(ranks) - 1), BLUE], width=0.8)
        if len(ranks) <= 12:
            for r, part in zip(ranks, share, strict=True):
                if part > 0:
                    axes.text(float(r), 100 * part + 2, _percent(part), ha="center", fontsize=8)
        ticks = ranks[::-1][:: 1 if len(ranks) <= 16 else 2]
        labels = [f"≤{r}" if r == lowest > 0 else str(r) for r in ticks]
        axes.set_xticks(ticks, labels, fontsize=8 if len(ranks) <= 16 else 7.5)
        axes.set_xlim(lowest - 0.6, full_rank + 0.6)
        axes.set_ylim(0, 114)
        axes.set_yticks([0, 25, 50, 75, 100])
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
    r"""Draw the distribution of condition numbers, with the bands and their shares marked.

    Args:
        condition: :math:`\kappa`, shape (N,); inf is drawn in a bar of its own, NaN left out.
        bands: Where *stable* ends and *ill-conditioned* begins.
        resolution: The largest :math:`\kappa` that the arithmetic can tell; hatched beyond.
        title: What was watched.

    Returns:
        The figure; the bars are shares of the points in %, four a decade.

    Raises:
        ValueError: If ``condition`` is not of shape (N,).

    Example:
        >>> figure = condition_histogram(np.array([3.0, 5.0, np.inf]))
        >>> finite, singular = figure.axes[0].patches[-2:]
        >>> round(sum(finite.get_data().values)), round(singular.get_height())
        (67, 33)
    """
    condition = _column("condition", condition).astype(float)
    known = condition[~np.isnan(condition)]
    facts = [_points(len(known)), _left_out(len(condition) - len(known))]
    with _styled():
        figure, axes = _card(title or "condition number", facts)
        if len(known) == 0:
            return _nothing(figure, axes)
        singular = float(np.mean(np.isinf(known)))
        finite = _log10(known[np.isfinite(known)])
        unresolved = 0.0 if resolution is None else float(np.mean(known > resolution))
        room = 100 if singular else 10  # for the name of the last band
        beyond = 10 * resolution if resolution and unresolved else 1
        high = _decades(finite, room * bands[1], beyond)
        counts, edges = np.histogram(finite, bins=BINS_A_DECADE * high, range=(0, high))
        share = 100 * counts / len(known)
        bar = high * 1.085
        end = high * 1.16 if singular else high
        # The bars leave the upper part to the words.
        top = max(share.max(), 100 * singular) / 0.66
        _shade_bands(axes, known, bands, high, end)
        if resolution is not None and (unresolved or math.log10(resolution) < high):
            _hatch_unresolved(axes, resolution, unresolved, end)
        axes.stairs(share, edges, fill=True, color=BLUE)
        if singular:
            axes.bar(bar, 100 * singular, width=0.1 * high, color=BLACK)
            _band_name(axes, "singular", singular, bar)
        axes.set_xlim(0, end)
        axes.set_ylim(0, top)
        if top > 100:
            axes.set_yticks([0, 25, 50, 75, 100])
        for name, q, line, height in (
            ("median", 0.5, "-", 0.82),
            ("95th percentile", 0.95, "--", 0.73),
        ):
            value = _quantile(known, q)
            where = bar if value == math.inf else min(float(_log10(value)), high)
            _mark(axes, where / end, f"{name}: {_short(value, 3)}", line, height)
        _kappa_ticks(axes.xaxis, high, bar if singular else None, "singular\n(∞)")
        axes.set_xlabel("condition number κ")
        axes.xaxis.set_label_coords(0.44, -0.12)
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

    A panel an input: a heat map of how :math:`\kappa` is distributed in each column of points, on
    the bands' colours, the median as a line; the strip below is the share of the column's points
    that are not of full rank. Columns hold about as many points each, so that no median is one of
    two or three points; a value at an end of the range that many points share (a rate that is 0
    half of the time) has a column of its own. Of more than ``max_inputs`` inputs those are shown
    whose columns explain most of the variance of log10 :math:`\kappa` (the correlation ratio:
    K. Pearson, 1905).

    Args:
        inputs: Shape (N, n); rows with NaN or inf are left out.
        condition: :math:`\kappa`, shape (N,); rows with NaN are left out.
        rank: Shape (N,), integers from 0 to ``full_rank``.
        full_rank: k = min(m, n).
        names: Of the inputs, with units; ``x0``, ``x1``, ... by default.
        bands: Where *stable* ends and *ill-conditioned* begins.
        title: What was watched.
        max_inputs: How many panels at most.

    Returns:
        The figure: first the panels, each with the density and the strip, then two colour bars.

    Raises:
        ValueError: If the shapes do not fit, a rank is not between 0 and ``full_rank`` or
            ``max_inputs`` is not positive.

    Example:
        >>> x = np.random.default_rng(0).uniform(size=(50, 3))
        >>> figure = fragile_zones(x, 10 ** (4 * x[:, 0]), np.full(50, 2), full_rank=2)
        >>> [axes.get_xlabel() for axes in figure.axes[:3]]
        ['x0', 'x1', 'x2']
    """
    condition, rank = _column("condition", condition).astype(float), _ranks(rank, full_rank)
    inputs = np.asarray(inputs, dtype=float)
    if inputs.ndim != 2 or not len(inputs) == len(condition) == len(rank):
        raise ValueError(
            "Expected arguments `inputs`, `condition` and `rank` to be of shapes (N, n), (N,) and "
            f"(N,), but got {inputs.shape}, {condition.shape} and {rank.shape}."
        )
    n = inputs.shape[1]
    names = list(names) if names is not None else [f"x{j}" for j in range(n)]
    if len(names) != n:
        raise ValueError(f"Expected argument `names` to name {n} inputs, but got {len(names)}.")
    if max_inputs < 1:
        raise ValueError(f"Expected argument `max_inputs` to be at least 1, but got {max_inputs}.")
    kept = ~np.isnan(condition) & np.isfinite(inputs).all(1)
    inputs, condition, deficient = inputs[kept], condition[kept], rank[kept] < full_rank
    facts = [_points(len(inputs)), _left_out(int((~kept).sum()))]
    title = title or "κ and rank along the inputs"
    with _styled():
        if inputs.size == 0:
            return _nothing(*_card(title, facts), "no points" if n else "no inputs")
        columns = [_columns(x) for x in inputs.T]
        shown = _most_telling(columns, _log10(condition), max_inputs)
        if len(shown) < n:
            facts.append(f"the {len(shown)} of {n} inputs that explain κ most")
        scale = _Scale.of(condition, bands)
        zones = [_zone(columns[j], scale.level(condition), deficient, scale) for j in shown]
        facts += [f"{_percent(1 - deficient.mean())} at full rank ({full_rank})", "line: median κ"]
        labels, letters = _grid_labels([names[j] for j in shown])
        figure, panels, bars = _grid(labels, title, facts)
        darkest = max(0.2, math.ceil(10 * max(np.nanmax(z.density) for z in zones)) / 10)
        for panel, zone in zip(panels, zones, strict=True):
            _draw_zone(panel, zone, scale, darkest)
            _label_ticks(panel, zone.columns.ticks, letters)
        _colour_bar(bars[0], "Blues", -0.3 * darkest, darkest, "column share (%)")
        _colour_bar(bars[1], "Reds", 0, 1, f"rank < {full_rank} (%)")
        return figure


def map_figures(
    report: MapReport,
    condition: Any,
    rank: Any,
    inputs: Any = None,
    names: Sequence[str] | None = None,
    title: str = "",
) -> dict[str, Figure]:
    """Draw all figures of a map.

    Args:
        report: Of the map.
        condition: Condition numbers, shape (N,).
        rank: Shape (N,).
        inputs: The points, shape (N, n), for the fragile zones; ``None``: not drawn.
        names: Of the inputs.
        title: What was watched; by default the map's name.

    Returns:
        ``rank_histogram``, ``condition_histogram`` and ``fragile_zones``.
    """
    # Of a Jacobian too large to be formed there are two singular values.
    k, title = min(report.shape) if report.complete else 2, title or report.name
    figures = {}
    if report.complete:
        figures["rank_histogram"] = rank_histogram(rank, full_rank=k, title=title)
    figures |= {
        "condition_histogram": condition_histogram(
            condition, bands=report.bands, resolution=report.resolvable, title=title
        ),
    }
    if inputs is not None:
        figures["fragile_zones"] = fragile_zones(
            inputs, condition, rank, full_rank=k, names=names, bands=report.bands, title=title
        )
    return figures


def to_png(figure: Figure) -> bytes:
    """Return the figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    with _styled():
        figure.savefig(buffer, format="png")
    return buffer.getvalue()


def to_image(figure: Figure) -> npt.NDArray[np.uint8]:
    """Return the figure as an image, shape (height, width, 3)."""
    with _styled():
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


def _headed(width: float, height: float, title: str, facts: Sequence[str]) -> tuple[Figure, float]:
    """Return a figure with a heading above ``height`` inches of room, and its whole height."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines = textwrap.wrap(" · ".join(filter(None, facts)), int(15.5 * width))
    above = 0.38 + 0.15 * len(lines)
    figure = Figure(figsize=(width, height + above))
    FigureCanvasAgg(figure)
    whole = height + above
    figure.text(
        0.12 / width, 1 - 0.1 / whole, _cut(title, int(12.5 * width)),
        fontsize=9.5, fontweight="bold", va="top",
    )  # fmt: skip
    figure.text(0.12 / width, 1 - 0.3 / whole, "\n".join(lines), fontsize=8, color="0.3", va="top")
    return figure, whole


def _card(title: str, facts: Sequence[str]) -> tuple[Figure, Axes]:
    width, room = CARD
    figure, height = _headed(width, room, title, facts)
    below, left, right = 0.55, 0.58, 0.12
    box = (left / width, below / height, 1 - (left + right) / width, (room - below) / height)
    return figure, figure.add_axes(box)


def _nothing(figure: Figure, axes: Axes, what: str = "no points") -> Figure:
    axes.set_axis_off()
    axes.text(0.5, 0.5, what, ha="center", va="center", transform=axes.transAxes)
    return figure


def _decades(log10_cond: Array, *shown: float) -> int:
    """Return up to which power of ten the values, and whatever else is to be seen, reach."""
    wanted = [math.log10(value) for value in shown]
    highest = max([1.0, *wanted, float(log10_cond.max(initial=0.0))])
    return math.ceil(min(highest, CAP) - 1e-9)


def _kappa_ticks(axis: Any, high: int, infinite: float | None, label: str = "∞") -> None:
    # Plain text: typesetting a formula takes longer than all else in a figure.
    ticks = [float(tick) for tick in range(0, high + 1, math.ceil(high / 6))]
    labels = [f"10{str(int(tick)).translate(SUPERSCRIPT)}" for tick in ticks]
    if infinite is not None:
        if infinite - ticks[-1] < 0.14 * high and len(ticks) > 1:
            ticks, labels = ticks[:-1], labels[:-1]
        ticks, labels = [*ticks, infinite], [*labels, label]
    axis.set_ticks(ticks, labels)


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _short(number: float, digits: int = 4) -> str:
    if math.isinf(number):
        return "∞"
    text = f"{float(f'{number:.{digits}g}'):.{max(6, digits)}g}"
    if "e" not in text:
        return text
    mantissa, exponent = text.split("e")
    return f"{mantissa}·10{str(int(exponent)).translate(SUPERSCRIPT)}"


def _points(count: int) -> str:
    return "1 point" if count == 1 else f"{count} points"


def _left_out(count: int) -> str:
    return f"{count} not finite, left out" if count else ""


def _cut(text: str, letters: int) -> str:
    return text if len(text) <= letters else text[: letters - 1] + "…"


# What the histogram of condition numbers consists of.


def _shade_bands(
    axes: Axes, condition: Array, bands: tuple[float, float], high: int, end: float
) -> None:
    stable, moderate = condition < bands[0], condition <= bands[1]
    shares = (stable, moderate & ~stable, ~moderate & np.isfinite(condition))
    limits = np.minimum([0.0, *np.log10(bands), high], high)
    for (name, colour), inside, begin, stop in zip(
        BANDS, shares, limits[:-1], limits[1:], strict=True
    ):
        axes.axvspan(begin, stop, color=colour, alpha=0.18, lw=0)
        if CARD[0] * 0.85 * (stop - begin) / end > 0.05 * len(name):
            _band_name(axes, name, float(inside.mean()), (begin + stop) / 2)


def _band_name(axes: Axes, name: str, share: float, where: float) -> None:
    axes.text(
        where, 0.985, f"{name}\n{_percent(share)}", ha="center", va="top", size=7, color="0.15",
        linespacing=1.15, transform=axes.get_xaxis_transform(),
    )  # fmt: skip


def _hatch_unresolved(axes: Axes, resolution: float, share: float, end: float) -> None:
    begin = max(math.log10(max(resolution, 1.0)), 0.0)
    axes.axvspan(begin, end, facecolor="none", edgecolor="0.6", hatch="////", lw=0)
    text = f"unresolved: κ > {_short(resolution, 2)}"
    if share:
        text += f" ({_percent(share)})"
    axes.text(
        1, 1.02, f"▨ {text}", ha="right", va="bottom", size=7.5, color="0.3",
        transform=axes.transAxes,
    )  # fmt: skip


def _mark(axes: Axes, where: float, text: str, line: str, height: float) -> None:
    """Draw a line up to its text, which stands on the side that has more room."""
    axes.plot(
        [where, where], [0, height + 0.05], ls=line, color=BLACK, lw=1.2, transform=axes.transAxes
    )
    left = where < 0.5
    axes.text(
        where + (0.01 if left else -0.01), height, text, ha="left" if left else "right",
        size=7.5, transform=axes.transAxes,
        bbox={"facecolor": "white", "alpha": 0.75, "lw": 0, "pad": 0.8},
    )  # fmt: skip


# What the fragile zones consist of.


class _Columns(NamedTuple):
    """How the points are sorted along one input."""

    edges: Array  # (C + 1,), of what is drawn
    column: Array  # (N,), of each point
    ticks: list[tuple[float, str]]


class _Scale(NamedTuple):
    """The axis of κ: its decades, and where ∞ is."""

    high: int
    row: float
    singular: bool
    bands: tuple[float, float]

    @classmethod
    def of(cls, condition: Array, bands: tuple[float, float]) -> _Scale:
        singular = np.isinf(condition)
        high = _decades(_log10(condition[~singular]), bands[0])
        return cls(high, high / ROWS, bool(singular.any()), bands)

    @property
    def infinity(self) -> float:
        return self.high + 1.75 * self.row

    @property
    def edges(self) -> Array:
        edges = np.linspace(0, self.high, ROWS + 1)
        if not self.singular:
            return edges
        return np.append(edges, self.infinity + self.row * np.array([-1.0, 1.0]))

    def level(self, condition: Array) -> Array:
        # The last row of numbers is closed above: what is beyond belongs to ∞, or to the gap.
        finite = np.minimum(_log10(condition), self.high - 1e-9)
        return np.where(np.isinf(condition), self.infinity, finite)


class _Zone(NamedTuple):
    """What one panel shows."""

    columns: _Columns
    density: Array  # (rows, C), NaN where there is no point
    median: Array  # (C,), NaN where there is no point
    deficient: Array  # (C,), NaN where there is no point


def _zone(columns: _Columns, level: Array, deficient: Array, scale: _Scale) -> _Zone:
    number = len(columns.edges) - 1
    count = np.bincount(columns.column, minlength=number)
    middles = np.arange(number + 1) - 0.5
    cells, _, _ = np.histogram2d(level, columns.column, bins=(scale.edges, middles))
    order = np.lexsort((level, columns.column))
    # The higher one of an even number: between a number and ∞ nothing is to be interpolated.
    at = np.minimum(np.cumsum(count) - count + count // 2, len(level) - 1)
    with np.errstate(invalid="ignore"):
        density = np.where(cells > 0, cells / count, np.nan)
        short = np.bincount(columns.column, deficient, minlength=number) / count
    return _Zone(columns, density, np.where(count > 0, level[order][at], np.nan), short)


def _columns(x: Array) -> _Columns:
    """Sort points into columns of about equal numbers, repeated values into columns of their own."""
    low, high = float(x.min()), float(x.max())
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        half = max(abs(low), 1.0) / 2
        edges = np.array([low - half, low + half])
        return _Columns(edges, np.zeros(len(x), dtype=int), [(low, _short(low))])
    most = min(MOST_COLUMNS, max(2, round(math.sqrt(len(x)))))
    values = np.unique(x)
    if len(values) <= most:
        inner = (values[:-1] + values[1:]) / 2
        edges = np.array([1.5 * low - values[1] / 2, *inner, 1.5 * high - values[-2] / 2])
        return _Columns(edges, _locate(inner, x), _ticks(low, high))
    return _with_ends_apart(x, most)


def _with_ends_apart(x: Array, most: int) -> _Columns:
    """Give the lowest and the highest value a column of their own if they have enough points."""
    low, high = x.min(), x.max()
    apart = [bool((x == end).sum() > len(x) / most) for end in (low, high)]
    rest = x[~((x == low) & apart[0]) & ~((x == high) & apart[1])]
    begin, stop = float(rest.min()), float(rest.max())
    number = max(1, round(most * len(rest) / len(x)))
    inner = np.unique(np.quantile(rest, np.linspace(0, 1, number + 1)))
    if len(inner) < 2:
        inner = np.array([begin - (begin - low) / 3, stop + (high - stop) / 3])
    width = (inner[-1] - inner[0]) / 9
    index = _locate(inner[1:-1], x) + 2 * apart[0]
    edges, ticks = inner, _ticks(begin, stop)
    if apart[0]:
        edges = np.concatenate([inner[0] - width * np.array([1.5, 0.4]), edges])
        ticks = [t for t in ticks if t[0] > begin + 2.5 * width]
        ticks.insert(0, (float(inner[0] - 0.95 * width), f"={_short(low)}"))
        index[x == low] = 0
    if apart[1]:
        edges = np.concatenate([edges, inner[-1] + width * np.array([0.4, 1.5])])
        ticks = [t for t in ticks if t[0] < stop - 2.5 * width]
        ticks.append((float(inner[-1] + 0.95 * width), f"={_short(high)}"))
        index[x == high] = len(edges) - 2
    return _Columns(edges, index, ticks)


def _locate(inner: Array, x: Array) -> Array:
    return np.asarray(np.searchsorted(inner, x, side="right"))


def _ticks(low: float, high: float) -> list[tuple[float, str]]:
    from matplotlib.ticker import MaxNLocator

    ticks = np.asarray(MaxNLocator(nbins=3, steps=[1, 2, 5, 10]).tick_values(low, high))
    digits = max(4, math.floor(math.log10(max(abs(low), abs(high)) / (ticks[1] - ticks[0]))) + 2)
    return [(float(t), _short(float(t), digits)) for t in ticks if low <= t <= high]


def _most_telling(columns: list[_Columns], log10_cond: Array, most: int) -> list[int]:
    """Return the inputs by whose columns log10 κ varies most (correlation ratio), in order."""
    if len(columns) <= most:
        return list(range(len(columns)))
    deviation = log10_cond - log10_cond.mean()
    between = []
    for _, index, _ in columns:
        total = np.bincount(index, deviation)
        between.append((total**2 / np.maximum(np.bincount(index), 1)).sum())
    return sorted(np.argsort(between)[-most:].tolist())


def _shape(panels: int) -> tuple[int, int, float]:
    """Return the rows and columns of the grid and how wide a panel is."""
    rows = math.ceil(panels / 4)
    across = math.ceil(panels / rows)
    return rows, across, {1: 3.2, 2: 1.8, 3: 1.45}.get(across, 1.12)


def _grid_labels(names: Sequence[str]) -> tuple[list[str], int]:
    """Return the names as they fit below panels, and the number of letters that do."""
    letters = int(15.5 * _shape(len(names))[2])
    return [_wrapped(name, letters) for name in names], letters


def _grid(
    labels: Sequence[str], title: str, facts: Sequence[str]
) -> tuple[Figure, list[Axes], list[Axes]]:
    """Lay out a panel for each label and, at the right, two colour bars."""
    rows, across, wide = _shape(len(labels))
    left, right, gap = 0.5, 0.72, 0.12
    tall = 1.75 if rows == 1 else 1.3
    down = tall + 0.3 + 0.13 * max(label.count("\n") + 1 for label in labels)
    width = left + across * (wide + gap) + right
    figure, height = _headed(width, rows * down, title, facts)

    def axes(x: float, below: float, w: float, h: float) -> Axes:
        return figure.add_axes(
            (x / width, (rows * down - below - h) / height, w / width, h / height)
        )

    panels = []
    for i, label in enumerate(labels):
        row, column = divmod(i, across)
        panel = axes(left + column * (wide + gap), row * down, wide, tall)
        panel.set_xlabel(label, fontsize=8, labelpad=1.5)
        panels.append(panel)
    for panel in panels[::across]:
        panel.set_ylabel("condition number κ", fontsize=8, labelpad=1)
    at, tall = width - right + 0.02, min(1.0, (tall - 0.17) / 2) if rows == 1 else 1.0
    return figure, panels, [axes(at, 0, 0.1, tall), axes(at, tall + 0.17, 0.1, tall)]


def _draw_zone(axes: Axes, zone: _Zone, scale: _Scale, darkest: float) -> None:
    edges = zone.columns.edges
    strip = 0.09 * scale.high
    top = scale.edges[-1]
    _tint(axes, edges, scale)
    axes.pcolorfast(
        edges, scale.edges, zone.density, cmap="Blues", vmin=-0.3 * darkest,
        vmax=darkest,
    )  # fmt: skip
    axes.pcolorfast(
        edges, [-2 * strip, -0.6 * strip], zone.deficient[None], cmap="Reds", vmin=0, vmax=1
    )
    for colour, width in (("white", 3.2), (BLACK, 1.5)):
        axes.stairs(zone.median, edges, baseline=None, color=colour, lw=width)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(-2 * strip, top)
    axes.tick_params(length=2.5, pad=1.5, labelsize=7.5)
    if axes.get_ylabel():
        _kappa_ticks(axes.yaxis, scale.high, scale.infinity if scale.singular else None)
    else:
        axes.set_yticks([])


def _tint(axes: Axes, edges: Array, scale: _Scale) -> None:
    """Colour the bands as in the histogram, all in one image: artists are what takes time."""
    from matplotlib.colors import to_rgba_array

    limits = np.minimum(np.log10(scale.bands), scale.high)
    heights = np.array([0.0, *limits, scale.high, *scale.edges[-2:]])
    colours = to_rgba_array([*(colour for _, colour in BANDS), "none", BLACK])
    colours[:, 3] *= [0.18, 0.18, 0.18, 0, 0.12]
    drawn = 5 if scale.singular else 3
    seen = np.diff(heights[: drawn + 1]) > 0
    lower, colours = heights[:drawn][seen], colours[:drawn][seen]
    ends = [*lower, heights[drawn]]
    axes.pcolorfast([edges[0], edges[-1]], ends, colours[:, None])
    inside = limits < scale.high
    axes.hlines(
        limits[inside], edges[0], edges[-1], lw=0.8,
        colors=[colour for (_, colour), there in zip(BANDS, inside, strict=False) if there],
    )  # fmt: skip


def _label_ticks(axes: Axes, ticks: list[tuple[float, str]], letters: int) -> None:
    """Set as many ticks as have room for their labels, none of which sticks out of the panel."""
    while len(ticks) > 1 and sum(len(text) + 2 for _, text in ticks) > letters:
        ticks = ticks[::2]
    axes.set_xticks([tick for tick, _ in ticks], [text for _, text in ticks])
    low, high = axes.get_xlim()
    for (tick, text), label in zip(ticks, axes.get_xticklabels(), strict=True):
        where, half = (tick - low) / (high - low), 0.5 * len(text) / letters
        if where < half:
            label.set_horizontalalignment("left")
        elif where > 1 - half:
            label.set_horizontalalignment("right")


def _colour_bar(axes: Axes, colours: str, low: float, high: float, label: str) -> None:
    """Draw what ``Figure.colorbar`` draws in a tenth of its time."""
    ramp = np.linspace(0, high, 64)[:, None]
    axes.imshow(
        ramp, origin="lower", aspect="auto", extent=(0, 1, 0, high), cmap=colours, vmin=low,
        vmax=high,
    )  # fmt: skip
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.yaxis.set_label_position("right")
    axes.set_yticks([0, high / 2, high], [f"{100 * v:.3g}" for v in (0, high / 2, high)])
    axes.tick_params(labelsize=7, length=2, pad=1.5)
    axes.set_ylabel(label, fontsize=7, labelpad=2)


def _wrapped(name: str, letters: int) -> str:
    """Break a name behind its underscores and spaces; what is cut of a long one is not its unit."""
    lines = [""]
    for word in re.findall(r".+?(?:[_ ]+|$)", name):
        if lines[-1] and len(lines[-1] + word.rstrip()) > letters:
            lines.append("")
        lines[-1] += word
    lines = [_cut(line.rstrip(), letters) for line in lines]
    if len(lines) <= 3:
        return "\n".join(lines)
    unit = re.search(r" \[[^]]*\]$", name)
    ending = unit[0] if unit and len(unit[0]) < letters - 1 else ""
    return "\n".join([*lines[:2], lines[2][: letters - 1 - len(ending)] + "…" + ending])


# What comes in.


def _column(name: str, values: Any) -> Array:
    array = np.asarray(values)
    if array.ndim != 1:
        raise ValueError(f"Expected argument `{name}` to be of shape (N,), but got {array.shape}.")
    return array


def _ranks(rank: Any, full_rank: int) -> Array:
    rank = _column("rank", rank)
    if not ((rank >= 0) & (rank <= full_rank)).all():
        raise ValueError(
            f"Expected argument `rank` to be between 0 and full_rank={full_rank}, but got "
            f"{rank.min()} to {rank.max()}."
        )
    return np.asarray(rank, dtype=int)


def _log10(condition: Any) -> Array:
    return np.asarray(np.log10(np.clip(condition, 1.0, 10**CAP)))


def _quantile(condition: Array, q: float) -> float:
    """Interpolate like ``np.quantile``, but let inf be inf rather than NaN."""
    ordered = np.sort(condition)
    position = q * (len(ordered) - 1)
    below, above = ordered[math.floor(position)], ordered[math.ceil(position)]
    if below == above or math.isinf(above):
        return float(above)
    return float(below + (above - below) * (position % 1))
