"""Settings and outcomes of batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["split_batch"]


def split_batch(batch: Any, *, complete: bool = True) -> tuple[Any, Any]:
    """Return (x, y) of a batch: a sequence of two, or a mapping with the keys x and y.

    With ``complete``, both have to be there; else the other one is ``None``.

    Example:
        >>> split_batch(("settings", "outcomes")), split_batch({"y": 1.0}, complete=False)
        (('settings', 'outcomes'), (None, 1.0))
    """
    if isinstance(batch, Mapping):
        x, y = batch.get("x"), batch.get("y")
    elif isinstance(batch, Sequence) and len(batch) == 2:
        x, y = batch
    else:
        x = y = None
    if (complete and (x is None or y is None)) or (x is None and y is None):
        got = list(batch) if isinstance(batch, Mapping) else type(batch).__name__
        raise TypeError(
            "Expected a batch to be a pair (x, y) of tensors or a mapping with the keys 'x' and "
            f"'y', but got {got}."
        )
    return x, y
