"""What a pair keeps of its data: where its proposals begin, and what they are judged by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_invert.sampling import StreamSample
from lightning_invert.solver.rows import finite_rows

__all__ = ["Evidence"]

SPLITS = ("train", "val")


class Evidence:
    """Random rows of the training and of the validation split, in physical units.

    They are taken as they pass, in the first epoch of a fit: no loader is read for them.

    Args:
        num_points: How many rows of each split are kept at most; 0: none.
        seed: Of the choice.

    Example:
        >>> evidence = Evidence(100)
        >>> for x in torch.randn(50, 16, 7):
        ...     evidence.add("train", x, x[:, :4])
        >>> evidence.complete("train")
        >>> x, y = evidence.rows("train")
        >>> x.shape, y.shape
        (torch.Size([100, 7]), torch.Size([100, 4]))
    """

    def __init__(self, num_points: int, seed: int = 0) -> None:
        self.num_points = num_points
        self._seed = seed
        self._kept: dict[str, StreamSample] = {}
        self._complete: set[str] = set()
        self.begin()

    def begin(self, process: int = 0) -> None:
        """Forget all rows.

        Args:
            process: The number of this process: each draws by itself, or the rows that they keep
                would be at the same places in each.
        """
        seed = self._seed + process * len(SPLITS)
        self._kept = {
            split: StreamSample(self.num_points, seed=seed + place)
            for place, split in enumerate(SPLITS)
        }
        self._complete = set() if self.num_points else set(SPLITS)

    def add(self, split: str, x: Tensor, y: Tensor) -> None:
        """Offer the rows of a batch, (N, n) and (N, m), unless the split has been seen whole.

        Rows that are not finite count for nothing.
        """
        if split in self._complete:
            return
        rows = x.flatten(1).double(), y.flatten(1).double()
        finite = finite_rows(*rows)
        self._kept[split].add({"x": rows[0][finite], "y": rows[1][finite]})

    def complete(
        self, split: str, gather: Callable[[Any], Sequence[Any]] = lambda mine: [mine]
    ) -> None:
        """Say that a split has been seen whole.

        Args:
            split: Which.
            gather: Returns what every process passed to it, to make one sample of all of theirs.
        """
        if split not in self._complete and any(gather(len(self._kept[split]))):
            self._kept[split].merge(gather)
            self._complete.add(split)

    def rows(self, split: str) -> tuple[Tensor, Tensor] | None:
        """Return x, (K, n), and y, (K, m), of a split, in float64; ``None`` if there are none."""
        rows = self._kept[split].rows()
        return (rows["x"], rows["y"]) if len(self._kept[split]) else None

    def state_dict(self) -> dict[str, Any]:
        """Return all of it, in tensors and plain values."""
        return {
            split: {**sample.state_dict(), "complete": split in self._complete}
            for split, sample in self._kept.items()
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what :meth:`state_dict` returned, unless no rows are to be kept.

        However many there are: a sample of them would be no better.

        Raises:
            ValueError: If it is damaged.
        """
        self.begin()
        if not self.num_points:
            return
        try:
            for split, state in state_dict.items():
                self._kept[split].load_state_dict(state)
                held = self._kept[split].rows()
                rows = [held[side] for side in ("x", "y")] if held else []
                if not all(
                    part.ndim == 2 and part.dtype == torch.float64 and part.isfinite().all()
                    for part in rows
                ):
                    raise ValueError("rows of another shape or dtype, or that are not finite")
                lengths = {len(self._kept[split]), *map(len, rows)}
                if len(lengths) > 1:
                    raise ValueError("rows that do not fit each other")
                if state["complete"]:
                    self._complete.add(split)
        except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ValueError(
                f"Expected the checkpoint to keep rows of its data, but they are damaged: {error}."
            ) from error
