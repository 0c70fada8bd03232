"""The observations of one look, and what is remembered of the looks before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from typing_extensions import Self

from lightning_invert.doorway import Drawn
from lightning_invert.watch.history import Record
from lightning_invert.watch.observation import Observation

__all__ = ["Observations"]


class Observations(Drawn, tuple[Observation, ...]):
    """The observations of one look, one for each map; ``print`` shows one table."""

    history: Mapping[str, Sequence[Record]]
    """Label of a map -> its looks so far."""
    kept: Observations | None = None
    """What the same look finds of the weights that a fit keeps; none where they are the same."""
    title: str
    """What stands above the table, if not what it explains."""

    def __new__(
        cls,
        observations: Iterable[Observation] = (),
        history: Mapping[str, Sequence[Record]] | None = None,
        title: str = "",
    ) -> Self:
        """Take the observations."""
        self = super().__new__(cls, observations)
        self.history, self.title = history or {}, title
        return self

    def finite(self) -> Self:
        """Return the same without the points whose Jacobian is not finite."""
        return type(self)((observation.finite() for observation in self), self.history, self.title)
