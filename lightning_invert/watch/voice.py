"""Messages to the user: in one speaker's name, once in all processes, with Lightning and without."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Hashable

from lightning_utilities.core import rank_zero

__all__ = ["Voice", "Whisper", "explain", "sentence"]

MAX_REASON = 1000
"""Characters of what an exception says: some show all of a batch."""

OF_A_MODULE = re.compile(r"(\n *\(\w+\): .*|\n +\))+")
"""The lines by which a module shows its parts."""


class Voice:
    """Tell the user something, after a speaker's name; under Lightning, only rank 0 speaks."""

    def __init__(self, speaker: str) -> None:
        self.speaker = speaker
        self._said: set[Hashable] = set()

    def info(self, message: str, *, once: Hashable = None) -> None:
        """Log a message; with the key ``once``, only the first one of that key."""
        if self._is_new(once):
            if _lightning_speaks():
                rank_zero.rank_zero_info(f"{self.speaker}: {message}")
            else:
                logging.getLogger(__name__).info("%s: %s", self.speaker, message)

    def warn(self, message: str, *, once: Hashable = None) -> None:
        """Warn; with the key ``once``, only the first time of that key."""
        if self._is_new(once):
            if _lightning_speaks():
                rank_zero.rank_zero_warn(f"{self.speaker}: {message}")
            else:
                warnings.warn(f"{self.speaker}: {message}", stacklevel=3)

    def _is_new(self, key: Hashable) -> bool:
        new = key is None or key not in self._said
        self._said.add(key)
        return new


class Whisper(Voice):
    """Warn through Python alone, for who catches it, and leave the rest unsaid."""

    def info(self, message: str, *, once: Hashable = None) -> None:
        """Tell nothing."""

    def warn(self, message: str, *, once: Hashable = None) -> None:
        """Warn."""
        warnings.warn(message, stacklevel=2)


def sentence(text: str) -> str:
    """End a text with a full stop, unless it has an end."""
    text = text.rstrip()
    return text if text.endswith((".", "!", "?", ":")) else f"{text}."


def explain(error: BaseException) -> str:
    """Return what an exception says, with its type unless the message is one of this package's."""
    text = OF_A_MODULE.sub(" ...", str(error)) or "no reason given"
    if len(text) > MAX_REASON:
        text = f"{text[:MAX_REASON]} ..."
    is_ours = isinstance(error, ValueError | TypeError) and text.startswith(
        ("Expected", "expected")
    )
    return text if is_ours else f"{type(error).__name__}: {text}"


def _lightning_speaks() -> bool:
    # Lightning sets the rank, and puts a logger of its own there.
    return getattr(rank_zero.rank_zero_only, "rank", None) is not None
