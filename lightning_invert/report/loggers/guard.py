"""Loggers, disks and figures may fail; the fit goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from lightning_invert.watch.voice import Voice

__all__ = ["Guard"]


class Guard:
    """Warn once of what fails in a block, with its cause; with ``on_error="raise"``, let it through.

    Example:
        >>> import warnings
        >>> guard = Guard(Voice("Watcher"))
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     for _ in range(2):
        ...         with guard("could not show histograms"):
        ...             raise OSError("disk full")
        >>> [str(warning.message) for warning in caught]
        ["Watcher: could not show histograms: OSError('disk full'). Training goes on; this is said once."]
    """

    def __init__(self, voice: Voice, on_error: Literal["warn", "raise"] = "warn") -> None:
        self.voice = voice
        self.on_error = on_error

    @contextmanager
    def __call__(self, failed: str, *, key: int = 0) -> Iterator[None]:
        """Guard a block: ``failed`` is said of it, once for each ``key``."""
        try:
            yield
        except Exception as error:
            if self.on_error == "raise":
                raise
            message = f"{failed}: {error!r}. Training goes on; this is said once."
            self.voice.warn(message, once=(failed, key))
