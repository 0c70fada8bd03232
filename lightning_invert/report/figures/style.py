"""The look of all figures, their layout in inches, and their files.

Colours are those that the colour-blind can tell apart (M. Okabe and K. Ito, *Color universal
design*, 2008). Panels are placed by hand: ``layout="constrained"`` takes as long again as a figure.
"""

from __future__ import annotations

import io
import math
import re
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lightning_invert.jacobians.thresholds import MAX_LOG10_COND
from lightning_invert.watch.numerals import counted, power, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = npt.NDArray[Any]

CAP = MAX_LOG10_COND

GREEN, ORANGE, RED, BLACK, BLUE = "#009E73", "#E69F00", "#D55E00", "#000000", "#0072B2"
BAND_COLOURS = (("stable", GREEN), ("moderate", ORANGE), ("ill-conditioned", RED))
SHADES = ("#CFE3F1", "#9CC6E2", "#5FA3CE")
"""Of all points, 90 % and 50 % of them."""

OTHER_SCRIPTS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "WenQuanYi Micro Hei"),
    *("WenQuanYi Zen Hei", "Droid Sans Fallback", "Microsoft YaHei", "SimHei", "PingFang SC"),
    *("Hiragino Sans GB", "Yu Gothic", "Malgun Gothic", "Apple SD Gothic Neo", "NanumGothic"),
    *("Arial Unicode MS", "Nirmala UI", "Noto Sans Devanagari", "Noto Sans Thai"),
)
"""Fonts that have letters which matplotlib's own lacks; those that are installed are used."""

STYLE: dict[str, Any] = {
    "font.size": 8.5,
    "axes.labelsize": 8.5,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "figure.dpi": 350 / 4.2,
    "hatch.linewidth": 0.6,
    "text.parse_math": False,  # names are no formulas, whatever dollars are in them
}

BOX: dict[str, Any] = {"facecolor": "white", "alpha": 0.75, "lw": 0, "pad": 0.8}
"""Behind a text on what is drawn."""

CARD = (4.2, 2.58)
"""Width and height of a figure of a map, in inches: 350 by 215 pixels on the screen, which is the room
that TensorBoard has for it. It leaves out pixels of what is larger, and with them parts of letters.
"""

FILE_DPI = 160


@contextmanager
def styled() -> Iterator[None]:
    """Draw alike on every machine, whatever its matplotlib is set to."""
    import matplotlib

    settings: Any = {**matplotlib.rcParamsDefault, **STYLE}
    settings.pop("backend")  # naming one would choose it
    settings["font.family"] = _families()
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        # A letter that no font has is drawn as a box; where warnings are errors, nothing would be drawn.
        warnings.filterwarnings(
            "ignore", r"(?s).*(Glyph \d+ .*missing from|does not support .* natively)", UserWarning
        )
        yield


@cache
def _families() -> list[str]:
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in OTHER_SCRIPTS if name in installed)]


@styled()
def to_image(figure: Figure, width: int | None = None) -> npt.NDArray[np.uint8]:
    """Return the figure as an image, shape (height, width, 3); by default as large as for a file."""
    figure.set_dpi(FILE_DPI if width is None else width / figure.get_figwidth())
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()  # type: ignore[attr-defined]


def to_png(image: npt.NDArray[np.uint8]) -> bytes:
    """Return an image as the bytes of a PNG file."""
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    imsave(buffer, image, format="png", dpi=FILE_DPI)
    return buffer.getvalue()


class Sheet(NamedTuple):
    """A figure with a heading, and below it room for panels."""

    figure: Figure
    width: float
    height: float
    room: float

    def panel(self, left: float, below: float, width: float, height: float) -> Axes:
        """Add axes: where they begin and how large they are, in inches."""
        w, h = self.width, self.height
        return self.figure.add_axes((left / w, below / h, width / w, height / h))


