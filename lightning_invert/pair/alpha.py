"""Schedules of alpha, the weight of the consistency term."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_invert.arguments import check_integer, check_number

__all__ = ["AlphaSchedule", "ConstantAlpha", "LinearDecayAlpha", "weight"]


class AlphaSchedule:
    """Set the weight of the consistency term in each epoch.

    For a schedule of your own, subclass it and let ``__call__`` return a number in [0, 1].

    Example:
        >>> class UntilEpoch50(AlphaSchedule):
        ...     def __call__(self, epoch):
        ...         return 0.1 if epoch < 50 else 0.0
        >>> UntilEpoch50()(60)
        0.0
    """

    def __call__(self, epoch: int) -> float:
        """Return alpha in ``epoch``, counted from 0."""
        raise NotImplementedError


@dataclass(frozen=True)
class ConstantAlpha(AlphaSchedule):
    """Keep the same weight in every epoch.

    Args:
        value: The weight, in [0, 1].

    Example:
        >>> ConstantAlpha(0.3)(epoch=17)
        0.3
    """

    value: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", _checked_share("value", self.value))

    def __call__(self, epoch: int) -> float:
        """Return ``value``."""
        return self.value


@dataclass(frozen=True)
class LinearDecayAlpha(AlphaSchedule):
    r"""Lower the weight linearly to zero: :math:`\alpha_0 \max(0, 1 - t / T)` in epoch t.

    Args:
        start: :math:`\alpha_0`, in [0, 1].
        epochs: T, the first epoch with weight 0.

    Example:
        >>> schedule = LinearDecayAlpha(0.1, epochs=500)
        >>> [schedule(epoch) for epoch in (0, 250, 500, 900)]
        [0.1, 0.05, 0.0, 0.0]
    """

    start: float = 0.1
    epochs: int = 500

    def __post_init__(self) -> None:
        object.__setattr__(self, "start", _checked_share("start", self.start))
        object.__setattr__(self, "epochs", check_integer("epochs", self.epochs, low=1))

    def __call__(self, epoch: int) -> float:
        """Return the weight in ``epoch``."""
        return self.start * max(0.0, 1.0 - epoch / self.epochs)


def weight(schedule: AlphaSchedule, epoch: int) -> float:
    """Return alpha in an epoch; a ``ValueError`` if the schedule leaves [0, 1]."""
    alpha = schedule(epoch)
    if not 0 <= alpha <= 1:
        raise ValueError(
            f"Expected the schedule {type(schedule).__name__} to return a number in [0, 1], but it "
            f"returned {alpha} for epoch {epoch}."
        )
    return alpha


def _checked_share(name: str, value: float) -> float:
    return check_number(name, value, low=0.0, high=1.0)
