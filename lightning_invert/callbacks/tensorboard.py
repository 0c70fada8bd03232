"""What only TensorBoard can show, and where on its axis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from lightning.pytorch import Trainer
    from torch import Tensor

__all__ = ["histogram", "logger_step", "tensorboard_writers"]


def tensorboard_writers(trainer: Trainer) -> list[Any]:
    """Return the ``SummaryWriter`` of each of the trainer's TensorBoard loggers."""
    # By name, because `lightning` and `pytorch_lightning` each have a class of their own.
    return [
        logger.experiment  # type: ignore[attr-defined]
        for logger in trainer.loggers
        if any(cls.__name__ == "TensorBoardLogger" for cls in type(logger).__mro__)
    ]


def logger_step(trainer: Trainer) -> int:
    """Return the step under which the trainer logs scalars now."""
    # Not `global_step`: that counts each optimizer of a module with several.
    return int(trainer.fit_loop.epoch_loop._batches_that_stepped)


def histogram(
    values: Tensor, low: float | None = None, high: float | None = None, *, bins: int = 64
) -> dict[str, Any]:
    """Count values for ``SummaryWriter.add_histogram_raw``.

    ``add_histogram`` would take fifteen hundred bins of its own choice, and a hundred times as long.

    Args:
        values: Any shape, on the CPU; finite.
        low: Where the first bin begins; by default at the least value.
        high: Where the last bin ends; by default at the greatest.
        bins: How many, of equal width. Values beyond the ends are counted in the nearest.

    Returns:
        The arguments of ``add_histogram_raw``.

    Example:
        >>> import torch
        >>> histogram(torch.tensor([0, 2, 2]), -0.5, 2.5, bins=3)["bucket_counts"]
        [1, 0, 2]
    """
    array = values.double().numpy()
    least, most = float(array.min()), float(array.max())
    low, high = least if low is None else low, most if high is None else high
    if not low < high:
        high = low + 1.0
    counts, edges = np.histogram(array.clip(low, high), bins, (low, high))
    return {
        "min": least,
        "max": most,
        "num": array.size,
        "sum": float(array.sum()),
        "sum_squares": float((array**2).sum()),
        "bucket_limits": edges[1:].tolist(),
        "bucket_counts": counts.tolist(),
    }
