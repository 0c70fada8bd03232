"""Loggers, disks and figures may fail; the fit goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from lightning.pytorch.utilities import rank_zero_warn

__all__ = ["Guard"]


class Guard:
    """Warn once of what fails in a block, with its cause; with ``on_error="raise"``, let it through.

    Example:
        >>> import warnings
        >>> guard = Guard(who="Watcher")
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     for _ in range(2):
        ...         with guard("could not show histograms"):
        ...             raise OSError("disk full")
        >>> [str(warning.message) for warning in caught]
        ["Watcher could not show histograms: OSError('disk full'); training goes on, this is said once."]
    """

    def __init__(
        self, on_error: Literal["warn", "raise"] = "warn", *, who: str = "InvertibilityCallback"
    ) -> None:
        self.on_error = on_error
        self.who = who
        self._said: set[tuple[str, int]] = set()

    @contextmanager
    def __call__(self, failed: str, *, key: int = 0) -> Iterator[None]:
        """Guard a block: ``failed`` is said of it, once for each ``key``."""
        try:
            yield
        except Exception as error:
            if self.on_error == "raise":
                raise
            if (failed, key) not in self._said:
                self._said.add((failed, key))
                between = " " if failed.startswith("could not") else ": "  # else a logger
                rank_zero_warn(
                    f"{self.who}{between}{failed}: {error!r}; training goes on, this is said once."
                )
