"""Weights & Biases shows histograms and pictures among its charts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lightning_invert.report.loggers.base import Counts, Gallery

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

__all__ = ["WandbGallery"]


class WandbGallery(Gallery):
    """Weights & Biases shows histograms and pictures among its charts."""

    histograms = True
    images = True

    def histogram(self, tag: str, counts: Counts, step: int) -> None:
        """Log it beside the scalars."""
        import wandb

        picture = wandb.Histogram(np_histogram=(counts.counts, counts.edges))
        self.logger.log_metrics({tag: picture}, step)

    def image(self, tag: str, image: npt.NDArray[np.uint8], step: int) -> None:
        """Log it beside the scalars."""
        self.logger.log_image(tag, [image], step)

    def table(self, tag: str, columns: Mapping[str, Sequence[Any]], step: int) -> None:
        """Log it beside the scalars."""
        rows = [list(row) for row in zip(*columns.values(), strict=True)]
        self.logger.log_table(tag, columns=list(columns), data=rows, step=step)
