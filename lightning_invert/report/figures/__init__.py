"""Arrays into pictures: the only part that knows matplotlib, and only when something is drawn.

Figures are made for small cards: few words, units on the axes. Nothing goes through ``pyplot``: no
backend is chosen, no global state is touched and no figure outlives its caller. A figure of a map is
one file, which registers it by ``map_figure`` and says of which maps it is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from inspect import signature
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from lightning_invert.report.figures.style import Array, styled, to_image, to_png
from lightning_invert.watch.history import Record
from lightning_invert.watch.observation import Observation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Array", "drawings", "map_figure", "map_figures", "to_image", "to_png"]

Draw = TypeVar("Draw", bound=Callable[..., Any])


class Drawing(NamedTuple):
    """A figure of a map, and of which maps it is drawn."""

    draw: Callable[..., Figure]
    applies: Callable[[Observation, Sequence[Record]], bool]
    takes_history: bool
    of_sigma: bool


_DRAWINGS: dict[str, Drawing] = {}


def map_figure(
    applies: Callable[[Observation, Sequence[Record]], bool] = lambda observation, history: True,
    *,
    of_sigma: bool = False,
) -> Callable[[Draw], Draw]:
    """Register a function as the figure of its name, drawn where it ``applies``.

    One that is not ``of_sigma`` itself shows condition numbers or ranks. With one singular value these
    are 1 wherever it is not lost, and nothing is drawn of them.

    The function takes an observation and, by keyword, ``title`` and, if it draws one, ``history``.
    Figures are of Jacobians that were formed: no other observation comes to ``applies``.
    """

    def register(draw: Draw) -> Draw:
        styled_draw = styled()(draw)
        takes_history = "history" in signature(draw).parameters
        _DRAWINGS[draw.__name__] = Drawing(styled_draw, applies, takes_history, of_sigma)
        return styled_draw

    return register


def drawings() -> dict[str, Drawing]:
    """Return all figures of maps: name -> drawing."""
    for module in iter_modules([str(Path(__file__).parent)]):
        import_module(f"{__name__}.{module.name}")
    return dict(sorted(_DRAWINGS.items()))


def map_figures(
    observation: Observation,
    *,
    title: str = "",
    history: Sequence[Record] = (),
    names: Sequence[str] | None = None,
) -> dict[str, Figure]:
    """Draw the figures of a map that apply, of ``names`` or of all: name -> figure."""
    if not observation.formed:
        return {}
    history = [look for look in history if "rank_shares" in look]
    finite = observation.finite()
    is_flat = (
        observation.full_rank == 1
        and bool((finite.rank == 1).all() and finite.condition.isfinite().all())
        and all(look["full_rank_fraction"] == 1 for look in history)
    )
    figures = {}
    for name, drawing in drawings().items():
        if (is_flat and not drawing.of_sigma) or (names is not None and name not in names):
            continue
        if drawing.applies(observation, history):
            options = {"history": history} if drawing.takes_history else {}
            figures[name] = drawing.draw(observation, title=title or observation.label, **options)
    return figures
