"""The random streams of training, as a checkpoint keeps them."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

__all__ = ["everywhere", "random_streams", "set_random_streams"]


def random_streams(device: torch.device) -> dict[str, Any]:
    """Return where torch's, Python's and NumPy's streams are, in plain values and tensors.

    Args:
        device: The one that is trained on: a CUDA device has a stream of its own.

    Example:
        >>> before = random_streams(torch.device("cpu"))
        >>> drawn = torch.rand(3), random.random(), np.random.rand()
        >>> set_random_streams(before, torch.device("cpu"))
        >>> torch.equal(torch.rand(3), drawn[0]), random.random() == drawn[1]
        (True, True)
    """
    kind, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002  # a network may draw from it
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "python": random.getstate(),
        # The restricted reader of checkpoints admits no arrays.
        "numpy": (kind, torch.tensor(np.asarray(keys, dtype=np.int64)), *rest),
    }


def set_random_streams(streams: dict[str, Any], device: torch.device) -> None:
    """Go on with the streams where :func:`random_streams` found them."""
    torch.set_rng_state(streams["torch"])
    if device.type == "cuda" and streams["cuda"] is not None:
        torch.cuda.set_rng_state(streams["cuda"], device)
    random.setstate(streams["python"])
    kind, keys, *rest = streams["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002


def everywhere(mine: Any, world_size: int) -> list[Any]:
    """Return what every process passes here, in the order of their ranks."""
    found: list[Any] = [mine] * world_size
    if world_size > 1:
        torch.distributed.all_gather_object(found, mine)
    return found
