"""Which validations of a fit are watched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from lightning_invert.arguments import check_integer

__all__ = ["Schedule"]


class Schedule:
    """Decide which validations are watched.

    n: 0, n, 2n, ... ``"log"``: 0, 1, 2, 4, 8, ... A list: 0 and these.
    """

    def __init__(self, every_n_validations: int | Literal["log"] | Sequence[int] = 1) -> None:
        name, every = "every_n_validations", every_n_validations
        self.every: int | Literal["log"] | frozenset[int]
        if isinstance(every, Sequence) and not isinstance(every, str | bytes):
            self.every = frozenset(check_integer(name, number, low=0) for number in every)
        elif isinstance(every, str) and every == "log":
            self.every = "log"
        else:
            expected = "'log', or a list of validations counted from 0, as in [10, 100]"
            self.every = check_integer(name, every, low=1, what=expected)

    def is_due(self, number: int) -> bool:
        """Tell whether a validation, counted from 0, is watched."""
        if number == 0:
            return True
        if self.every == "log":
            return number.bit_count() == 1
        if isinstance(self.every, frozenset):
            return number in self.every
        return number % self.every == 0
