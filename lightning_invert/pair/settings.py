"""Settings of a pair's training that belong together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

from lightning_invert.arguments import (
    check_choice,
    check_flag,
    check_integer,
    check_number,
    expected_but_got,
    to_builtin,
)

__all__ = ["AdamSettings", "ForwardTraining", "read_settings"]

Settings = TypeVar("Settings")


@dataclass(frozen=True)
class AdamSettings:
    """Set the schedule, the momentum and the weight decay of Adam.

    Args:
        schedule: ``"one_cycle"``: the learning rate rises in the first 30 % of fit and falls to almost
            zero at its end, see :func:`~lightning_invert.pair.learning_rate.one_cycle`; it is constant
            where the trainer does not know the number of steps. ``"constant"``.
        betas: Adam's decay rates of the mean gradient and of its mean square. With batches of some
            hundred rows, (0.95, 0.99) and a higher learning rate fit a smooth process closer in the same
            time (docs/explanations/blast_furnace.md).
        weight_decay: Decoupled weight decay, as in :class:`torch.optim.AdamW`. It keeps F from fitting
            noise, and costs accuracy where there is none (docs/evidence/benchmarks.md). ``None``: 5
            times the last ``val/forward``, at most 0.1; 0 without validation.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range.

    Example:
        >>> AdamSettings(betas=[0.95, 0.99])
        AdamSettings(schedule='one_cycle', betas=(0.95, 0.99), weight_decay=None)
    """

    schedule: Literal["one_cycle", "constant"] = "one_cycle"
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float | None = None

    def __post_init__(self) -> None:
        check_choice("schedule", self.schedule, ("one_cycle", "constant"))
        betas = to_builtin(self.betas)
        if not isinstance(betas, list | tuple) or len(betas) != 2:
            raise TypeError(expected_but_got("betas", "a pair like (0.9, 0.999)", self.betas))
        betas = (check_number("betas", b, low=0.0, high=1.0, open_high=True) for b in betas)
        object.__setattr__(self, "betas", tuple(betas))
        if self.weight_decay is not None:
            decay = check_number("weight_decay", self.weight_decay, low=0.0, what="or None")
            object.__setattr__(self, "weight_decay", decay)


@dataclass(frozen=True)
class ForwardTraining:
    """Set how F is trained; by default jointly with I.

    Args:
        warmup_epochs: Train F alone for this many epochs first.
        frozen: Keep a trained F as it is, in evaluation mode. With ``alpha=1`` this is the *tandem*
            network of inverse design.
        start_from: Checkpoint of a ForwardInverseModule whose F and statistics to start from, instead
            of a ``forward_net``.
        learns_consistency: Let the gradient of the consistency term reach F's weights. By default it
            trains I alone, so that F does not learn to agree with a wrong I.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range, or F is both frozen and to warm up.

    Example:
        >>> ForwardTraining(warmup_epochs=5)
        ForwardTraining(warmup_epochs=5, frozen=False, start_from=None, learns_consistency=False)
    """

    warmup_epochs: int = 0
    frozen: bool = False
    start_from: str | Path | None = None
    learns_consistency: bool = False

    def __post_init__(self) -> None:
        epochs = check_integer("warmup_epochs", self.warmup_epochs, low=0)
        object.__setattr__(self, "warmup_epochs", epochs)
        for name in ("frozen", "learns_consistency"):
            object.__setattr__(self, name, check_flag(name, getattr(self, name)))
        path = self.start_from
        if path is not None and (not isinstance(path, str | Path) or not str(path)):
            raise TypeError(
                expected_but_got("start_from", "the path of a checkpoint or None", path)
            )
        object.__setattr__(self, "start_from", None if path is None else str(path))
        if self.frozen and self.warmup_epochs:
            raise ValueError(
                "Expected argument `warmup_epochs` to be 0 with `frozen=True`: a frozen F has nothing "
                "to warm up."
            )


def read_settings(kind: type[Settings], name: str, value: Any) -> Settings:
    """Return settings given as an object of their class or as a mapping."""
    if isinstance(value, kind):
        return value
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    if isinstance(value, Mapping) and set(value) <= set(names):
        return kind(**value)
    raise TypeError(
        expected_but_got(name, f"{kind.__name__}(...) or a mapping with keys of {names}", value)
    )
