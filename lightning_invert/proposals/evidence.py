"""Known points: random rows of the training and validation data, and the last rows that were tried."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_invert.arrays import Placement, TensorLike, read_tensor
from lightning_invert.doorway import Shown
from lightning_invert.sampling import StreamSample
from lightning_invert.solver.rows import finite_rows

__all__ = ["Evidence"]

SPLITS = ("train", "val")


class Evidence(Shown):
    """Keep random rows of the training and the validation split, in physical units.

    Rows are taken as they pass by, until their split is complete; :meth:`of` takes tensors instead. Beside
    them it keeps the last rows that were tried and measured (the split ``"tried"``), and ``missed`` (J,):
    which of all rows ever tried missed their bands.

    Args:
        num_points: Most rows to keep of each split; 0: none.
        seed: Seed of the choice.
    """

    def __init__(self, num_points: int, seed: int = 0) -> None:
        self.num_points = num_points
        self._seed = seed
        self._samples: dict[str, StreamSample] = {}
        self._complete: set[str] = set()
        self._tried: dict[str, Tensor] = {}
        self.missed = torch.zeros(0, dtype=torch.bool)
        self.begin()

    @classmethod
    def of(
        cls,
        train: tuple[TensorLike, TensorLike],
        val: tuple[TensorLike, TensorLike],
        *,
        num_points: int = 4096,
        seed: int = 0,
    ) -> Evidence:
        """Return the evidence of known points.

        Args:
            train: Inputs (K, n) and outputs (K, m) that the function was trained on.
            val: Inputs and outputs that it was not trained on, by which it is judged.
            num_points: Most rows to keep of each split.
            seed: Seed of the choice.

        Raises:
            TypeError: If a part does not hold numbers.
            ValueError: If inputs and outputs are not tables with the same number of rows.

        Example:
            >>> x = torch.randn(300, 2)
            >>> evidence = Evidence.of(train=(x[:200], x[:200]), val=(x[200:], x[200:]))
            >>> len(evidence.rows("val")[0])
            100
        """
        evidence = cls(num_points, seed)
        float64 = Placement(torch.float64, torch.device("cpu"))
        for split, pair in zip(SPLITS, (train, val), strict=True):
            x, y = (read_tensor(split, side, float64) for side in pair)
            if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
                raise ValueError(
                    f"Expected argument `{split}` to be inputs (K, n) and outputs (K, m), but got "
                    f"{tuple(x.shape)} and {tuple(y.shape)}."
                )
            evidence.add(split, x, y)
            evidence.complete(split)
        return evidence

    def begin(self, process: int = 0) -> None:
        """Forget all rows. ``process`` is the number of this process: each draws at other places."""
        seed = self._seed + process * len(SPLITS)
        self._samples = {
            split: StreamSample(self.num_points, seed=seed + place)
            for place, split in enumerate(SPLITS)
        }
        self._complete = set() if self.num_points else set(SPLITS)
        self._tried, self.missed = {}, torch.zeros(0, dtype=torch.bool)

    def add(self, split: str, x: Tensor, y: Tensor) -> None:
        """Offer the rows of a batch, (N, n) and (N, m), unless the split is complete.

        Rows that are not finite are left out.
        """
        if split in self._complete:
            return
        rows = x.flatten(1).double(), y.flatten(1).double()
        finite = finite_rows(*rows)
        self._samples[split].add({"x": rows[0][finite], "y": rows[1][finite]})

    def add_tried(self, x: Tensor, y: Tensor, missed: Tensor) -> None:
        """Add tried rows, (N, n) and (N, m), float64, and whether each missed its band, (N,)."""
        before = self._tried or {"x": x[:0], "y": y[:0]}
        rows = {side: torch.cat([before[side], new]) for side, new in (("x", x), ("y", y))}
        self._tried = {side: part[-self.num_points :] for side, part in rows.items()}
        self.missed = torch.cat([self.missed, missed])

    def complete(
        self, split: str, gather: Callable[[Any], Sequence[Any]] = lambda mine: [mine]
    ) -> None:
        """Close a split, unless no process has rows of it.

        ``gather`` returns what every process passed to it: their samples become one.
        """
        if split not in self._complete and any(gather(len(self._samples[split]))):
            self._samples[split].merge(gather)
            self._complete.add(split)

    def rows(self, split: str) -> tuple[Tensor, Tensor] | None:
        """Return x (K, n) and y (K, m) of a split, float64; ``None`` if it has no rows."""
        rows = self._tried if split == "tried" else self._samples[split].rows()
        return (rows["x"], rows["y"]) if rows and len(rows["x"]) else None

    def state_dict(self) -> dict[str, Any]:
        """Return the rows and the state of the draw, in tensors and plain values."""
        drawn = {
            split: {**sample.state_dict(), "complete": split in self._complete}
            for split, sample in self._samples.items()
        }
        return {**drawn, "tried": {"rows": self._tried, "missed": self.missed}}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load all rows that :meth:`state_dict` returned, unless ``num_points`` is 0."""
        self.begin()
        if not self.num_points:
            return
        try:
            for split, state in state_dict.items():
                if split == "tried":
                    self._load_tried(state["rows"], state["missed"])
                    continue
                sample = self._samples[split]
                sample.load_state_dict(state)
                _check_rows(sample.rows(), len(sample))
                if state["complete"]:
                    self._complete.add(split)
        except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ValueError(
                f"Expected the checkpoint to keep rows of its data, but they are damaged: {error}."
            ) from error

    def _load_tried(self, rows: Mapping[str, Tensor], missed: Tensor) -> None:
        self._tried = {side: part.cpu() for side, part in rows.items()}
        self.missed = missed.cpu()
        count = len(self._tried["x"]) if self._tried else 0
        _check_rows(self._tried, count)
        if missed.dtype != torch.bool or missed.ndim != 1 or len(missed) < count:
            raise ValueError("tried rows that nobody judged")


def _check_rows(rows: Mapping[str, Tensor], count: int) -> None:
    """Raise a ValueError for rows that are no x (count, n) and y (count, m), float64 and finite."""
    parts = [rows[side] for side in ("x", "y")] if rows else []
    if not all(p.ndim == 2 and p.dtype == torch.float64 and p.isfinite().all() for p in parts):
        raise ValueError("rows of another shape or dtype, or that are not finite")
    if {count, *map(len, parts)} != {count}:
        raise ValueError("rows that do not fit each other")
