"""What a logger can show, and where on its axis; here, one that has nothing but scalars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt
    from lightning.pytorch import LightningModule, Trainer
    from torch import Tensor

__all__ = ["Counts", "Gallery", "count", "logger_step"]


def logger_step(trainer: Trainer) -> int:
    """Return the step under which the trainer logs scalars now."""
    # Not `global_step`: that counts each optimizer of a module with several.
    stepped = getattr(trainer.fit_loop.epoch_loop, "_batches_that_stepped", None)
    return int(trainer.global_step if stepped is None else stepped)


class Counts(NamedTuple):
    """A histogram: how many values there are between edges, and their moments."""

    counts: npt.NDArray[np.int64]  # (B,)
    edges: npt.NDArray[np.float64]  # (B + 1,)
    least: float
    most: float
    total: float
    squares: float


def count(
    values: Tensor, low: float | None = None, high: float | None = None, *, bins: int = 64
) -> Counts:
    """Count values in bins of equal width.

    TensorBoard's own ``add_histogram`` would take fifteen hundred bins, and a hundred times as long.

    Args:
        values: Any shape, on the CPU; finite.
        low: Where the first bin begins; by default at the least value.
        high: Where the last bin ends; by default at the greatest.
        bins: How many. Values beyond the ends are counted in the nearest.

    Example:
        >>> import torch
        >>> count(torch.tensor([0, 2, 2]), -0.5, 2.5, bins=3).counts.tolist()
        [1, 0, 2]
    """
    array = values.double().numpy()
    least, most = float(array.min()), float(array.max())
    low, high = least if low is None else low, most if high is None else high
    if not low < high:
        high = low + 1.0
    edges = np.linspace(low, high, bins + 1)
    # As numpy.histogram has it, the last bin being closed; that takes several times as long.
    inside = np.searchsorted(edges, array, side="right") - 1
    counts = np.bincount(inside.clip(0, bins - 1), minlength=bins)
    return Counts(counts, edges, least, most, float(array.sum()), float((array**2).sum()))


class Gallery:
    """The place where a logger shows things; here, one that has nothing but scalars."""

    histograms = False
    images = False

    def __init__(self, logger: Any) -> None:
        self.logger = logger
        self._prefix = f"{logger._prefix}-" if getattr(logger, "_prefix", "") else ""

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Show scalars."""
        self.logger.log_metrics(dict(values), step)

    def histogram(self, tag: str, counts: Counts, step: int) -> None:
        """Show a histogram."""

    def image(self, tag: str, image: npt.NDArray[np.uint8], step: int) -> None:
        """Show a picture, shape (height, width, 3)."""

    def text(self, tag: str, words: str, step: int) -> None:
        """Show words."""

    def table(self, tag: str, columns: Mapping[str, Sequence[Any]], step: int) -> None:
        """Show a table, column by column."""

    def declare(self, trainer: Trainer, module: LightningModule, tags: Sequence[str]) -> None:
        """Announce by which scalars runs are to be compared."""

    def layout(self, charts: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
        """Arrange charts: title of a group -> title of a chart -> tags of its curves."""
