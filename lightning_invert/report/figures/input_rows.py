"""A row for each input, of which the most sensitive are shown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lightning_invert.report.figures import style
from lightning_invert.report.figures.style import Array

__all__ = ["input_rows"]

MAX_INPUTS = 24


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
    page = style.sheet(wide, tall + below, title, facts)
    return page.figure, page.panel(left, below, wide - left - right, tall), shown, names
