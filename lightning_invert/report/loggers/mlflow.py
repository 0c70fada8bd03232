"""MLflow keeps pictures as artifacts of the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightning_invert.report.loggers.gallery import Gallery, Image
from lightning_invert.report.worst_points import to_csv


class MLFlowGallery(Gallery, logger="MLFlowLogger"):
    """Show pictures and tables as artifacts."""

    def _image(self, tag: str, image: Image, step: int) -> None:
        file = f"{self._prefix}{tag}/step_{step}.png"
        self.logger.experiment.log_image(self.logger.run_id, image, file)

    def _table(self, tag: str, columns: Mapping[str, Sequence[Any]], step: int) -> None:
        text = to_csv(columns)
        self.logger.experiment.log_text(self.logger.run_id, text, f"{self._prefix}{tag}.csv")
