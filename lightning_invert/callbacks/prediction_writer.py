"""Write the predictions of ``trainer.predict`` to a CSV file."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from lightning_invert.arguments import wrong
from lightning_invert.callbacks.base import Callback
from lightning_invert.tables import unused_path

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

__all__ = ["PredictionWriter"]


class PredictionWriter(Callback):
    """Write predictions to a CSV file, batch by batch, while ``trainer.predict`` runs.

    ``predict_step`` returns a mapping of name -> tensor of shape (N, k) or (N,), or one tensor.
    Columns are named ``{name}/{variable}``. The variables are the module's ``input_names`` for names
    that begin with x and its ``output_names`` for names that begin with y, if their number fits, else
    positions. A tensor of shape (N,) is one column of its name. Each process writes its own file;
    ``.rank1``, ``.rank2``, ... are added to the names of all but the first. An existing file is never
    replaced: a number is added to the name.

    Args:
        file: Where to write; a relative path starts from the trainer's ``log_dir``, or from its
            ``default_root_dir`` where there is no logger.

    Raises:
        ValueError: If ``file`` does not end in ``.csv``.
        TypeError: When predicting, if ``predict_step`` returns neither a tensor nor such a mapping.

    Example:
        >>> PredictionWriter("predictions.csv").file.name
        'predictions.csv'
    """

    def __init__(self, file: str | Path = "predictions.csv") -> None:
        super().__init__()
        if not isinstance(file, str | Path):
            raise TypeError(wrong("file", "the path of a .csv file", file))
        self.file = Path(file)
        if self.file.suffix != ".csv":
            raise ValueError(wrong("file", "the path of a .csv file", file))
        self.written: Path | None = None
        """The file of the latest prediction."""
        self._open: IO[str] | None = None
        self._rows = 0

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open a new file; an existing one stays as it is."""
        path = Path(trainer.log_dir or trainer.default_root_dir) / self.file
        if trainer.global_rank > 0:
            path = path.with_stem(f"{path.stem}.rank{trainer.global_rank}")
        path.parent.mkdir(parents=True, exist_ok=True)
        self.written = unused_path(path)
        self._open = self.written.open("x", newline="", encoding="utf-8")
        self._rows = 0

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Append the predictions of a batch."""
        assert self._open is not None
        tables = _tables(outputs)
        writer = csv.writer(self._open)
        if self._rows == 0:
            writer.writerow(
                column
                for name, table in tables.items()
                for column in _columns(pl_module, name, table)
            )
        parts = [table.reshape(len(table), -1).cpu().double().tolist() for table in tables.values()]
        rows = [[value for part in row for value in part] for row in zip(*parts, strict=True)]
        writer.writerows(rows)
        self._rows += len(rows)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the file and say where it is."""
        self._close()
        rank_zero_info(f"Predictions: {self.written} ({self._rows} rows)")

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Keep what was written."""
        self._close()

    def _close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None


def _tables(outputs: Any) -> dict[str, Tensor]:
    if isinstance(outputs, Tensor):
        return {"prediction": outputs}
    if not isinstance(outputs, Mapping) or not all(isinstance(v, Tensor) for v in outputs.values()):
        raise TypeError(
            "Expected `predict_step` to return a tensor or a mapping of names to tensors, but got "
            f"{type(outputs).__name__}."
        )
    return dict(outputs)


def _columns(pl_module: LightningModule, name: str, table: Tensor) -> list[str]:
    if table.ndim == 1:
        return [name]
    count = table[:1].numel()
    side = {"x": "input_names", "y": "output_names"}.get(name[:1], "")
    names = getattr(pl_module, side, None) if side else None
    labels = names if names and len(names) == count else range(count)
    return [f"{name}/{label}" for label in labels]
