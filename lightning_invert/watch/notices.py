"""What is said, once in all processes, with Lightning and without."""

from __future__ import annotations

import logging
import warnings

from lightning_utilities.core import rank_zero

__all__ = ["say", "warn"]


def say(words: str) -> None:
    """Say something that is good to know."""
    # Lightning sets the rank, and puts a logger of its own there.
    if getattr(rank_zero.rank_zero_only, "rank", None) is None:
        logging.getLogger(__name__).info(words)
    else:
        rank_zero.rank_zero_info(words)


def warn(words: str) -> None:
    """Say something that calls for an answer."""
    if getattr(rank_zero.rank_zero_only, "rank", None) is None:
        warnings.warn(words, stacklevel=3)
    else:
        rank_zero.rank_zero_warn(words)
