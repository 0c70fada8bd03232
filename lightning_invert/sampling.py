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

    def __len__(self) -> int:
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
        lengths = {name: len(rows) for name, rows in batch.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(
                "Expected the inputs of all watched maps to have one row for each point of a "
                f"batch, but got {lengths} rows."
            )
        size = next(iter(lengths.values()))
        new_keys = torch.rand(size, generator=self._generator, dtype=torch.float64, device="cpu")
        keys = torch.cat([self._keys, new_keys])
        # Sorted, so that the same rows in other batches give the same sample in the same order.
        order = keys.argsort()[: self.num_points]
        if len(self) == self.num_points and bool((order < len(self)).all()):
            return
        self._keys = keys[order]
        for name, rows in batch.items():
            known = [self._rows[name].to(rows.device)] if name in self._rows else []
            candidates = torch.cat([*known, rows.detach()])
            self._rows[name] = candidates[order.to(rows.device)]

    def rows(self) -> dict[str, Tensor]:
        """Return the sample, name -> (N, *), in a random but reproducible order."""
        return dict(self._rows)

    def merge(self, gather: Callable[[Any], Sequence[Any]]) -> None:
        """Merge the samples of several processes into one; ``gather`` returns the values of all."""
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
        return {
            "keys": self._keys,
            "rows": {name: rows.cpu() for name, rows in self._rows.items()},
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self._keys = state_dict["keys"]
        self._rows = dict(state_dict["rows"])
        self._generator.set_state(state_dict["generator"])

    def _choose(self, order: Tensor) -> None:
        self._keys = self._keys[order]
        self._rows = {name: rows[order.to(rows.device)] for name, rows in self._rows.items()}


def gather_objects(own: Any, world_size: int) -> list[Any]:
    """Return the objects of all processes, in the order of their ranks."""
    parts: list[Any] = [own] * world_size
    if world_size > 1:
        torch.distributed.all_gather_object(parts, own)
    return parts
