"""Stop training on conditioning."""

from __future__ import annotations

import math
from copy import copy
from typing import TYPE_CHECKING, Any, Literal

from lightning.fabric.utilities.exceptions import MisconfigurationException

from lightning_invert.arguments import (
    check_choice,
    check_flag,
    check_integer,
    check_number,
    check_text,
)
from lightning_invert.callbacks.base import Callback
from lightning_invert.callbacks.invertibility import InvertibilityCallback
from lightning_invert.report.loggers import Guard, galleries, logger_step
from lightning_invert.watch.scalars import scalar_named, scalar_names
from lightning_invert.watch.voice import Voice

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

__all__ = ["ConditioningEarlyStopping"]

Reason = Literal["good", "bad", "stalled"]

STATE = (
    "_best",
    "_counts",
    "_judged",
    "stopped_epoch",
    "stopping_reason",
    "stopping_reason_message",
)
"""The attributes that a resumed fit needs."""


class ConditioningEarlyStopping(Callback):
    """Stop fit when a map's conditioning is good enough, too bad, or no longer improves.

    It judges each look of the :class:`~lightning_invert.callbacks.InvertibilityCallback` in the same
    trainer. Fit stops when one of these conditions holds for ``patience`` looks in a row:

    * ``stopping_threshold``: the value is at least as good: nothing is left to gain.
    * ``divergence_threshold``: the value is worse, or infinite: the map has collapsed.
    * ``stop_when_stalled``: the value does not beat its best by more than ``min_delta``.

    A look where the value is NaN does not count.

    Args:
        map: Name of the watched map.
        monitor: Name of one of the map's scalars. The table
            :mod:`~lightning_invert.watch.scalars` says whether larger values are better.
        stopping_threshold: Limit of the first condition, in the unit of the scalar: 2 means κ = 100
            for ``log10_cond_p95``. ``None``: off.
        divergence_threshold: Limit of the second condition, likewise.
        stop_when_stalled: Whether the third condition is on.
        min_delta: Least change that counts as an improvement.
        patience: Looks in a row for which a condition has to hold.
        verbose: Whether to log the reason.

    Attributes:
        stopped_epoch: The epoch in which fit stopped, or ``None``.
        stopping_reason: ``"good"``, ``"bad"``, ``"stalled"`` or ``None``.
        stopping_reason_message: The reason in words, or ``None``.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range, or no condition is on.

    Example:
        >>> ConditioningEarlyStopping("forward", stopping_threshold=2.0, divergence_threshold=6.0, patience=5)
        ConditioningEarlyStopping('invertibility/forward/log10_cond_p95', patience=5)
    """

    def __init__(
        self,
        map: str = "forward",
        monitor: str = "log10_cond_p95",
        *,
        stopping_threshold: float | None = None,
        divergence_threshold: float | None = None,
        stop_when_stalled: bool = False,
        min_delta: float = 0.0,
        patience: int = 3,
        verbose: bool = True,
    ) -> None:
        super().__init__()
        check_text("map", map)
        check_flag("stop_when_stalled", stop_when_stalled)
        check_flag("verbose", verbose)
        patience = check_integer("patience", patience, low=1)
        min_delta = check_number("min_delta", min_delta, low=0.0)
        if stopping_threshold is not None:
            stopping_threshold = check_number("stopping_threshold", stopping_threshold)
        if divergence_threshold is not None:
            divergence_threshold = check_number("divergence_threshold", divergence_threshold)
        if stopping_threshold is None and divergence_threshold is None and not stop_when_stalled:
            raise ValueError(
                "Expected one of the arguments `stopping_threshold`, `divergence_threshold` and "
                "`stop_when_stalled`, but got none: this would never stop."
            )
        check_choice("monitor", monitor, scalar_names())
        scalar = scalar_named(monitor)
        self.map = map
        self.monitor = f"invertibility/{map}/{monitor}"
        self.stopping_threshold = stopping_threshold
        self.divergence_threshold = divergence_threshold
        self.stop_when_stalled = stop_when_stalled
        self.min_delta = min_delta
        self.patience = patience
        self.verbose = verbose
        # Inside, everything is turned so that smaller is better.
        self._sign = -1.0 if scalar and scalar.better == "larger" else 1.0
        self._best = math.inf
        self._counts: dict[Reason, int] = {"good": 0, "bad": 0, "stalled": 0}
        self._judged: tuple[int, int] | None = None
        self._voice = Voice("ConditioningEarlyStopping")
        self.stopped_epoch: int | None = None
        self.stopping_reason: Reason | None = None
        self.stopping_reason_message: str | None = None
        self._good = -math.inf if stopping_threshold is None else self._sign * stopping_threshold
        self._bad = math.inf if divergence_threshold is None else self._sign * divergence_threshold
        if self._good > self._bad:
            raise ValueError(
                "Expected argument `stopping_threshold` to be better than `divergence_threshold` for "
                f"`monitor={monitor!r}`, but got {stopping_threshold} and {divergence_threshold}."
            )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.monitor!r}, patience={self.patience})"

    @property
    def state_key(self) -> str:
        """Tell several of these in one trainer apart."""
        return self._generate_state_key(
            monitor=self.monitor,
            stopping_threshold=self.stopping_threshold,
            divergence_threshold=self.divergence_threshold,
        )

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed fit needs."""
        return {name: copy(getattr(self, name)) for name in STATE}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up where the saved fit was."""
        vars(self).update({name: copy(state_dict[name]) for name in STATE})

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make sure that there is something to judge."""
        if self._watcher(trainer) is None:
            raise MisconfigurationException(
                "ConditioningEarlyStopping acts on what InvertibilityCallback logs, but the "
                "trainer has none: Trainer(callbacks=[InvertibilityCallback(), "
                "ConditioningEarlyStopping(...)])."
            )

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Judge the latest look, unless it was judged."""
        watcher = self._watcher(trainer)
        if trainer.state.fn != "fit" or trainer.sanity_checking or watcher is None:
            return
        looks = watcher.history.get(self._label, [])
        when = (looks[-1]["epoch"], looks[-1]["step"]) if looks else None
        names = watcher.watcher.memory.names
        if when is None and (not names or self.map in names):
            return  # nothing can be watched, or the map failed or was not looked at yet
        if when is not None and when == self._judged:
            return
        self._judged = when
        value = float(trainer.callback_metrics.get(self.monitor, math.nan))
        if math.isnan(value):
            self._report_missing(trainer)
            return
        reason = self._judge(value)
        stop = trainer.strategy.reduce_boolean_decision(reason is not None, all=False)
        if stop and reason is not None and self.stopping_reason is None:
            self._stop(trainer, reason)
        trainer.should_stop = trainer.should_stop or stop

    @property
    def _label(self) -> str:
        """Name of the map in the history: ``forward_dataloader_1`` for ``dataloader_1/forward``."""
        part, _, name = self.map.rpartition("/")
        return f"{name}_{part}" if part else name

    def _watcher(self, trainer: Trainer) -> InvertibilityCallback | None:
        watchers = [c for c in trainer.callbacks if isinstance(c, InvertibilityCallback)]  # type: ignore[attr-defined]
        # Of several, the one that watches the map.
        matching = [watcher for watcher in watchers if self._label in watcher.history]
        return next(iter([*matching, *watchers]), None)

    def _report_missing(self, trainer: Trainer) -> None:
        """Raise if the map is not logged at all; warn if it only lacks the scalar, or cannot tell it."""
        logged = [key for key in trainer.callback_metrics if key.startswith("invertibility/")]
        of_map = [key for key in logged if key.startswith(f"invertibility/{self.map}/")]
        name = self.monitor.rpartition("/")[2]
        if not of_map:
            raise MisconfigurationException(
                f"Expected arguments `map` and `monitor` of ConditioningEarlyStopping to name one "
                f"of {', '.join(logged)}, but got {self.monitor!r}."
            )
        self._voice.warn(
            f"{name} of map {self.map!r} is not known, so it cannot stop fit. Some scalars need a "
            "Jacobian that is formed, a truth, or points at which they are defined. "
            f"Logged are {', '.join(of_map)}.",
            once="unknown",
        )

    def _judge(self, raw: float) -> Reason | None:
        """Count how long each condition has held, and return the one that has held long enough."""
        value = self._sign * raw if math.isfinite(raw) else math.inf
        improved = value < self._best - self.min_delta
        holds: dict[Reason, bool] = {
            "good": value <= self._good,
            "bad": value > self._bad,
            "stalled": self.stop_when_stalled and not improved,
        }
        if improved:
            self._best = value
        for reason, held in holds.items():
            self._counts[reason] = self._counts[reason] + 1 if held else 0
        return next((r for r, count in self._counts.items() if count >= self.patience), None)

    def _stop(self, trainer: Trainer, reason: Reason) -> None:
        self.stopping_reason = reason
        self.stopped_epoch = trainer.current_epoch
        better, worse = ("at or below", "above") if self._sign > 0 else ("at or above", "below")
        value = float(trainer.callback_metrics[self.monitor])
        why = {
            "good": f"it has been {better} {self.stopping_threshold} (good enough)",
            "bad": f"it has been {worse} {self.divergence_threshold} (too badly conditioned)",
            "stalled": f"it has not improved on its best, {self._sign * self._best:.4g},",
        }[reason]
        self.stopping_reason_message = (
            f"fit stops after epoch {trainer.current_epoch}: {self.monitor} = {value:.4g}; {why} for "
            f"{self.patience} looks in a row."
        )
        if self.verbose:
            self._voice.info(self.stopping_reason_message)
        for gallery in galleries(trainer, Guard(self._voice)):
            tag = "invertibility/early_stopping"
            gallery.show("text", tag, self.stopping_reason_message, logger_step(trainer))
