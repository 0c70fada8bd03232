"""A uniform sample of the points of a stream, in bounded memory and over several processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

__all__ = ["StreamSample"]


class StreamSample:
    r"""Keep ``num_points`` of the rows that pass, each with the same chance.

    Each row draws a random key in [0, 1); the rows with the smallest keys stay. So a batch costs a
    few vector operations, no row is treated alone, and samples of several processes merge into one
    of the same law: the smallest keys of all. (Bottom-k sampling: E. Cohen and H. Kaplan,
    *Summarizing data using bottom-k sketches*, PODC 2007.)

    The keys come from a generator of its own: the global random streams are not touched.

    Args:
        num_points: How many rows to keep at most.
        seed: Seed of the keys.

    Example:
        >>> sample = StreamSample(3, seed=0)
        >>> for batch in torch.arange(100.0).reshape(10, 10, 1):
        ...     sample.add({"x": batch})
        >>> sample.rows()["x"].shape
        torch.Size([3, 1])
    """

    def __init__(self, num_points: int, *, seed: int) -> None:
        self.num_points = num_points
        self._generator = torch.Generator().manual_seed(seed)
        self._keys = torch.empty(0, dtype=torch.float64)
        self._rows: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, batch: Mapping[str, Tensor]) -> None:
        r"""Offer the rows of a batch.

        Args:
            batch: Name -> tensor of shape (B, \*): row i of every tensor belongs to one point.

        Raises:
            ValueError: If the tensors differ in length, or a name's rows in shape from before.
        """
        lengths = {name: len(rows) for name, rows in batch.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(
                "Expected the inputs of all watched maps to have one row for each point of a "
                f"batch, but got {lengths} rows."
            )
        size = next(iter(lengths.values()))
        keys = torch.rand(size, generator=self._generator, dtype=torch.float64)
        self._keep(torch.cat([self._keys, keys]), {n: rows.detach() for n, rows in batch.items()})

    def rows(self) -> dict[str, Tensor]:
        """Return the rows kept, name -> (N, *), in an order that is random but reproducible."""
        return dict(self._rows)

    def merge(self, gather: Callable[[Tensor], Tensor]) -> None:
        """Reduce the samples of several processes to one of ``num_points`` over all of them.

        Each keeps those of its rows that belong to the common sample.

        Args:
            gather: Returns the concatenation of all processes' tensors of shape (num_points,).
        """
        padded = torch.full((self.num_points,), torch.inf, dtype=torch.float64)
        padded[: len(self)] = self._keys
        everywhere = gather(padded).flatten().sort().values
        if len(everywhere) <= self.num_points:
            return
        chosen = self._keys < everywhere[self.num_points]
        self._keys = self._keys[chosen]
        self._rows = {n: rows[chosen.to(rows.device)] for n, rows in self._rows.items()}

    def _keep(self, keys: Tensor, new: Mapping[str, Tensor]) -> None:
        held = len(self._keys)
        # Sorted, so that the same rows in other batches give the same sample in the same order.
        order = keys.argsort()[: self.num_points]
        if held == self.num_points and bool((order < held).all()):
            return
        self._keys = keys[order]
        for name, rows in new.items():
            candidates = torch.cat([self._rows[name], rows]) if name in self._rows else rows
            self._rows[name] = candidates[order.to(rows.device)]
