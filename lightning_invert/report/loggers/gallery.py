"""What a logger can show; here, one that has nothing but scalars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager

    import numpy as np
    import numpy.typing as npt
    from lightning.pytorch import LightningModule, Trainer

    from lightning_invert.report.loggers.counts import Counts
    from lightning_invert.report.loggers.guard import Guard

__all__ = ["Gallery"]


class Gallery:
    """Show things in a logger; what fails there is said once and ends nothing.

    A logger of another kind is a file with a subclass, which names the logger's class and overrides
    the methods ``_scalars`` ... of what it can show.
    """

    kinds: ClassVar[dict[str, type[Gallery]]] = {}
    histograms = False
    images = False

    def __init_subclass__(cls, logger: str) -> None:
        Gallery.kinds[logger] = cls

    def __init__(self, logger: Any, guard: Guard) -> None:
        self.logger = logger
        self.name = type(logger).__name__
        self._guard = guard
        self._prefix = f"{logger._prefix}-" if getattr(logger, "_prefix", "") else ""

    @classmethod
    def of(cls, logger: Any, guard: Guard) -> Gallery:
        """Return the gallery of a logger.

        Kinds are known by name: ``lightning`` and ``pytorch_lightning`` each have classes of their
        own, and none of these packages is imported for nothing.
        """
        names = [kind.__name__ for kind in type(logger).__mro__]
        kinds = [cls.kinds[name] for name in names if name in cls.kinds]
        return (kinds or [Gallery])[0](logger, guard)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Show scalars."""
        with self._may_fail("scalars"):
            self._scalars(values, step)

    def histogram(self, tag: str, counts: Counts, step: int) -> None:
        """Show a histogram."""
        with self._may_fail("histograms"):
            self._histogram(tag, counts, step)

    def image(self, tag: str, image: npt.NDArray[np.uint8], step: int) -> None:
        """Show a picture, shape (height, width, 3)."""
        with self._may_fail("figures"):
            self._image(tag, image, step)

    def text(self, tag: str, words: str, step: int) -> None:
        """Show words."""
        with self._may_fail("text"):
            self._text(tag, words, step)

    def table(self, tag: str, columns: Mapping[str, Sequence[Any]], step: int) -> None:
        """Show a table, column by column."""
        with self._may_fail("the table of the worst points"):
            self._table(tag, columns, step)

    def declare(self, trainer: Trainer, module: LightningModule, tags: Sequence[str]) -> None:
        """Announce the scalars by which runs are compared."""
        with self._may_fail("the scalars in its table of hyperparameters"):
            self._declare(trainer, module, tags)

    def layout(self, charts: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
        """Arrange charts: title of a group -> title of a chart -> tags of its curves."""
        with self._may_fail("its arrangement of charts"):
            self._layout(charts)

    def _may_fail(self, what: str) -> AbstractContextManager[None]:
        return self._guard(f"{self.name} could not show {what}", key=id(self.logger))

    def _scalars(self, values: Mapping[str, float], step: int) -> None:
        self.logger.log_metrics(dict(values), step)

    def _histogram(self, tag: str, counts: Counts, step: int) -> None: ...

    def _image(self, tag: str, image: npt.NDArray[np.uint8], step: int) -> None: ...

    def _text(self, tag: str, words: str, step: int) -> None: ...

    def _table(self, tag: str, columns: Mapping[str, Sequence[Any]], step: int) -> None: ...

    def _declare(self, trainer: Trainer, module: LightningModule, tags: Sequence[str]) -> None: ...

    def _layout(self, charts: Mapping[str, Mapping[str, Sequence[str]]]) -> None: ...
