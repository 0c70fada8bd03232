"""A uniform sample of the points of a stream, in bounded memory and over several processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["StreamSample", "gathered"]


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
        first: Keep the first rows instead: of several processes, about as many of each.

    Example:
        >>> sample = StreamSample(3, seed=0)
        >>> for batch in torch.arange(100.0).reshape(10, 10, 1):
        ...     sample.add({"x": batch})
        >>> sample.rows()["x"].shape
        torch.Size([3, 1])
    """

    def __init__(self, num_points: int, *, seed: int, first: bool = False) -> None:
        self.num_points = num_points
        self.first = first
        self._passed = 0
        self._generator = torch.Generator().manual_seed(seed)
        self._tie_break = seed % 2**40 / 2**40
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
        for name, rows in batch.items():
            if name in self._rows and rows.shape[1:] != self._rows[name].shape[1:]:
                raise ValueError(
                    f"Expected the input of map {name!r} to have the same shape in every batch, "
                    f"but got {tuple(rows.shape)} after rows of shape "
                    f"{tuple(self._rows[name].shape[1:])}. Pad or crop it: maps={{{name!r}: "
                    "{'module': ..., 'input': <callable>}}."
                )
        size = next(iter(lengths.values()))
        if self.first:
            # Seeds differ between processes, and so do their keys.
            keys = self._passed + self._tie_break + torch.arange(size, dtype=torch.float64)
        else:
            keys = torch.rand(size, generator=self._generator, dtype=torch.float64)
        self._passed += size
        self._keep(torch.cat([self._keys, keys]), {n: rows.detach() for n, rows in batch.items()})

    def rows(self) -> dict[str, Tensor]:
        """Return the rows kept, name -> (N, *), in an order that is random but reproducible."""
        return dict(self._rows)

    def merge(self, gather: Callable[[Any], Sequence[Any]]) -> None:
        """Make one sample of ``num_points`` of those of several processes, the same on each.

        Args:
            gather: Returns what every process passed to it, in the same order on each: as
                ``torch.distributed.all_gather_object`` finds it.
        """
        everywhere = torch.cat(list(gather(self._keys))).sort().values
        if len(everywhere) > self.num_points:
            # What does not belong to the common sample need not travel.
            self._choose((self._keys < everywhere[self.num_points]).nonzero()[:, 0])
        parts = gather((self._keys, {name: rows.cpu() for name, rows in self._rows.items()}))
        self._keys = torch.cat([keys for keys, _ in parts])
        full = [rows for keys, rows in parts if len(keys)]
        names = full[0] if full else ()
        self._rows = {name: torch.cat([rows[name] for rows in full]) for name in names}
        self._choose(self._keys.argsort())

    def state_dict(self) -> dict[str, Any]:
        """Return the rows that are kept and where the draw is, in tensors and plain values."""
        return {
            "keys": self._keys,
            "rows": {name: rows.cpu() for name, rows in self._rows.items()},
            "passed": self._passed,
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on with the sample that :meth:`state_dict` returned."""
        self._keys, self._passed = state_dict["keys"], state_dict["passed"]
        self._rows = dict(state_dict["rows"])
        self._generator.set_state(state_dict["generator"])

    def _choose(self, order: Tensor) -> None:
        self._keys = self._keys[order]
        self._rows = {name: rows[order.to(rows.device)] for name, rows in self._rows.items()}

    def _keep(self, keys: Tensor, new: Mapping[str, Tensor]) -> None:
        held = len(self._keys)
        # Sorted, so that the same rows in other batches give the same sample in the same order.
        order = keys.argsort()[: self.num_points]
        if held == self.num_points and bool((order < held).all()):
            return
        self._keys = keys[order]
        for name, rows in new.items():
            candidates = (
                torch.cat([self._rows[name].to(rows), rows]) if name in self._rows else rows
            )
            self._rows[name] = candidates[order.to(rows.device)]


def gathered(mine: Any, world_size: int) -> list[Any]:
    """Return what every process passes here, in the order of their ranks."""
    parts: list[Any] = [mine] * world_size
    if world_size > 1:
        torch.distributed.all_gather_object(parts, mine)
    return parts
