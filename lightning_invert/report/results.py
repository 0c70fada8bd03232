"""How each kind of result is drawn, described and laid out: what the doorway opens on.

A result shows itself through :mod:`lightning_invert.doorway`. A new kind of result is registered here.
"""

from __future__ import annotations

from functools import singledispatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_invert.proposals.proposal import Proposal
from lightning_invert.proposals.trade_off import TradeOff
from lightning_invert.report.figures import map_figures, save_all
from lightning_invert.report.files import file_name
from lightning_invert.report.proposals import proposal_html, proposal_words, solution_words
from lightning_invert.report.words import report_table
from lightning_invert.solver.solution import Solution
from lightning_invert.watch.observation import Observation

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@singledispatch
def figures_of(result: Any, **options: Any) -> dict[str, Figure]:
    """Draw a result: name -> figure."""
    raise TypeError(f"There are no figures of a {type(result).__name__}.")


@figures_of.register(Proposal)
def _(proposal: Proposal, **ranges: Any) -> dict[str, Figure]:
    from lightning_invert.report.figures.achieved import achieved
    from lightning_invert.report.figures.sensitivities import sensitivities
    from lightning_invert.report.figures.settings import settings

    return {
        "achieved": achieved(proposal),
        "settings": settings(proposal, **ranges),
        "sensitivities": sensitivities(proposal, **ranges),
    }


@figures_of.register(TradeOff)
def _(result: TradeOff, **options: Any) -> dict[str, Figure]:
    from lightning_invert.report.figures.trade_off import trade_off

    return {"trade_off": trade_off(result, **options)}


@singledispatch
def words_of(result: Any) -> str:
    """Describe a result in a few lines."""
    raise TypeError(f"There are no words for a {type(result).__name__}.")


@singledispatch
def html_of(result: Any) -> str:
    """Lay a result out as HTML."""
    raise TypeError(f"There is no HTML of a {type(result).__name__}.")


def save_figures_of(result: Any, folder: str | Path, **options: Any) -> list[Path]:
    """Save the figures of a result; those of a map begin with its name."""
    begin = f"{file_name(result.name)}_" if isinstance(result, Observation) else ""
    return save_all(figures_of(result, **options), folder, begin)


figures_of.register(Observation)(map_figures)
words_of.register(Observation)(lambda observation: report_table([observation]))
words_of.register(Solution)(solution_words)
words_of.register(Proposal)(proposal_words)
html_of.register(Proposal)(proposal_html)
