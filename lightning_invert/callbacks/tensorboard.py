"""What only TensorBoard can show, and where on its axis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

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
        values: Any shape; finite.
        low: Where the first bin begins; by default at the least value.
        high: Where the last bin ends; by default at the greatest.
        bins: How many, of equal width. Values beyond the ends are counted in the nearest.

    Returns:
        The arguments of ``add_histogram_raw``.

    Example:
        >>> histogram(torch.tensor([0, 2, 2]), -0.5, 2.5, bins=3)["bucket_counts"]
        [1.0, 0.0, 2.0]
    """
    values = values.double()
    least, most = values.min().item(), values.max().item()
    low, high = least if low is None else low, most if high is None else high
    if not low < high:
        high = low + 1.0
    counts = torch.histc(values.clamp(low, high), bins=bins, min=low, max=high)
    return {
        "min": least,
        "max": most,
        "num": values.numel(),
        "sum": values.sum().item(),
        "sum_squares": values.square().sum().item(),
        "bucket_limits": torch.linspace(low, high, bins + 1, dtype=torch.float64)[1:].tolist(),
        "bucket_counts": counts.tolist(),
    }
