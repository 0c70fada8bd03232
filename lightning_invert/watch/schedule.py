"""Which epochs are watched, and at how many points."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Sequence
from typing import Literal

from lightning_invert.arguments import check_integer, check_number, wrong

__all__ = ["Budget", "Schedule"]

MIN_POINTS = 16
"""A budget does not lower the number of points below this; rather, epochs are left out."""

TOLERANCE = 1.1


class Schedule:
    """Which epochs are due.

    An epoch without validation is made up for in the next one that has it.

    Args:
        every_n_epochs: Epochs 0, n, 2n, ...
        epochs: These epochs instead, or ``"log"``: 0, 1, 2, 4, 8, ...

    Raises:
        ValueError: If an argument is out of its range, or both are given.

    Example:
        >>> schedule = Schedule(epochs="log")
        >>> watched = []
        >>> for epoch in range(3, 10):
        ...     if schedule.is_due(epoch):
        ...         schedule.last = epoch
        ...         watched.append(epoch)
        >>> watched
        [3, 4, 8]
    """

    def __init__(
        self,
        every_n_epochs: int = 1,
        epochs: Literal["log"] | Sequence[int] | None = None,
    ) -> None:
        every_n_epochs = check_integer("every_n_epochs", every_n_epochs, low=1)
        if epochs is not None and every_n_epochs != 1:
            raise ValueError(
                "Expected only one of the arguments `epochs` and `every_n_epochs`, but got "
                f"{epochs!r} and {every_n_epochs}."
            )
        self.every_n_epochs = every_n_epochs
        self.epochs: str | list[int] | None = None
        if isinstance(epochs, Sequence) and not isinstance(epochs, str | bytes):
            self.epochs = sorted(check_integer("epochs", epoch, low=0) for epoch in epochs)
        elif epochs is None or epochs == "log":
            self.epochs = epochs
        else:
            expected = "'log', None or a list of epochs, counted from 0, as in [0, 10, 100]"
            raise ValueError(wrong("epochs", expected, epochs))
        self.last = -1
        """The epoch that was watched last."""

    def is_due(self, epoch: int) -> bool:
        """Tell whether an epoch is to be watched."""
        return epoch == self.last or self._until(epoch) > self._until(self.last)

    def _until(self, epoch: int) -> int:
        """Return how many epochs up to this one are to be watched."""
        if epoch < 0:
            return 0
        if self.epochs == "log":
            return 1 + epoch.bit_length()
        if self.epochs is not None:
            return bisect_right(self.epochs, epoch)
        return 1 + epoch // self.every_n_epochs


class Budget:
    """How many points a share of the time allows.

    Args:
        num_points: As many as are wanted.
        max_overhead: The share of the time between two looks that a look may take; ``None``: any.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> budget = Budget(256, max_overhead=0.02)
        >>> budget.account(0.04, between=1.0)  # twice what is allowed
        >>> budget.num_points
        128
    """

    def __init__(self, num_points: int, max_overhead: float | None = None) -> None:
        self.num_points = check_integer("num_points", num_points, low=1)
        self.max_overhead = (
            None
            if max_overhead is None
            else check_number(
                "max_overhead",
                max_overhead,
                low=0.0,
                high=1.0,
                open_low=True,
                open_high=True,
                what="a share of the time, or None",
            )
        )
        self._spent = 0.0
        self._begun = self._ended = time.monotonic()

    def begin(self) -> None:
        """Start the clock."""
        self._spent = 0.0
        self._begun = self._ended = time.monotonic()

    def allows(self) -> bool:
        """Tell whether there is time for a look: there is, as long as fewer points would help."""
        if self.max_overhead is None or self.num_points > MIN_POINTS:
            return True
        return self._spent <= self.max_overhead * (time.monotonic() - self._begun)

    def account(self, seconds: float, *, between: float | None = None) -> None:
        """Take note of what a look took, and lower the number of points if that was too much.

        Args:
            seconds: What it took.
            between: The time since the look before; by default by the clock.
        """
        now = time.monotonic()
        between = now - self._ended if between is None else between
        self._spent, self._ended = self._spent + seconds, now
        if self.max_overhead is None:
            return
        allowed = self.max_overhead * between
        if seconds > TOLERANCE * allowed and self.num_points > MIN_POINTS:
            fewer = int(self.num_points * allowed / seconds)
            self.num_points = max(MIN_POINTS, fewer)
