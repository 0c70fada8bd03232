"""A uniform sample of the points of a stream, in bounded memory and over several processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["StreamSample", "gather_objects"]


class StreamSample:
    """Sample ``num_points`` rows of a stream, each with the same probability.

    Each row draws a random key in [0, 1); the rows with the smallest keys stay. A batch costs a few
    vector operations, and samples of several processes merge into one of the same law: the smallest
    keys of all. (Bottom-k sampling: E. Cohen and H. Kaplan, *Summarizing data using bottom-k
    sketches*, PODC 2007.) The keys come from a generator of the sample: global random streams stay as they are.
    """

    def __init__(self, num_points: int, *, seed: int) -> None:
        self.num_points = num_points
        self._generator = torch.Generator().manual_seed(seed)
        self._keys = torch.empty(0, dtype=torch.float64, device="cpu")
        self._rows: dict[str, Tensor] = {}
        # Rows of batches that may stay, with their keys: they are taken in when there are many.
        self._waiting: list[tuple[Tensor, dict[str, Tensor]]] = []

    def __len__(self) -> int:
        self._take_in()
        return len(self._keys)

    def __getstate__(self) -> dict[str, Any]:
        # A process that is spawned (`ddp_spawn`) cannot be given two generators.
        return {**vars(self), "_generator": bytes(self._generator.get_state().numpy())}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        drawn = torch.frombuffer(bytearray(state["_generator"]), dtype=torch.uint8)
        self._generator = torch.Generator().set_state(drawn)

    def add(self, batch: Mapping[str, Tensor]) -> None:
        r"""Offer the rows of a batch, name -> (B, \*): row i of every tensor belongs to one point."""
        lengths = {name: rows.shape[0] for name, rows in batch.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(
                "Expected the inputs of all watched maps to have one row for each point of a "
                f"batch, but got {lengths} rows."
            )
        size = next(iter(lengths.values()))
        new_keys = torch.rand(size, generator=self._generator, dtype=torch.float64, device="cpu")
        if self._keys.shape[0] == self.num_points:
            stay = (new_keys < self._keys[-1]).nonzero()[:, 0]
        else:
            stay = new_keys.argsort()[: self.num_points]
        if stay.shape[0] or not self._rows:
            # A copy: a step may change the batch.
            self._waiting.append((new_keys[stay], _chosen(batch, stay)))
            waiting = sum(keys.shape[0] for keys, _ in self._waiting)
            # A device has no room for rows that wait.
            if waiting >= self.num_points or not all(part.is_cpu for part in batch.values()):
                self._take_in()

    def _take_in(self) -> None:
        if not self._waiting:
            return
        parts = [(self._keys, self._rows)] if self._rows else []
        parts += self._waiting
        self._waiting = []
        self._keys = torch.cat([keys for keys, _ in parts])
        self._rows = {
            name: torch.cat([rows[name].to(like.device) for _, rows in parts])
            for name, like in parts[-1][1].items()
        }
        # Sorted, so that the same rows in other batches give the same sample in the same order.
        self._choose(self._keys.argsort()[: self.num_points])

    def rows(self) -> dict[str, Tensor]:
        """Return the sample, name -> (N, *), in a random but reproducible order."""
        self._take_in()
        return dict(self._rows)

    def merge(self, gather: Callable[[Any], Sequence[Any]]) -> None:
        """Merge the samples of several processes into one; ``gather`` returns the values of all."""
        self._take_in()
        everywhere = torch.cat(list(gather(self._keys))).sort().values
        if len(everywhere) > self.num_points:
            # Rows outside the common sample need not travel.
            self._choose((self._keys < everywhere[self.num_points]).nonzero()[:, 0])
        parts = gather((self._keys, {name: rows.cpu() for name, rows in self._rows.items()}))
        self._keys = torch.cat([keys for keys, _ in parts])
        full = [rows for keys, rows in parts if len(keys)]
        names = full[0] if full else ()
        self._rows = {name: torch.cat([rows[name] for rows in full]) for name in names}
        self._choose(self._keys.argsort())

    def state_dict(self) -> dict[str, Any]:
        """Return the sampled rows and the state of the generator, in tensors and plain values."""
        self._take_in()
        return {
            "keys": self._keys,
            "rows": {name: rows.cpu() for name, rows in self._rows.items()},
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self._keys, self._waiting = state_dict["keys"], []
        self._rows = dict(state_dict["rows"])
        self._generator.set_state(state_dict["generator"])

    def _choose(self, order: Tensor) -> None:
        self._keys = self._keys[order]
        self._rows = _chosen(self._rows, order)


def _chosen(rows: Mapping[str, Tensor], order: Tensor) -> dict[str, Tensor]:
    return {
        name: part.detach()[order if part.is_cpu else order.to(part.device)]
        for name, part in rows.items()
    }


def gather_objects(own: Any, world_size: int) -> list[Any]:
    """Return the objects of all processes, in the order of their ranks."""
    parts: list[Any] = [own] * world_size
    if world_size > 1:
        torch.distributed.all_gather_object(parts, own)
    return parts
