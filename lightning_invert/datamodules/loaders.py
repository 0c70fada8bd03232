"""Training rows in an order that follows from a seed and the epoch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

__all__ = ["SeededShuffle", "ShuffledLoader"]


class SeededShuffle(Sampler[int]):
    """Shuffle the rows of each epoch; the order depends on the seed and the epoch alone.

    Lightning sets the epoch. Without :meth:`set_epoch`, each iteration counts as an epoch.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.seed = seed
        self.epoch = 0
        self._counts_iterations = True

    def __len__(self) -> int:
        return self.size

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch whose order the next iterations have."""
        self.epoch, self._counts_iterations = epoch, False

    def __iter__(self) -> Iterator[int]:
        order = np.random.default_rng((self.seed % 2**64, self.epoch)).permutation(self.size)
        self.epoch += self._counts_iterations
        return iter(order.tolist())


class ShuffledLoader(DataLoader[Tensor]):
    """A ``DataLoader`` that fetches nothing before its first batch is wanted.

    A resumed fit asks for an iterator before it sets the epoch, and workers would fetch the rows of
    another epoch.
    """

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        yield from super().__iter__()
