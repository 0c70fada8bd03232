"""Which epochs are watched, and at how many points."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Sequence
from typing import Literal

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
        if not isinstance(every_n_epochs, int) or every_n_epochs < 1:
            raise ValueError(
                f"Expected argument `every_n_epochs` to be at least 1, but got {every_n_epochs}."
            )
        if epochs is not None and every_n_epochs != 1:
            raise ValueError(
                "Expected only one of the arguments `epochs` and `every_n_epochs`, but got "
                f"{epochs!r} and {every_n_epochs}."
            )
        self.every_n_epochs = every_n_epochs
        self.epochs: str | list[int] | None = None
        if epochs == "log":
            self.epochs = "log"
        elif epochs is not None:
            if isinstance(epochs, str) or not all(isinstance(e, int) and e >= 0 for e in epochs):
                raise ValueError(
                    "Expected argument `epochs` to be 'log', None or a sequence of epochs, counted "
                    f"from 0, but got {epochs!r}."
                )
            self.epochs = sorted(epochs)
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
        if not isinstance(num_points, int) or num_points < 1:
            raise ValueError(
                f"Expected argument `num_points` to be at least 1, but got {num_points}."
            )
        if max_overhead is not None and not 0 < max_overhead < 1:
            raise ValueError(
                "Expected argument `max_overhead` to be a share of the time between 0 and 1, or "
                f"None, but got {max_overhead}."
            )
        self.num_points = num_points
        self.max_overhead = max_overhead
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
