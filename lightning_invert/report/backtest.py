"""A back-test in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lightning_invert.proposals.backtest import Backtest
from lightning_invert.report.proposals import certification_words, reliance_lines
from lightning_invert.watch.numerals import counted, percent

__all__ = ["backtest_words"]


def backtest_words(result: Backtest) -> str:
    """Say what was spent and what would be, and by whom that is judged."""
    return "\n".join(_lines(result))


def _lines(result: Backtest) -> Iterator[str]:
    proposal, summary = result.proposal, result.summary()
    yield f"Back-test of {counted(len(result), 'row')}: {_known(result)}."
    yield certification_words(proposal)
    base = summary["spent_mean"]
    if base is not None:
        less = f": {100 * (1 - summary['proposed_mean'] / base):.3g} % less" if base > 0 else ""
        reached = int(proposal.converged.sum())
        of = f", of the {reached} rows whose outcomes are reached" if reached < len(result) else ""
        yield f"Spent: {_middle(summary, 'spent')}. Proposed: {_middle(summary, 'proposed')}{less}{of}."
    cheaper = f"Cheaper: {percent(summary['cheaper_share'])} of all rows"
    if summary["certified_cheaper_share"] is not None:
        cheaper += f", {percent(summary['certified_cheaper_share'])} of those that are certified"
    yield f"{cheaper}."
    judge = "by the true process" if result.by_truth else "as the pair predicts, too kindly"
    ends = ", ".join(summary["within"])
    yield f"Outcomes within {ends} % of what was measured, {judge} (predictions for the history in brackets):"
    for name, near in summary["outcomes"].items():
        ours, history = (
            ", ".join(map(percent, near[kind].values())) for kind in ("within", "history_within")
        )
        yield f"  {name}: {ours} ({history})"
    yield from reliance_lines(proposal)


def _known(result: Backtest) -> str:
    number = result.num_known
    words = f"{number} that the pair knows from its training or trials {'is' if number == 1 else 'are'} "
    words += "left out" if result.left_out else "among them"
    if not number:
        words = "the pair knows none of them from its training or trials"
    if not result.all_known:
        words += "; it does not keep all its training rows, so others may be known, too"
    return words


def _middle(summary: Mapping[str, Any], name: str) -> str:
    return f"mean {summary[f'{name}_mean']:.4g}, median {summary[f'{name}_median']:.4g}"
