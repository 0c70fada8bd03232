"""TensorBoard shows everything. Its private names, and those of Lightning's logger, are here alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from lightning.pytorch import LightningModule, Trainer

from lightning_invert.report.loggers.gallery import Counts, Gallery, Image

__all__ = ["TensorBoardGallery"]


class TensorBoardGallery(Gallery, logger="TensorBoardLogger"):
    """Show everything; figures as wide as a card."""

    width = 350

    def _scalars(self, values: Mapping[str, float], step: int) -> None:
        file = self._file
        if file is None:
            super()._scalars(values, step)
            return
        # All in one event: the queue before the file holds ten, and then one waits for the disk.
        from tensorboard.compat.proto.summary_pb2 import Summary

        shown = [Summary.Value(tag=self._prefix + tag, simple_value=values[tag]) for tag in values]
        file.add_summary(Summary(value=shown), step)

    def _histogram(self, tag: str, counts: Counts, step: int) -> None:
        self.logger.experiment.add_histogram_raw(
            self._prefix + tag,
            min=counts.least,
            max=counts.most,
            num=int(counts.counts.sum()),
            sum=counts.total,
            sum_squares=counts.squares,
            bucket_limits=counts.edges[1:].tolist(),
            bucket_counts=counts.counts.tolist(),
            global_step=step,
        )

    def _image(self, tag: str, image: Image, step: int) -> None:
        self.logger.experiment.add_image(self._prefix + tag, image, step, dataformats="HWC")

    def _text(self, tag: str, words: str, step: int) -> None:
        self.logger.experiment.add_text(self._prefix + tag, words, step)

    def _layout(self, charts: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
        # No "Margin" among them: TensorBoard shows those of a group backwards, after all others.
        def multiline(tags: Sequence[str]) -> list[Any]:
            return ["Multiline", [self._prefix + tag for tag in tags]]

        named = {
            group: {title: multiline(tags) for title, tags in members.items()}
            for group, members in charts.items()
        }
        self.logger.experiment.add_custom_scalars(named)

    def _declare(self, trainer: Trainer, module: LightningModule) -> None:
        # Lightning is about to write a point of `hp_metric`, and to declare it as the one column. Of
        # several runs, the columns that one declares are those of all: where none does, TensorBoard has
        # a column for each scalar of any. Who has switched that off makes a declaration of their own.
        file = self._file
        if not getattr(self.logger, "_default_hp_metric", False) or file is None:
            return
        data = trainer.datamodule  # type: ignore[attr-defined]
        parts = [p for p in (module, data) if getattr(p, "_log_hyperparams", False)]
        params = {k: v for part in parts for k, v in part.hparams_initial.items()}
        params.pop("_class_path", None)
        # What Lightning makes of parameters that TensorBoard does not take is its own affair; and
        # without a private name that is gone, the table is Lightning's.
        with suppress(Exception):
            from lightning.fabric.utilities.logger import _convert_params, _flatten_dict
            from torch.utils.tensorboard.summary import hparams

            flat = self.logger._sanitize_params(_flatten_dict(_convert_params(params)))
            # As numbers, which torch makes of them, they would be 0.0000 and 1.0000.
            words = {k: str(v).lower() if isinstance(v, bool) else v for k, v in flat.items()}
            _, begin, _ = hparams(words, {})
            if params:
                file.add_summary(begin)
            self._guard.declared.add(id(self.logger))
            self.logger._default_hp_metric = False

    def start(self) -> None:
        """Give Lightning's logger its ``hp_metric`` back."""
        if id(self.logger) in self._guard.declared:
            self.logger._default_hp_metric = True
            self._guard.declared.discard(id(self.logger))

    @property
    def _file(self) -> Any:
        """What writes events, or ``None`` where it is not torch's (but tensorboardX's)."""
        writer = self.logger.experiment
        if type(writer).__module__ != "torch.utils.tensorboard.writer":
            return None
        file = getattr(writer, "_get_file_writer", lambda: None)()
        return file if hasattr(file, "add_summary") else None
