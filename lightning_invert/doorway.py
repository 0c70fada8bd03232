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

__all__ = ["figures_of", "html_of", "save_figures_of", "words_of"]


def figures_of(result: Any, **options: Any) -> dict[str, Figure]:
    """Draw a result: name -> figure. ``names`` selects figures of an observation."""
    return cast("dict[str, Figure]", _results().figures_of(result, **options))


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
