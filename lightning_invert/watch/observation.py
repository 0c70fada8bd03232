"""What one look at one map found."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

    from lightning_invert.report.words import MapReport
    from lightning_invert.watch.maps import WatchedMap

__all__ = ["Observation"]


class Observation(NamedTuple):
    """What one look at one map found, over all processes, on the CPU.

    Attributes:
        watched: The map.
        report: Its summary.
        scalars: What is logged, tag -> tensor of shape ().
        singular_values: Shape (N, k), like the three below without the points whose Jacobian is
            not finite.
        condition: Condition numbers, shape (N,).
        rank: Shape (N,).
        points: The inputs, shape (N, n), unless they are too many.
        tag: Under which it is shown.
        step: On the loggers' axis.
    """

    watched: WatchedMap
    report: MapReport
    scalars: dict[str, Tensor]
    singular_values: Tensor
    condition: Tensor
    rank: Tensor
    points: Tensor | None
    tag: str
    step: int

    @property
    def full_rank(self) -> int:
        """The number of singular values that were found: of a large Jacobian, two."""
        return min(self.report.shape) if self.report.complete else 2
