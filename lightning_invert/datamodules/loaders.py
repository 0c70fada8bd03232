"""Training rows in an order that a resumed fit finds again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

__all__ = ["Position", "ResumableLoader", "SeededShuffle"]


class SeededShuffle(Sampler[int]):
    """All rows once an epoch, in an order that follows from the seed and the epoch alone.

    Lightning tells it the epoch. Where nobody does, each iteration is an epoch.

    Args:
        size: Number of rows.
        seed: Any integer.

    Example:
        >>> shuffle = SeededShuffle(5, seed=1)
        >>> first, second = list(shuffle), list(shuffle)
        >>> shuffle.set_epoch(1)
        >>> first == second, second == list(shuffle)
        (False, True)
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.seed = seed
        self.epoch = 0
        self._told = False

    def __len__(self) -> int:
        return self.size

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next."""
        self.epoch, self._told = epoch, True

    def __iter__(self) -> Iterator[int]:
        order = np.random.default_rng((self.seed % 2**64, self.epoch)).permutation(self.size)
        self.epoch += not self._told
        return iter(order.tolist())


@dataclass
class Position:
    """Where a loader is, and where it is to go on.

    Attributes:
        epoch: The epoch of the latest batch; ``None`` where the sampler counts none.
        batches: How many batches of that epoch were handed out.
        start: An epoch, and how many of its batches are to be left out: they were trained on.
    """

    epoch: int | None = None
    batches: int = 0
    start: tuple[int | None, int] = (None, 0)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"epoch": self.epoch, "batches": self.batches}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where the saved loader was."""
        self.epoch, self.batches = state_dict["epoch"], state_dict["batches"]
        self.start = (self.epoch, self.batches)


class ResumableLoader(DataLoader[Tensor]):
    """A ``DataLoader`` that Lightning can resume in the midst of an epoch.

    The batches that were trained on already are read again and left out, so the order has to be
    that of the saved fit: see :class:`SeededShuffle`. A sampler that counts no epochs is not
    resumed.

    Args:
        position: Where it is; shared by loaders that follow each other. The other arguments are
            those of ``DataLoader``.
    """

    def __init__(self, *args: Any, position: Position | None = None, **kwargs: Any) -> None:
        self.position = position or Position()
        super().__init__(*args, **kwargs)

    def __iter__(self) -> Iterator[Tensor]:  # type: ignore[override]
        # Lightning asks for an iterator before it tells the sampler the epoch. Here nothing, not
        # even a worker's first batch, is fetched until the first batch is wanted.
        epoch, position = getattr(self.sampler, "epoch", None), self.position
        resumed = epoch is not None and epoch == position.start[0]
        skipped = position.start[1] if resumed else 0
        for taken, batch in enumerate(super().__iter__(), start=1):
            if taken > skipped:
                position.epoch, position.batches = epoch, taken
                yield batch

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps: Lightning asks."""
        return self.position.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where the saved loader was."""
        self.position.load_state_dict(state_dict)
