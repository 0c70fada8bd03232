"""Show a result: draw it, describe it, lay it out for a notebook.

Parts that make results (``watch``, ``solver``, ``pair``) do not import :mod:`lightning_invert.report`.
Their results come here to show themselves, and only then is it imported.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

__all__ = ["Drawn", "Figures", "Shown", "figures_of", "html_of", "save_figures_of", "words_of"]


class Shown:
    """A result that shows itself: ``print`` and ``repr`` in a few words, a notebook as a page."""

    @property
    def _shown(self) -> Any:
        """What is shown of it, if not the whole."""
        return self

    def __repr__(self) -> str:
        words = words_of(self._shown)
        return words if self._shown is self else f"{type(self).__name__}: {words}"

    def _repr_html_(self) -> str:
        return html_of(self._shown)


class Drawn(Shown):
    """A result that draws itself, too."""

    def figures(self) -> Figures:
        """Draw all figures: name -> figure. A notebook shows them side by side."""
        return figures_of(self._shown)

    def save_figures(self, folder: str | Path) -> list[Path]:
        """Save the figures as ``{figure}.png``, those of a map as ``{map}_{figure}.png``; return the files.

        A former figure is replaced once the new one is whole. Of a map's name that is no safe name
        of a file, what is safe is kept and a digest added.
        """
        return save_figures_of(self._shown, folder)


class Figures(Shown, dict[str, "Figure"]):
    """Figures by their names, which a notebook shows side by side."""


def figures_of(result: Any, **options: Any) -> Figures:
    """Draw a result: name -> figure. ``names`` selects figures of an observation."""
    return Figures(_results().figures_of(result, **options))


def save_figures_of(result: Any, folder: str | Path, **options: Any) -> list[Path]:
    """Save the figures of a result as ``{figure}.png`` and return the files."""
    return cast("list[Path]", _results().save_figures_of(result, folder, **options))


def words_of(result: Any) -> str:
    """Describe a result in a few lines."""
    return str(_results().words_of(result))


def html_of(result: Any) -> str:
    """Lay a result out as HTML without scripts; names are escaped."""
    return str(_results().html_of(result))


def _results() -> Any:
    return import_module("lightning_invert.report.results")
