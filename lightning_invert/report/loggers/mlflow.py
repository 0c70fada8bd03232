"""MLflow keeps pictures as artifacts of the run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lightning_invert.report.loggers.gallery import Gallery
from lightning_invert.report.worst_points import to_csv

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

__all__ = ["MLFlowGallery"]


class MLFlowGallery(Gallery, logger="MLFlowLogger"):
    """MLflow keeps pictures as artifacts of the run."""

    images = True

    def _image(self, tag: str, image: npt.NDArray[np.uint8], step: int) -> None:
        file = f"{self._prefix}{tag}/step_{step}.png"
        self.logger.experiment.log_image(self.logger.run_id, image, file)

    def _table(self, tag: str, columns: Mapping[str, Sequence[Any]], step: int) -> None:
        text = to_csv(columns)
        self.logger.experiment.log_text(self.logger.run_id, text, f"{self._prefix}{tag}.csv")
