"""What a logger can show; here, one that has nothing but scalars."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from lightning_invert.watch.numerals import counted
from lightning_invert.watch.voice import Voice

__all__ = ["KINDS", "Counts", "Gallery", "Guard", "Image", "count"]

Image = npt.NDArray[np.uint8]  # (height, width, 3)


class Counts(NamedTuple):
    """A histogram: how many values there are between edges, and their moments."""

    counts: npt.NDArray[np.int64]  # (B,)
    edges: npt.NDArray[np.float64]  # (B + 1,)
    least: float
    most: float
    total: float
    squares: float


def count(
    values: npt.ArrayLike, low: float | None = None, high: float | None = None, *, bins: int = 64
) -> Counts:
    """Count finite values in bins of equal width, by default between their extremes.

    Values beyond the ends are counted in the nearest bin. TensorBoard's own ``add_histogram`` would
    take fifteen hundred bins, and a hundred times as long.
    """
    array = np.asarray(values, dtype=np.float64)
    least, most = float(array.min()), float(array.max())
    low, high = least if low is None else low, most if high is None else high
    if not low < high:
        high = low + 1.0
    edges = np.linspace(low, high, bins + 1)
    # As numpy.histogram has it, the last bin being closed; that takes several times as long.
    inside = np.searchsorted(edges, array, side="right") - 1
    counts = np.bincount(inside.clip(0, bins - 1), minlength=bins)
    return Counts(counts, edges, least, most, float(array.sum()), float((array**2).sum()))


KINDS = {
    "histogram": "histograms",  # tag, counts, step
    "image": "figures",  # tag, image, step
    "text": "text",  # tag, words, step
    "table": "the table of the worst points",  # tag, columns, step
    "declare": "the table of hyperparameters",  # trainer, module
    "layout": "its arrangement of charts",  # title of a group -> title of a chart -> tags of its curves
}
"""What a logger may show besides scalars, and what comes with it."""

NONFINITE = "NaN and inf"


class Guard:
    """Warn once of what fails in a block, with its cause; with ``on_error="raise"``, let it through.

    Loggers, disks and figures may fail; the fit goes on. It remembers by ``id`` which logger takes what.
    """

    def __init__(self, voice: Voice, on_error: Literal["warn", "raise"] = "warn") -> None:
        self.voice = voice
        self.on_error = on_error
        self.forget()

    def forget(self) -> None:
        """Forget what loggers refused."""
        self.dead: set[int] = set()  # loggers that took no scalar at all when last asked
        self.refused: dict[int, set[str]] = {}  # logger -> tags; and NONFINITE
        self.declared: set[int] = set()  # loggers that Lightning is not to declare `hp_metric` in

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


class Gallery:
    """Show things in a logger; what fails there is said once and ends nothing.

    A logger of another kind is a file with a subclass, which names the logger's class and has a method
    of each of the :data:`KINDS` that it can show: ``_image`` ...
    """

    kinds: ClassVar[dict[str, type[Gallery]]] = {}
    width: ClassVar[int | None] = None  # of an image that it shows best, in pixels

    def __init_subclass__(cls, logger: str) -> None:
        Gallery.kinds[logger] = cls

    def __init__(self, logger: Any, guard: Guard) -> None:
        self.logger = logger
        self.name = type(logger).__name__
        self._guard = guard

    @classmethod
    def of(cls, logger: Any, guard: Guard) -> Gallery:
        """Return the gallery of a logger.

        Kinds are known by name: ``lightning`` and ``pytorch_lightning`` each have classes of their
        own, and none of these packages is imported for nothing.
        """
        names = [kind.__name__ for kind in type(logger).__mro__]
        return next((cls.kinds[n] for n in names if n in cls.kinds), Gallery)(logger, guard)

    @property
    def _prefix(self) -> str:
        prefix = getattr(self.logger, "_prefix", "")
        return f"{prefix}-" if prefix else ""

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Show scalars; a logger that refuses one gets the others."""
        key = id(self.logger)
        refused = self._guard.refused.setdefault(key, set())
        kept = values
        if refused:
            kept = {tag: v for tag, v in values.items() if not _names(tag, v) & refused}
        with self._guard(f"{self.name} could not show scalars", key=key):
            try:
                self._scalars(kept, step)
            except Exception:
                if self._guard.on_error == "raise" or key in self._guard.dead:
                    raise
                self._one_by_one(kept, step, refused)
            self._guard.dead.discard(key)

    def _one_by_one(self, values: Mapping[str, float], step: int, refused: set[str]) -> None:
        """Show scalars singly, add to ``refused`` what fails, and tell; raise if the logger takes nothing."""
        key, lost = id(self.logger), {}
        harmless = {"epoch": values.get("epoch", 0)}  # what every logger takes: else it is dead
        self._guard.dead.add(key)
        self._scalars(harmless, step)
        for tag, value in values.items():
            try:
                self._scalars({tag: value}, step)
            except Exception as error:  # noqa: BLE001  # whatever a logger raises
                self._scalars(harmless, step)
                lost[f"{tag}={value:g}"] = error
                refused.add(NONFINITE if NONFINITE in _names(tag, value) else tag)
        if lost:
            shown = ", ".join(list(lost)[:3]) + (", ..." if len(lost) > 3 else "")
            self._guard.voice.warn(
                f"{self.name} refused {counted(len(lost), 'scalar')} ({shown}): "
                f"{next(iter(lost.values()))!r}. It gets the others; this is said once.",
                once=(key, *lost),
            )

    def can(self, kind: str) -> bool:
        """Tell whether the logger shows something of a kind."""
        return hasattr(self, f"_{kind}")

    def show(self, kind: str, *what: Any) -> None:
        """Show something, if the logger can and is not dead."""
        key = id(self.logger)
        if self.can(kind) and key not in self._guard.dead:
            with self._guard(f"{self.name} could not show {KINDS[kind]}", key=key):
                getattr(self, f"_{kind}")(*what)

    def start(self) -> None:
        """Undo what was changed in the logger to declare hyperparameters."""

    def _scalars(self, values: Mapping[str, float], step: int) -> None:
        self.logger.log_metrics(dict(values), step)


def _names(tag: str, value: float) -> set[str]:
    """Return by which names a scalar may have been refused."""
    return {tag} if math.isfinite(value) else {tag, NONFINITE}
