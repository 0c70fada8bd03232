"""A back-test in words."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from lightning_invert.proposals.backtest import SHARES, Backtest
from lightning_invert.report.proposals import certification_words, reliance_lines
from lightning_invert.watch.numerals import counted, percent

__all__ = ["backtest_words"]


def backtest_words(result: Backtest) -> str:
    """Say what was spent and what would be, and by whom that is judged."""
    return "\n".join(_lines(result))


def _lines(result: Backtest) -> Iterator[str]:
    count, proposal = len(result), result.proposal
    yield f"Back-test of {counted(count, 'row')}: {_known(result)}."
    yield certification_words(proposal)
    reached = proposal.converged
    if reached.any():
        assert proposal.cost is not None
        spent, cost = result.spent[reached], proposal.cost[reached]
        base = float(spent.mean())
        less = f": {100 * float((spent - cost).mean()) / base:.3g} % less" if base > 0 else ""
        of = (
            ""
            if reached.all()
            else f", of the {int(reached.sum())} rows whose outcomes are reached"
        )
        yield f"Spent: {_middle(spent)}. Would be: {_middle(cost)}{less}{of}."
    cheaper = f"Cheaper: {percent(float(result.cheaper.double().mean()))} of all rows"
    certified = proposal.certified
    if certified is not None and certified.any():
        share = percent(float(result.cheaper[certified].double().mean()))
        cheaper += f", {share} of those that are certified"
    yield f"{cheaper}."
    judge = "by the true process" if result.by_truth else "as the pair predicts, which is too kind"
    ends = ", ".join(f"{100 * share:.0f}" for share in SHARES)
    yield f"Outcomes within {ends} % of what was measured, {judge} (in brackets: as predicted for the history):"
    shares = [(result.within(s), result.within(s, result.predicted)) for s in SHARES]
    for place, variable in enumerate(proposal.output_variables):
        ours, history = (
            ", ".join(percent(float(inside[side][:, place].double().mean())) for inside in shares)
            for side in (0, 1)
        )
        yield f"  {variable.name}: {ours} ({history})"
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


def _middle(values: Tensor) -> str:
    return f"mean {float(values.mean()):.4g}, median {float(values.median()):.4g}"
