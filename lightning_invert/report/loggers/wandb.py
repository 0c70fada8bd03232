"""Weights & Biases shows histograms and pictures among its charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightning_invert.report.loggers.gallery import Counts, Gallery, Image


class WandbGallery(Gallery, logger="WandbLogger"):
    """Show histograms, pictures and tables among the charts."""

    def _histogram(self, tag: str, counts: Counts, step: int) -> None:
        import wandb

        picture = wandb.Histogram(np_histogram=(counts.counts, counts.edges))
        self.logger.log_metrics({tag: picture}, step)

    def _image(self, tag: str, image: Image, step: int) -> None:
        self.logger.log_image(tag, [image], step)

    def _table(self, tag: str, columns: Mapping[str, Sequence[Any]], step: int) -> None:
        rows = [list(row) for row in zip(*columns.values(), strict=True)]
        self.logger.log_table(tag, columns=list(columns), data=rows, step=step)
