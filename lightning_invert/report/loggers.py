"""How each logger shows what was seen, and where on its axis."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only

from lightning_invert.report.worst_points import to_csv

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt
    from lightning.pytorch import LightningModule, Trainer
    from torch import Tensor

__all__ = ["Counts", "Gallery", "count", "declare_metrics", "galleries", "logger_step", "notice"]

WATCHED_MOST = ("full_rank_fraction", "stable_fraction", "log10_cond_median", "log10_cond_p95")
"""What the table of hyperparameters compares runs by."""


def logger_step(trainer: Trainer) -> int:
    """Return the step under which the trainer logs scalars now."""
    # Not `global_step`: that counts each optimizer of a module with several.
    return int(trainer.fit_loop.epoch_loop._batches_that_stepped)


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
    counts, edges = np.histogram(array.clip(low, high), bins, (low, high))
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

    def layout(self, charts: Mapping[str, tuple[str, list[str]]]) -> None:
        """Arrange charts: title -> kind and tags, as in ``SummaryWriter.add_custom_scalars``."""


class TensorBoardGallery(Gallery):
    """TensorBoard shows everything."""

    histograms = True
    images = True

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Show them under *Scalars*."""
        writer = self.logger.experiment
        if type(writer).__module__ != "torch.utils.tensorboard.writer":  # tensorboardX
            super().scalars(values, step)
            return
        # All in one event: the queue before the file holds ten, and then one waits for the disk.
        from tensorboard.compat.proto.summary_pb2 import Summary

        shown = [
            Summary.Value(tag=self._prefix + tag, simple_value=value)
            for tag, value in values.items()
        ]
        writer._get_file_writer().add_summary(Summary(value=shown), step)

    def histogram(self, tag: str, counts: Counts, step: int) -> None:
        """Show it under *Histograms* and *Distributions*."""
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

    def image(self, tag: str, image: npt.NDArray[np.uint8], step: int) -> None:
        """Show it under *Images*."""
        self.logger.experiment.add_image(self._prefix + tag, image, step, dataformats="HWC")

    def text(self, tag: str, words: str, step: int) -> None:
        """Show them under *Text*."""
        self.logger.experiment.add_text(self._prefix + tag, words, step)

    def layout(self, charts: Mapping[str, tuple[str, list[str]]]) -> None:
        """Open *Custom scalars* on the charts."""
        named = {
            title: [kind, [self._prefix + tag for tag in tags]]
            for title, (kind, tags) in charts.items()
        }
        self.logger.experiment.add_custom_scalars({"invertibility": named})


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


class MLFlowGallery(Gallery):
    """MLflow keeps pictures as artifacts of the run."""

    images = True

    def image(self, tag: str, image: npt.NDArray[np.uint8], step: int) -> None:
        """Keep it under its tag."""
        file = f"{self._prefix}{tag}/step_{step}.png"
        self.logger.experiment.log_image(self.logger.run_id, image, file)

    def table(self, tag: str, columns: Mapping[str, Sequence[Any]], step: int) -> None:
        """Keep it under its tag, as CSV."""
        text = to_csv(columns)
        self.logger.experiment.log_text(self.logger.run_id, text, f"{self._prefix}{tag}.csv")


_KINDS: dict[str, type[Gallery]] = {
    "TensorBoardLogger": TensorBoardGallery,
    "WandbLogger": WandbGallery,
    "MLFlowLogger": MLFlowGallery,
}


def galleries(trainer: Trainer) -> list[Gallery]:
    """Return one for each of the trainer's loggers."""
    # By name, because `lightning` and `pytorch_lightning` each have classes of their own, and
    # because none of these packages is to be imported for nothing.
    return [
        next((_KINDS[c.__name__] for c in type(one).__mro__ if c.__name__ in _KINDS), Gallery)(one)
        for one in trainer.loggers
    ]


def notice(trainer: Trainer, *, histograms: bool, images: bool) -> None:
    """Say once what a logger is not going to show, though it was asked for."""
    for gallery in galleries(trainer):
        name = type(gallery.logger).__name__
        missing = [
            what
            for what, asked, shown in (
                ("histograms", histograms, gallery.histograms),
                ("figures", images, gallery.images),
            )
            if asked and not shown
        ]
        if missing and name != "DummyLogger":
            rank_zero_info(
                f"InvertibilityCallback: {name} gets the scalars, but cannot show "
                f"{' or '.join(missing)}."
            )


@rank_zero_only
def declare_metrics(trainer: Trainer, module: LightningModule, maps: Sequence[str]) -> None:
    """Let TensorBoard's table of hyperparameters compare runs by how their maps end."""
    # The first declaration in a run counts, and Lightning is about to make one of `hp_metric`
    # alone. Who has switched that off makes one of their own, which is not to be shadowed.
    from torch.utils.tensorboard.summary import hparams

    for gallery in galleries(trainer):
        logger = gallery.logger
        if not isinstance(gallery, TensorBoardGallery) or not logger._default_hp_metric:
            continue
        data = trainer.datamodule  # type: ignore[attr-defined]
        parts = [part for part in (module, data) if part is not None and part._log_hyperparams]
        params = {k: v for part in parts for k, v in part.hparams_initial.items()}
        params.pop("_class_path", None)
        if not params:
            continue
        tags = [f"invertibility/{name}/{scalar}" for name in maps for scalar in WATCHED_MOST]
        # What Lightning makes of parameters that TensorBoard does not take is its own affair.
        with suppress(Exception):
            flat = logger._sanitize_params(_flat(params))
            declared = dict.fromkeys(["hp_metric", *(gallery._prefix + tag for tag in tags)], 0.0)
            for summary in hparams(flat, declared):
                logger.experiment._get_file_writer().add_summary(summary)


def _flat(params: dict[str, Any]) -> dict[str, Any]:
    from lightning.fabric.utilities.logger import _convert_params, _flatten_dict

    return _flatten_dict(_convert_params(params))
