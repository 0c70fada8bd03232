"""Write the predictions of ``trainer.predict`` to a CSV file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from lightning_invert.arguments import expected_but_got
from lightning_invert.callbacks.base import Callback
from lightning_invert.tables import TableWriter
from lightning_invert.variables import Variable

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

__all__ = ["PredictionWriter"]

HEADS = {
    "x": "given/{}",
    "y": "given/{}",
    "y_hat": "predicted/{}",
    "x_hat": "inverse/{}",
    "y_round_trip": "inverse/{}",
    "x_solved": "solved/{}",
    "y_solved": "solved/{}",
    "y_band_low": "solved/{}_band_low",
    "y_band_high": "solved/{}_band_high",
}
"""Heads of the columns of a pair's predictions, by the name of the variable."""


class PredictionWriter(Callback):
    """Write predictions to a CSV file, batch by batch, while ``trainer.predict`` runs.

    ``predict_step`` returns one tensor, or a mapping of name -> tensor. A tensor (N, k) becomes the
    columns ``{name}/0``, ``{name}/1``, ...; a tensor (N,) becomes one column. A pair's columns carry the
    names and units of its variables:

    * ``given/``: the settings and outcomes of the row.
    * ``predicted/``: the outcomes predicted for these settings.
    * ``inverse/``: the settings that the inverse proposes for these outcomes, and what they lead to.
    * ``solved/``: the same of the solver, with the ends of its band.

    An existing file is never replaced: the new name gets a number. Each process writes its own file, with
    ``.rank1``, ``.rank2``, ... in all names but the first. Separator and decimal sign are those of the
    table that a ``TabularDataModule`` read.

    Args:
        file: Where to write. A relative path starts from the trainer's ``log_dir``, or from its
            ``default_root_dir`` if there is no logger.

    Raises:
        ValueError: If ``file`` does not end in ``.csv``.
        TypeError: If ``file`` is no path, or ``predict_step`` returns neither tensor nor mapping.

    Example:
        >>> PredictionWriter("predictions.csv").file.name
        'predictions.csv'
    """

    def __init__(self, file: str | Path = "predictions.csv") -> None:
        super().__init__()
        if not isinstance(file, str | Path):
            raise TypeError(expected_but_got("file", "the path of a .csv file", file))
        self.file = Path(file)
        if self.file.suffix != ".csv":
            raise ValueError(expected_but_got("file", "the path of a .csv file", file))
        self.written: Path | None = None
        """The file of the latest prediction."""
        self._table: TableWriter | None = None

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Choose a new file; an existing one stays as it is."""
        path = Path(trainer.log_dir or trainer.default_root_dir) / self.file
        if trainer.global_rank > 0:
            path = path.with_stem(f"{path.stem}.rank{trainer.global_rank}")
        # The data module has read its table by now.
        data = getattr(trainer, "datamodule", None)
        self._table = TableWriter(path, getattr(data, "table_format", None))
        self.written = self._table.path

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Append the predictions of a batch."""
        assert self._table is not None
        columns: dict[str, Any] = {}
        for name, tensor in _tensors(outputs).items():
            values = tensor.reshape(len(tensor), -1).cpu().double().numpy().T
            for head, column in zip(_names(pl_module, name, tensor), values, strict=True):
                columns[f"{head} ({name})" if head in columns else head] = column
        self._table.write(columns)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log where the file is."""
        assert self._table is not None
        rank_zero_info(f"Predictions: {self.written} ({self._table.rows} rows)")


def _tensors(outputs: Any) -> dict[str, Tensor]:
    if isinstance(outputs, Tensor):
        return {"prediction": outputs}
    if not isinstance(outputs, Mapping) or not all(isinstance(v, Tensor) for v in outputs.values()):
        raise TypeError(
            "Expected `predict_step` to return a tensor or a mapping of names to tensors, but got "
            f"{type(outputs).__name__}."
        )
    return dict(outputs)


def _names(pl_module: LightningModule, name: str, tensor: Tensor) -> list[str]:
    if tensor.ndim == 1:
        return [name]
    variables: Any = getattr(pl_module, "inputs" if name[:1] == "x" else "outputs", None)
    count = tensor[:1].numel()
    is_named = isinstance(variables, tuple) and len(variables) == count and name in HEADS
    if not is_named or not all(isinstance(variable, Variable) for variable in variables):
        return [f"{name}/{place}" for place in range(count)]
    return [v._replace(name=HEADS[name].format(v.name)).label for v in variables]
