"""What shows things may fail; a fit goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Literal

from lightning.pytorch.utilities import rank_zero_warn

from lightning_invert.report.loggers.base import Counts, Gallery

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    import numpy as np
    import numpy.typing as npt
    from lightning.pytorch import LightningModule, Trainer

__all__ = ["Guard", "Guarded"]


class Guard:
    """Say once what fails, with its cause, and let a fit go on.

    Args:
        on_error: ``"warn"``, or ``"raise"`` to let the error through.
        who: Whose words these are.

    Example:
        >>> import warnings
        >>> guard = Guard(who="Watcher")
        >>> with warnings.catch_warnings(record=True) as said:
        ...     warnings.simplefilter("always")
        ...     for _ in range(2):
        ...         with guard("could not show histograms"):
        ...             raise OSError("disk full")
        >>> [str(one.message) for one in said]
        ["Watcher could not show histograms: OSError('disk full'); training goes on, this is said once."]
    """

    def __init__(
        self,
        on_error: Literal["warn", "raise"] = "warn",
        *,
        who: str = "InvertibilityCallback",
    ) -> None:
        self.on_error = on_error
        self.who = who
        self._said: set[tuple[str, int]] = set()

    @contextmanager
    def __call__(self, failed: str, *, key: int = 0) -> Iterator[None]:
        """Guard a block.

        Args:
            failed: What is said of it if it fails, "could not ...".
            key: Tells apart several of which the same would be said.
        """
        try:
            yield
        except Exception as error:
            if self.on_error == "raise":
                raise
            if (failed, key) not in self._said:
                self._said.add((failed, key))
                between = " " if failed.startswith("could not") else ": "  # else a logger
                rank_zero_warn(
                    f"{self.who}{between}{failed}: {error!r}; training goes on, this is said once."
                )


class Guarded(Gallery):
    """The place where a logger shows things, which may fail.

    Args:
        gallery: The place itself.
        guard: What is done about it.
    """

    def __init__(self, gallery: Gallery, guard: Guard) -> None:
        self.logger = gallery.logger
        self.histograms = gallery.histograms
        self.images = gallery.images
        self._gallery = gallery
        self._guard = guard

    def _may_fail(self, what: str) -> AbstractContextManager[None]:
        words = f"{type(self.logger).__name__} could not show {what}"
        return self._guard(words, key=id(self.logger))

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Show scalars."""
        with self._may_fail("scalars"):
            self._gallery.scalars(values, step)

    def histogram(self, tag: str, counts: Counts, step: int) -> None:
        """Show a histogram."""
        with self._may_fail("histograms"):
            self._gallery.histogram(tag, counts, step)

    def image(self, tag: str, image: npt.NDArray[np.uint8], step: int) -> None:
        """Show a picture."""
        with self._may_fail("figures"):
            self._gallery.image(tag, image, step)

    def text(self, tag: str, words: str, step: int) -> None:
        """Show words."""
        with self._may_fail("text"):
            self._gallery.text(tag, words, step)

    def table(self, tag: str, columns: Mapping[str, Sequence[Any]], step: int) -> None:
        """Show a table."""
        with self._may_fail("the table of the worst points"):
            self._gallery.table(tag, columns, step)

    def declare(self, trainer: Trainer, module: LightningModule, tags: Sequence[str]) -> None:
        """Announce by which scalars runs are to be compared."""
        with self._may_fail("the scalars in its table of hyperparameters"):
            self._gallery.declare(trainer, module, tags)

    def layout(self, charts: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
        """Arrange charts."""
        with self._may_fail("its arrangement of charts"):
            self._gallery.layout(charts)