@cache
def _notebook_figure() -> type[Figure]:
    """Return the class of figures, which a notebook shows without ``pyplot``."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    class NotebookFigure(Figure):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            FigureCanvasAgg(self)

        def _repr_png_(self) -> bytes:
            return to_png(to_image(self))

    return NotebookFigure


def sheet(
    title: str, facts: Sequence[str], width: float = CARD[0], room: float | None = None
) -> Sheet:
    """Return a sheet with a title, the facts in one or more lines below it, and room: by default, a card."""
    # A fact is not broken where that can be helped.
    whole = " · ".join(fact.replace(" ", "\u00a0") for fact in facts if fact)
    lines = [
        line.replace("\u00a0", " ").removesuffix(" ·")
        for line in textwrap.wrap(whole, int(15.5 * width))
    ]
    heading = 0.38 + 0.15 * len(lines)
    height = CARD[1] if room is None else room + heading
    figure = _notebook_figure()(figsize=(width, height))
    left, letters = 0.12 / width, int(12.5 * width)
    title = title if len(title) <= letters else title[: letters - 1] + "…"
    figure.text(left, 1 - 0.1 / height, title, fontsize=9.5, fontweight="bold", va="top")
    figure.text(left, 1 - 0.3 / height, "\n".join(lines), fontsize=8, color="0.3", va="top")
    return Sheet(figure, width, height, height - heading)


def card(title: str, facts: Sequence[str]) -> tuple[Figure, Axes]:
    """Return a figure of the usual size with one panel."""
    page = sheet(title, facts)
    return page.figure, page.panel(0.58, 0.48, page.width - 0.7, page.room - 0.55)


def empty_card(title: str, facts: Sequence[str], what: str = "no points") -> Figure:
    """Return a figure that says that there is nothing to draw."""
    figure, axes = card(title, facts)
    axes.set_axis_off()
    axes.text(0.5, 0.5, what, ha="center", va="center", transform=axes.transAxes)
    return figure


# Axes.


def decades(log10_cond: Array, *shown: float) -> int:
    """Return up to which power of ten the values reach, and what else is to be seen."""
    highest = max([1.0, *map(math.log10, shown), float(log10_cond.max(initial=0.0))])
    return math.ceil(min(highest, CAP) - 1e-9)


def band_spans(
    bands: tuple[float, float], high: float, end: float | None = None
) -> list[tuple[str, str, float, float]]:
    """Return of each band its name, colour and ends in log10 κ: numbers end at ``high``, the last at ``end``."""
    ends = [0.0, *(min(math.log10(band), high) for band in bands), high if end is None else end]
    return [(*band, ends[i], ends[i + 1]) for i, band in enumerate(BAND_COLOURS)]


def kappa_ticks(
    axis: Any, high: int, infinite: float | None, label: str = "∞", most: int = 5
) -> None:
    """Label an axis of log10 κ by powers of ten, and ∞ where it is."""
    # Plain text: typesetting a formula takes longer than all else in a figure.
    ticks = [float(tick) for tick in range(0, high + 1, math.ceil(high / most))]
    labels = [power(int(tick)) for tick in ticks]
    if infinite is not None:
        if infinite - ticks[-1] < 0.84 / most * high and len(ticks) > 1:
            ticks, labels = ticks[:-1], labels[:-1]
        ticks, labels = [*ticks, infinite], [*labels, label]
    axis.set_ticks(ticks, labels)


def ticks(low: float, high: float, number: int = 3) -> list[tuple[float, str]]:
    """Return round values between the ends of an axis, and how they are written."""
    from matplotlib.ticker import MaxNLocator

    values = np.asarray(MaxNLocator(nbins=number, steps=[1, 2, 5, 10]).tick_values(low, high))
    digits = max(4, math.floor(math.log10(max(abs(low), abs(high)) / (values[1] - values[0]))) + 2)
    return [(float(t), short(float(t), digits)) for t in values if low <= t <= high]


def fitting(ticks: list[tuple[float, str]], letters: int) -> list[tuple[float, str]]:
    """Return as many of the ticks as have room for their labels."""
    while len(ticks) > 1 and sum(len(text) + 2 for _, text in ticks) > letters:
        ticks = ticks[::2]
    return ticks


def set_ticks(axis: Any, ticks: Sequence[tuple[float, str]]) -> None:
    """Set the ticks of an axis, each with its label."""
    axis.set_ticks([tick for tick, _ in ticks], [text for _, text in ticks])


def colour_bar(
    axes: Axes,
    colours: Any,
    limits: tuple[float, float],
    ticks: Sequence[tuple[float, str]],
    label: str,
) -> None:
    """Draw what colours mean between ``limits``, in a tenth of the time of ``Figure.colorbar``."""
    low, high = limits
    axes.imshow(
        np.linspace(low, high, 128)[:, None], origin="lower", aspect="auto",
        extent=(0, 1, low, high), cmap=colours, vmin=low, vmax=high,
    )  # fmt: skip
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.yaxis.set_label_position("right")
    set_ticks(axes.yaxis, ticks)
    axes.tick_params(labelsize=8, length=2, pad=1.5)
    axes.set_ylabel(label, fontsize=8.5, labelpad=2)


# Values.


def count_facts(drawn: int, total: int, noun: str = "point") -> list[str]:
    """Write how many points of all are drawn, and how many are not because they are not finite."""
    missing = total - drawn
    return [counted(drawn, noun), f"{missing} not finite, left out" if missing else ""]


def thinned(rows: Array, most: int) -> Array:
    """Return every so-manieth row, so that at most ``most`` are drawn."""
    return rows[:: max(1, math.ceil(len(rows) / most))]


# Names of inputs and outputs, fitted into the room that there is; their units stay.


def wrapped(name: str, letters: int) -> str:
    """Break a name behind its underscores and spaces, into three lines at most."""
    lines = [""]
    for word in re.findall(r".+?(?:[_ ]+|$)", name):
        if lines[-1] and len(lines[-1] + word.rstrip()) > letters:
            lines.append("")
        lines[-1] += word
    lines = [line.rstrip() for line in lines]
    lines = [line if len(line) <= letters else line[: letters - 1] + "…" for line in lines]
    if len(lines) > 3:
        lines = [*lines[:2], _with_unit(lines[2] + "…", name, letters)]
    return "\n".join(lines)


def in_a_line(name: str, letters: int) -> str:
    """Shorten a name to a number of letters."""
    return name if len(name) <= letters else _with_unit(name, name, letters)


def room_for(names: Sequence[str], least: float) -> float:
    """Return the inches from one name of several lines to the next one below it."""
    return max(least, 0.05 + 0.135 * max(name.count("\n") + 1 for name in names))


def _with_unit(text: str, name: str, letters: int) -> str:
    """Cut a text so that the unit of a name has room behind it."""
    unit = re.search(r" \[[^]]*\]$", name)
    ending = unit[0] if unit and len(unit[0]) < letters - 1 else ""
    return text.removesuffix("…")[: letters - 1 - len(ending)] + "…" + ending
