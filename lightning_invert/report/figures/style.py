"""What all figures share: their look, their words, and how they become pictures.

Colours are those that the colour-blind can tell apart (M. Okabe and K. Ito, *Color universal
design*, 2008). Sizes are inches.
"""

from __future__ import annotations

import io
import math
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from lightning_invert.jacobians.thresholds import MAX_LOG10_COND
from lightning_invert.report.files import replace_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = npt.NDArray[Any]

CAP = MAX_LOG10_COND

GREEN, ORANGE, RED, BLACK, BLUE = "#009E73", "#E69F00", "#D55E00", "#000000", "#0072B2"
BAND_COLOURS = (("stable", GREEN), ("moderate", ORANGE), ("ill-conditioned", RED))

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
    "text.parse_math": False,  # names are no formulas, whatever dollars are in them
}

SUPERSCRIPT = str.maketrans("+-0123456789", "⁺⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

CARD = (4.6, 2.75)


def to_png(figure: Figure) -> bytes:
    """Return the figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    with styled():
        figure.savefig(buffer, format="png")
    return buffer.getvalue()


def save_all(figures: Mapping[str, Figure], folder: str | Path, begin: str = "") -> list[Path]:
    """Save figures as ``{begin}{name}.png``; a former one is replaced once the new one is whole."""
    files = {name: Path(folder) / f"{begin}{name}.png" for name in figures}
    for name, figure in figures.items():
        replace_file(files[name], to_png(figure))
    return [*files.values()]


def to_image(figure: Figure) -> npt.NDArray[np.uint8]:
    """Return the figure as an image, shape (height, width, 3)."""
    with styled():
        figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()  # type: ignore[attr-defined]


# What is drawn in more than one figure.


@contextmanager
def styled() -> Iterator[None]:
    """Draw alike on every machine, whatever its matplotlib is set to."""
    import matplotlib

    settings: Any = {**matplotlib.rcParamsDefault, **STYLE}
    settings.pop("backend")  # naming one would choose it
    with matplotlib.rc_context(settings):
        yield


def headed(width: float, height: float, title: str, facts: Sequence[str]) -> tuple[Figure, float]:
    """Return a figure with a heading above ``height`` inches of room, and its whole height."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # A fact is not broken where that can be helped.
    whole_facts = " · ".join(fact.replace(" ", "\u00a0") for fact in facts if fact)
    lines = [line.replace("\u00a0", " ") for line in textwrap.wrap(whole_facts, int(15.5 * width))]
    above = 0.38 + 0.15 * len(lines)
    figure = Figure(figsize=(width, height + above))
    FigureCanvasAgg(figure)
    whole = height + above
    figure.text(
        0.12 / width, 1 - 0.1 / whole, cut(title, int(12.5 * width)),
        fontsize=9.5, fontweight="bold", va="top",
    )  # fmt: skip
    figure.text(0.12 / width, 1 - 0.3 / whole, "\n".join(lines), fontsize=8, color="0.3", va="top")
    return figure, whole


def card(title: str, facts: Sequence[str]) -> tuple[Figure, Axes]:
    """Return a figure of the usual size with one pair of axes."""
    width, room = CARD
    figure, height = headed(width, room, title, facts)
    below, left, right = 0.55, 0.58, 0.12
    box = (left / width, below / height, 1 - (left + right) / width, (room - below) / height)
    return figure, figure.add_axes(box)


def nothing(figure: Figure, axes: Axes, what: str = "no points") -> Figure:
    """Say that there is nothing to draw."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, what, ha="center", va="center", transform=axes.transAxes)
    return figure


def decades(log10_cond: Array, *shown: float) -> int:
    """Return up to which power of ten the values, and whatever else is to be seen, reach."""
    wanted = [math.log10(value) for value in shown]
    highest = max([1.0, *wanted, float(log10_cond.max(initial=0.0))])
    return math.ceil(min(highest, CAP) - 1e-9)


def kappa_ticks(axis: Any, high: int, infinite: float | None, label: str = "∞") -> None:
    """Label an axis of log10 κ by powers of ten, and ∞ where it is."""
    # Plain text: typesetting a formula takes longer than all else in a figure.
    ticks = [float(tick) for tick in range(0, high + 1, math.ceil(high / 6))]
    labels = [power(int(tick)) for tick in ticks]
    if infinite is not None:
        if infinite - ticks[-1] < 0.14 * high and len(ticks) > 1:
            ticks, labels = ticks[:-1], labels[:-1]
        ticks, labels = [*ticks, infinite], [*labels, label]
    axis.set_ticks(ticks, labels)


def ticks(low: float, high: float, number: int = 3) -> list[tuple[float, str]]:
    """Return round values between the ends of an axis, and how they are written."""
    from matplotlib.ticker import MaxNLocator

    values = np.asarray(MaxNLocator(nbins=number, steps=[1, 2, 5, 10]).tick_values(low, high))
    digits = max(4, math.floor(math.log10(max(abs(low), abs(high)) / (values[1] - values[0]))) + 2)
    return [(float(t), short(float(t), digits)) for t in values if low <= t <= high]


def power(exponent: int) -> str:
    """Write a power of ten."""
    return f"10{str(exponent).translate(SUPERSCRIPT)}"


def percent(share: float) -> str:
    """Write a share."""
    return f"{100 * share:.3g} %"


def short(number: float, digits: int = 4) -> str:
    """Write a number in few letters."""
    if math.isinf(number):
        return "∞"
    text = f"{float(f'{number:.{digits}g}'):.{max(6, digits)}g}"
    if "e" not in text:
        return text
    mantissa, exponent = text.split("e")
    return f"{mantissa}·10{str(int(exponent)).translate(SUPERSCRIPT)}"


def points(count: int) -> str:
    """Write how many points there are."""
    return "1 point" if count == 1 else f"{count} points"


def targets(count: int) -> str:
    """Write how many targets there are."""
    return "1 target" if count == 1 else f"{count} targets"


def left_out(count: int) -> str:
    """Write how many points there would have been besides."""
    return f"{count} not finite, left out" if count else ""


def cut(text: str, letters: int) -> str:
    """Shorten a text to so many letters."""
    return text if len(text) <= letters else text[: letters - 1] + "…"


def wrapped(name: str, letters: int) -> str:
    """Break a name behind its underscores and spaces; what is cut of a long one is not its unit."""
    lines = [""]
    for word in re.findall(r".+?(?:[_ ]+|$)", name):
        if lines[-1] and len(lines[-1] + word.rstrip()) > letters:
            lines.append("")
        lines[-1] += word
    lines = [cut(line.rstrip(), letters) for line in lines]
    if len(lines) <= 3:
        return "\n".join(lines)
    return "\n".join([*lines[:2], _with_unit(lines[2] + "…", name, letters)])


def room_for(names: Sequence[str], least: float) -> float:
    """Return the inches from one name to the next below it, which have several lines."""
    return max(least, 0.05 + 0.135 * max(name.count("\n") + 1 for name in names))


def in_a_line(name: str, letters: int) -> str:
    """Shorten a name to so many letters; what is cut of it is not its unit."""
    return name if len(name) <= letters else _with_unit(name, name, letters)


def _with_unit(text: str, name: str, letters: int) -> str:
    """Cut a text so that the unit of a name has room behind it."""
    unit = re.search(r" \[[^]]*\]$", name)
    ending = unit[0] if unit and len(unit[0]) < letters - 1 else ""
    return text.removesuffix("…")[: letters - 1 - len(ending)] + "…" + ending


def array(tensor: Tensor) -> Array:
    """Return a tensor of any dtype and device as an array of float64."""
    return np.asarray(tensor.detach().cpu().double().numpy())


def log10(condition: Any) -> Array:
    """Return log10 of condition numbers, capped at 16."""
    return np.asarray(np.log10(np.clip(condition, 1.0, 10**CAP)))
