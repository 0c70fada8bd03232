"""Points of any kind, in pieces, as a map takes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_invert.arguments import suggest
from lightning_invert.arrays import as_columns
from lightning_invert.jacobians.evaluation import POWERS
from lightning_invert.tables import TableReader, split_unit
from lightning_invert.watch.maps import WatchedMap
from lightning_invert.watch.points import Points, Shape
from lightning_invert.watch.voice import Voice

__all__ = ["PointSource", "TableRows", "table_points"]

MAX_POINTS_AT_ONCE = 2**15


@dataclass(frozen=True)
class TableRows:
    """The rows of a file; unlike a generator it can be read again."""

    reader: TableReader
    dtype: torch.dtype | None
    fill: Callable[[Tensor], Tensor] | None = None  # what puts numbers into empty cells

    def __iter__(self) -> Iterator[Tensor]:
        for piece in self.reader.read():
            rows = piece.to_torch()
            yield (rows if self.fill is None else self.fill(rows)).to(self.dtype)


def table_points(
    points: Any, watched: WatchedMap, inputs: Sequence[str] | None
) -> tuple[Any, WatchedMap]:
    """Return the rows of a file, a data frame or a dictionary, and the map with their names.

    The columns are ``inputs``, or those that the map names, or else all. Other points stay as they are.
    """
    table = as_columns(points)
    if not isinstance(table, Mapping | str | Path):
        return points, watched
    # A function without weights gets the dtype that its author would have used.
    dtype = None if any(True for _ in watched.owner.parameters()) else torch.get_default_dtype()
    names = inputs or [split_unit(name)[0] for name in watched.input_names or ()]
    rows: Tensor | TableRows
    if isinstance(table, Mapping):
        columns = list(names or table)
        rows = _columns(table, columns).to(dtype)
    else:
        reader = TableReader(table, names or None)
        rows, columns = TableRows(reader, dtype), reader.columns
        if reader.note:
            Voice("analyze").info(f"{reader.note}.")
    return rows, watched if watched.input_names else replace(watched, input_names=columns)


def _columns(table: Mapping[str, Any], names: Sequence[str]) -> Tensor:
    """Stack columns, which are named with their units or without, to float64 (N, n)."""
    by_name = {split_unit(str(column))[0]: column for column in table}
    columns = []
    for name in names:
        column = name if name in table else by_name.get(name)
        if column is None:
            known = [str(known) for known in table]
            raise ValueError(
                f"Expected argument `points` to have a column {name!r}, but it has "
                f"{', '.join(map(repr, known))}.{suggest(name, known)}"
            )
        try:
            columns.append(np.asarray(table[column], dtype=np.float64))
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"Expected column {column!r} of argument `points` to hold numbers: {error}."
            ) from error
    return torch.from_numpy(np.stack(columns, 1))


class PointSource:
    r"""Read points (N, \*) of any kind in pieces, on the device and in the dtype of the map."""

    def __init__(self, points: Any, watched: WatchedMap, *, double: bool) -> None:
        if isinstance(points, np.ndarray):
            points = torch.from_numpy(points)
        if isinstance(points, Tensor):
            points = [points]
        if not isinstance(points, Iterable):
            raise TypeError(
                "Expected argument `points` to be a tensor, an array, a table or an iterable of "
                f"batches, but got {type(points).__name__}."
            )
        self._watched, self._batches = watched, points
        self._shape: Shape | None = None  # of the points that are read; None: that of the first
        self._counts = Counter[Shape]()
        whole = isinstance(points, list) and all(isinstance(part, Tensor) for part in points)
        self.total = sum(map(len, points)) if whole else None
        own = (*watched.owner.parameters(), *watched.owner.buffers())
        floating = [tensor for tensor in own if tensor.is_floating_point()]
        self._device = floating[0].device if floating else None
        own_dtype = next(iter(watched.dtypes), floating[0].dtype if floating else None)
        self._dtype = torch.float64 if double else watched.dtype or own_dtype

    def check_rereadable(self) -> None:
        """Raise ValueError if the points can be read only once."""
        if isinstance(self._batches, Iterator):
            raise ValueError(  # noqa: TRY004  # its type is right, its state is not
                "Expected argument `points` to be something that can be read twice with "
                "`scale='standardized'`, but got an iterator: give a tensor, a list or a "
                "DataLoader."
            )

    def settle(self) -> bool:
        """Tell whether the points that were read have the most frequent shape; else read those next."""
        (frequent, _), *_ = self._counts.most_common(1)
        if self._shape == frequent or isinstance(self._batches, Iterator):
            return True
        self._shape = frequent
        return False

    @property
    def left_out(self) -> str:
        """What to say of points of other shapes; empty if there are none."""
        if self._shape is None or not (rest := self._counts.total() - self._counts[self._shape]):
            return ""
        return (
            f"the points have several shapes. {self._counts[self._shape]} of shape "
            f"{tuple(self._shape[0])} are analyzed; the other {rest} are left out. Pad or crop them, for "
            "all to count."
        )

    def __iter__(self) -> Iterator[Points]:
        is_empty, size = True, 0
        self._counts.clear()
        for batch in self._batches:
            whole = isinstance(batch, Tensor) and not self._watched.contexts
            points = Points.of([batch]) if whole else self._watched.take(batch)
            if points is None:
                continue
            x, size = points.inputs, max(size, len(points))
            # The last batch may be smaller than what the map takes; a tensor may be no batch.
            points = replace(points, frame=replace(points.frame, sizes=(size, *POWERS)))
            if not x.is_floating_point() or x.ndim < 2:
                raise TypeError(
                    "Expected argument `points` to be floating, of shape (N, n), but got "
                    f"{x.dtype} of shape {tuple(x.shape)}."
                )
            self._counts[points.shape] += len(x)
            self._shape = self._shape or points.shape
            if points.shape != self._shape:
                continue
            for begin in range(0, len(x), MAX_POINTS_AT_ONCE):
                is_empty = False
                piece = points[begin : begin + MAX_POINTS_AT_ONCE]
                yield piece.to(self._device, self._dtype)
        if is_empty:
            raise ValueError("Expected argument `points` to hold at least one point, but got none.")
