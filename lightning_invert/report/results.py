"""How each kind of result is drawn, described and laid out: what the doorway opens on.

A result shows itself through :mod:`lightning_invert.doorway`. A new kind of result is registered here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from functools import singledispatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from lightning_invert.doorway import Figures
from lightning_invert.proposals.backtest import Backtest
from lightning_invert.proposals.evidence import Evidence
from lightning_invert.proposals.proposal import Proposal
from lightning_invert.proposals.proposer import Proposer
from lightning_invert.proposals.trade_off import TradeOff
from lightning_invert.proposals.trials import Trials
from lightning_invert.proposals.windows import Windows
from lightning_invert.report.backtest import backtest_words
from lightning_invert.report.figures import map_figures, to_image, to_png
from lightning_invert.report.files import file_name, replace_file
from lightning_invert.report.html import figures_html, observations_html, page_of
from lightning_invert.report.pairs import evidence_words, pair_html, pair_words
from lightning_invert.report.proposals import proposal_html, proposal_words, solution_words
from lightning_invert.report.trials import trials_words
from lightning_invert.report.windows import windows_words
from lightning_invert.report.words import observations_words, report_table
from lightning_invert.solver.solution import Solution
from lightning_invert.watch.observation import Observation
from lightning_invert.watch.observations import Observations

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@singledispatch
def figures_of(result: Any, **options: Any) -> dict[str, Figure]:
    """Draw a result: name -> figure."""
    raise TypeError(f"There are no figures of a {type(result).__name__}.")


@figures_of.register(Proposal)
def _(proposal: Proposal, row_names: Sequence[str] = (), **ranges: Any) -> dict[str, Figure]:
    from lightning_invert.report.figures.achieved import achieved
    from lightning_invert.report.figures.sensitivities import sensitivities
    from lightning_invert.report.figures.settings import settings

    return {
        "achieved": achieved(proposal),
        "settings": settings(proposal, row_names=row_names, **ranges),
        "sensitivities": sensitivities(proposal, **ranges),
    }


@figures_of.register(TradeOff)
def _(result: TradeOff, **options: Any) -> dict[str, Figure]:
    from lightning_invert.report.figures.trade_off import trade_off

    return {"trade_off": trade_off(result, **options)}


@figures_of.register(Backtest)
def _(result: Backtest, **options: Any) -> dict[str, Figure]:
    from lightning_invert.report.figures.backtest import backtest

    return {"backtest": backtest(result, **options)}


@figures_of.register(Windows)
def _(windows: Windows, row_names: Sequence[str] = (), **options: Any) -> dict[str, Figure]:
    from lightning_invert.report.figures.settings import settings

    return {"windows": settings(windows.proposal, windows=windows, row_names=row_names, **options)}


@figures_of.register(Observations)
def _(observations: Observations, **options: Any) -> dict[str, Figure]:
    return {
        f"{file_name(observation.label)}_{name}": figure
        for observation in observations.finite()
        for name, figure in map_figures(
            observation, history=observations.history.get(observation.label, ()), **options
        ).items()
    }


@singledispatch
def words_of(result: Any) -> str:
    """Describe a result in a few lines; of any other dataclass, name the shapes of its tensors."""
    if not is_dataclass(result):
        raise TypeError(f"There are no words for a {type(result).__name__}.")
    values = {part.name: getattr(result, part.name) for part in fields(result)}
    shown = [f"{name}: {_brief(value)}" for name, value in values.items() if value is not None]
    return f"{type(result).__name__}({', '.join(shown)})"


def _brief(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_brief, value))})"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Tensor):
        return "×".join(map(str, value.shape)) or "1"
    return repr(value) if isinstance(value, str | int) else type(value).__name__


@singledispatch
def html_of(result: Any) -> str:
    """Lay a result out as HTML without scripts; names are escaped."""
    return page_of(words_of(result).splitlines())


def save_figures_of(result: Any, folder: str | Path, **options: Any) -> list[Path]:
    """Save the figures of a result; those of a map begin with its name."""
    begin = f"{file_name(result.name)}_" if isinstance(result, Observation) else ""
    figures = figures_of(result, **options)
    files = [Path(folder) / f"{begin}{name}.png" for name in figures]
    for file, figure in zip(files, figures.values(), strict=True):
        replace_file(file, to_png(to_image(figure)))
    return files


figures_of.register(Observation)(map_figures)
words_of.register(Observations)(observations_words)
words_of.register(Observation)(lambda observation: report_table([observation]))
words_of.register(Solution)(solution_words)
words_of.register(Proposal)(proposal_words)
words_of.register(Evidence)(evidence_words)
words_of.register(Trials)(trials_words)
words_of.register(Windows)(windows_words)
words_of.register(Backtest)(backtest_words)
for pair in (nn.Module, Proposer):
    words_of.register(pair)(pair_words)
    html_of.register(pair)(pair_html)
words_of.register(Figures)(lambda figures: f"Figures: {', '.join(figures) or 'none'}")
html_of.register(Figures)(figures_html)
html_of.register(Observations)(observations_html)
html_of.register(Observation)(lambda observation: observations_html(Observations([observation])))
html_of.register(Proposal)(proposal_html)
