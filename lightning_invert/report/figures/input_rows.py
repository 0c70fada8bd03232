"""A figure with a row for each input, of which the most sensitive are shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lightning_invert.report.figures import style
from lightning_invert.report.figures.style import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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
    """Return a figure with room for the inputs that move most, one below the other.

    Args:
        labels: Names of the inputs, with their units.
        moves: How far each moves, shape (n,); infinite ones come first.
        letters: Of a name, before it is broken.
        each: Inches from one input to the next, at least.
        wide: Width of the figure in inches.
        margins: Below, left and right, likewise.
        title: What it shows.
        facts: What is said below the title.

    Returns:
        Figure, axes, which inputs are shown, in their order, and their names.
    """
    shown = np.sort(np.argsort(-moves, kind="stable")[:MAX_INPUTS])
    told = list(facts)
    if len(shown) < len(moves):
        told.append(f"the {len(shown)} of {len(moves)} inputs that are the most sensitive")
    names = [style.wrapped(labels[j], letters) for j in shown]
    below, left, right = margins
    room = style.room_for(names, each) * len(shown) + 0.1
    figure, height = style.headed(wide, room + below, title, told)
    axes = figure.add_axes((left / wide, below / height, 1 - (left + right) / wide, room / height))
    return figure, axes, shown, names
