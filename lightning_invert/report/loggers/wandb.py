"""Weights & Biases shows histograms and pictures among its charts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lightning_invert.report.loggers.counts import Counts
from lightning_invert.report.loggers.gallery import Gallery

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

__all__ = ["WandbGallery"]


class WandbGallery(Gallery, logger="WandbLogger"):
    """Weights & Biases shows histograms and pictures among its charts."""

    histograms = True
    images = True

    def _histogram(self, tag: str, counts: Counts, step: int) -> None:
        import wandb

        picture = wandb.Histogram(np_histogram=(counts.counts, counts.edges))
        self.logger.log_metrics({tag: picture}, step)

    def _image(self, tag: str, image: npt.NDArray[np.uint8], step: int) -> None:
        self.logger.log_image(tag, [image], step)

    def _table(self, tag: str, columns: Mapping[str, Sequence[Any]], step: int) -> None:
        rows = [list(row) for row in zip(*columns.values(), strict=True)]
        self.logger.log_table(tag, columns=list(columns), data=rows, step=step)
