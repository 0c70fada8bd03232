"""Silence of Lightning's advertisements and of its warnings that say nothing to a user of a command."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import lightning.fabric.utilities.rank_zero  # noqa: F401  # gives the log of the next its name
from lightning_utilities.core import rank_zero

__all__ = ["without_advertisements"]

IDLE = (
    "The '.*' does not have many workers",
    "The number of training batches",
    # A run is judged and continued where it is now; callbacks of its fit have nothing to do there.
    "The dirpath has changed from",
    "Be aware that when using `ckpt_path`",
    "You're using the WeightAveraging callback",
)
"""How warnings of Lightning begin that are beside the point for pairs, or true and harmless."""


@contextmanager
def without_advertisements() -> Iterator[None]:
    """Leave Lightning's tips out, and its idle warnings; all others are shown."""
    with warnings.catch_warnings():
        for message in IDLE:
            warnings.filterwarnings("ignore", message, UserWarning)
        # Lightning's to mend: it asks in a way that torch 2.13 does not want.
        module = r"(lightning|pytorch_lightning)\."
        warnings.filterwarnings("ignore", ".*LeafSpec.* is deprecated", FutureWarning, module)
        rank_zero.log.addFilter(_is_of_use)
        try:
            yield
        finally:
            rank_zero.log.removeFilter(_is_of_use)


def _is_of_use(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(("💡 Tip", "TPU available: False"))
