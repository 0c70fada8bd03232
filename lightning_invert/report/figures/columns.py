"""Sort points into columns along one input."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from lightning_invert.report.figures import Array, style
from lightning_invert.watch.numerals import short

__all__ = ["Columns", "sort_into_columns"]

MAX_COLUMNS = 10


class Columns(NamedTuple):
    """The columns along one input, and which of them each point is in."""

    edges: Array  # (C + 1,), as drawn
    column: Array  # (N,)
    ticks: list[tuple[float, str]]


def sort_into_columns(x: Array) -> Columns:
    """Sort values (N,) into columns of about equal numbers; few repeated values get one each."""
    low, high = float(x.min()), float(x.max())
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        half = max(abs(low), 1.0) / 2
        edges = np.array([low - half, low + half])
        return Columns(edges, np.zeros(len(x), dtype=int), [(low, short(low))])
    most = min(MAX_COLUMNS, max(2, round(math.sqrt(len(x)))))
    values = np.unique(x)
    if len(values) <= most:
        inner = (values[:-1] + values[1:]) / 2
        edges = np.array([1.5 * low - values[1] / 2, *inner, 1.5 * high - values[-2] / 2])
        return Columns(edges, _locate(inner, x), style.ticks(low, high))
    return _with_ends_apart(x, most)


def _with_ends_apart(x: Array, most: int) -> Columns:
    """Give the lowest and the highest value a column of their own if they have enough points."""
    low, high = x.min(), x.max()
    apart = [bool((x == end).sum() > len(x) / most) for end in (low, high)]
    rest = x[~((x == low) & apart[0]) & ~((x == high) & apart[1])]
    begin, stop = float(rest.min()), float(rest.max())
    number = max(1, round(most * len(rest) / len(x)))
    edges = np.unique(np.quantile(rest, np.linspace(0, 1, number + 1)))
    if len(edges) < 2:
        edges = np.array([begin - (begin - low) / 3, stop + (high - stop) / 3])
    first, last = edges[0], edges[-1]
    width = (last - first) / 9
    column = _locate(edges[1:-1], x) + 2 * apart[0]
    ticks = style.ticks(begin, stop)
    if apart[0]:
        edges = np.concatenate([first - width * np.array([1.5, 0.4]), edges])
        ticks = [tick for tick in ticks if tick[0] > begin + 2.5 * width]
        ticks.insert(0, (float(first - 0.95 * width), f"={short(low)}"))
        column[x == low] = 0
    if apart[1]:
        edges = np.concatenate([edges, last + width * np.array([0.4, 1.5])])
        ticks = [tick for tick in ticks if tick[0] < stop - 2.5 * width]
        ticks.append((float(last + 0.95 * width), f"={short(high)}"))
        column[x == high] = len(edges) - 2
    return Columns(edges, column, ticks)


def _locate(inner: Array, x: Array) -> Array:
    return np.asarray(np.searchsorted(inner, x, side="right"))
