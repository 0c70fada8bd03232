"""Proposals in words, and as a table for a notebook."""

from __future__ import annotations

import html
import math
from collections import Counter
from collections.abc import Iterator

from torch import Tensor

from lightning_invert.proposals.proposal import Proposal
from lightning_invert.proposals.reliability import MIN_POINTS
from lightning_invert.report.html import page_of, table_of
from lightning_invert.solver.solution import Result, Solution
from lightning_invert.watch.numerals import counted

__all__ = [
    "certification_words",
    "given_up_lines",
    "proposal_html",
    "proposal_words",
    "reliance_lines",
    "solution_words",
    "spread_lines",
]

MAX_ROWS = 10

LOW_TRUST = 0.5

NOTABLE = 5e-4
"""Share of what is wanted that counts as given up."""

FLAG_WORDS = {
    "unconverged": "not reached",
    "at_bound": "at the bounds",
    "far": "far from the known settings",
    "doubtful": "where the surrogate errs most",
    "unseen": "beyond all known outcomes",
    "ill_conditioned": "ill-conditioned",
    "unfinished": "with choices left to try",
}


def proposal_words(proposal: Proposal) -> str:
    """Describe proposals and how far to rely on them, a line for each matter."""
    lines = (certification_words(proposal), solution_words(proposal), *reliance_lines(proposal))
    return "\n".join(lines)


def certification_words(proposal: Proposal) -> str:
    """Tell in a line how many proposals are not certified and why; it comes before all else."""
    if proposal.certified is None:
        return (
            f"Not certified: no bands, because fewer than {MIN_POINTS} validation points are known."
        )
    count, missing = len(proposal), int((~proposal.certified).sum())
    if not missing:
        how_many = "reached" if count == 1 else f"all {count} reached"
        return f"Certified: {how_many}, with settings like those that the bands were tested on."
    counts = {name: int(proposal.flags[name].sum()) for name in ("unconverged", "far", "doubtful")}
    one = "" if count == 1 else "{} "
    why = ", ".join(one.format(n) + FLAG_WORDS[name] for name, n in counts.items() if n)
    return (
        f"Not certified: {why}." if count == 1 else f"Not certified: {missing} of {count} ({why})."
    )


def solution_words(solution: Solution) -> str:
    """Describe how many targets are reached and why others are not, at what cost."""
    return "\n".join(_reached(solution))


def proposal_html(proposal: Proposal) -> str:
    """Lay the first ten proposals out below their description, a column each; names are escaped."""
    variables = (*proposal.input_variables, *proposal.output_variables)
    names = ["target", "flags", *(["trust"] if proposal.trust is not None else [])]
    names += [*([] if proposal.cost is None else ["cost"]), *(v.label for v in variables)]
    count = len(proposal)
    more = [f"The first {MAX_ROWS} of {count}."] if count > MAX_ROWS else []
    head, *rows = zip(map(html.escape, names), *_columns(proposal), strict=True)
    table = table_of(head, rows, is_html=True)
    return page_of(proposal_words(proposal).splitlines(), table, notes=more)


def _reached(solution: Solution) -> Iterator[str]:
    count, reached = len(solution), int(solution.converged.sum())
    yield f"{counted(count, 'target')}: {reached} reached{_missed(solution)}."
    if reached < count:
        reasons = Counter(solution.result[~solution.converged].tolist())
        words = [f"{number} {Result(value).words}" for value, number in sorted(reasons.items())]
        yield f"Not reached: {'; '.join(words)}."
        if isinstance(solution, Proposal):
            yield from given_up_lines(solution)
    if solution.unfinished is not None and (number := int(solution.unfinished.sum())):
        of = f" for {number} of {count} targets" if count > 1 else ""
        yield f"The search for the best choice of levels and changes ended early{of}: hold some inputs."
    if solution.cost is not None and reached:
        cost = _median(solution.cost[solution.converged])
        yield f"Cost of those that are reached: median {cost}."
    if solution.matters is not None and isinstance(solution, Proposal):
        numbers = (~solution.matters).sum(0).tolist()
        of = f" at {{}} of {counted(count, 'target')}" if count > 1 else ""
        named = zip(solution.input_variables, numbers, strict=True)
        if words := [v.name + of.format(number) for v, number in named if number]:
            yield f"Any value will do: {', '.join(words)}."
    if solution.binding is not None:
        counts = zip(solution.constraint_names, solution.binding.sum(0).tolist(), strict=True)
        words = [f"{name!r} at {number}" for name, number in counts if number]
        yield f"Binding: {', '.join(words) or 'no constraint'}."
    others = solution.alternatives.count
    if others.any():
        of = counted(int((others > 0).sum()), "target")
        yield f"Alternatives: {int(others.sum())}, of {of}."


def _missed(solution: Solution) -> str:
    """Return by how much the others are missed."""
    left = solution.residual[~solution.converged]
    finite = left[left.isfinite()]
    if not len(finite):
        return ""
    others = "the other " if len(left) == 1 else "the others "
    others = others if len(left) < len(solution) else ""
    middle = "" if len(finite) == 1 else ", median"
    return f"; {others}missed by {_median(finite)} standard units{middle}"


def reliance_lines(proposal: Proposal) -> Iterator[str]:
    """Tell what the bands hold, how much is to be trusted, and what to look at."""
    if proposal.outcome_low is not None:
        yield f"Band: {proposal.band_words}."
    if proposal.trust is not None and len(trust := proposal.trust[proposal.trust.isfinite()]):
        few = int((trust < LOW_TRUST).sum())
        yield f"Trust: median {float(trust.median()):.2f}, below {LOW_TRUST:g} at {few}."
    yield from spread_lines(proposal)
    counts = {name: int(flag.sum()) for name, flag in proposal.flags.items()}
    for told in ("unconverged", "unfinished"):
        counts.pop(told, None)
    if words := [f"{count} {FLAG_WORDS[name]}" for name, count in counts.items() if count]:
        yield f"To look at: {', '.join(words)}."


def given_up_lines(proposal: Proposal) -> Iterator[str]:
    """Say how far each outcome stays from a target that is not reached."""
    if proposal.shortfall is None or proposal.converged.all():
        return
    missed = ~proposal.converged & proposal.shortfall.isfinite().all(1)
    lacking = proposal.shortfall[missed]
    low, high = (end[missed] for end in proposal.targets)
    wanted = low.where(lacking > 0, high).abs()
    given_up = lacking.abs() >= NOTABLE * wanted
    words = []
    for place, variable in enumerate(proposal.output_variables):
        rows = given_up[:, place] & (lacking[:, place] != 0)
        if rows.any():
            middle = lacking[rows, place].median()
            way = "too low" if middle > 0 else "too high"
            amount = f"{abs(float(middle)):.3g} {variable.unit}".rstrip()
            at = f" at {int(rows.sum())}" if len(proposal) > 1 else ""
            words.append(f"{amount} of {variable.name}{at} ({way})")
    if words:
        yield f"Shortfall{' (medians)' * (len(lacking) > 1)}: {', '.join(words)}."


def spread_lines(proposal: Proposal) -> Iterator[str]:
    """Tell how far the outcomes spread where the settings are not exact, if it is known."""
    if proposal.outcome_spread is None:
        return
    middle = proposal.outcome_spread.nanmedian(0).values.tolist()
    parts = zip(proposal.output_variables, middle, strict=True)
    words = ", ".join(f"{v.name} {spread:.3g} {v.unit}".rstrip() for v, spread in parts)
    yield f"Errors of the settings spread the outcomes by {words}{' (medians)' * (len(proposal) > 1)}."


def _columns(proposal: Proposal) -> Iterator[list[str]]:
    flags = proposal.flags
    for row in range(min(len(proposal), MAX_ROWS)):
        words = [FLAG_WORDS[name] for name, flag in flags.items() if flag[row]]
        if proposal.certified is not None and not proposal.certified[row]:
            words.insert(0, "<b>not certified</b>")
        cells = [str(row + 1), "<br>".join(words)]
        if proposal.trust is not None:
            cells.append(_bar(float(proposal.trust[row])))
        if proposal.cost is not None:
            cells.append(_number(float(proposal.cost[row])))
        anything = None if proposal.matters is None else ~proposal.matters[row]
        cells += [
            "any" if anything is not None and anything[place] else _number(float(value))
            for place, value in enumerate(proposal.inputs[row])
        ]
        yield cells + [
            _outcome(proposal, row, place) for place in range(len(proposal.output_variables))
        ]


def _outcome(proposal: Proposal, row: int, place: int) -> str:
    """Write the predicted outcome with its band, and the target below it."""
    text = _number(float(proposal.outputs[row, place]))
    if proposal.outcome_low is not None and proposal.outcome_high is not None:
        half = (proposal.outcome_high - proposal.outcome_low)[row, place] / 2
        text += f"&nbsp;±&nbsp;{float(half):.2g}"
    low, high = (float(end[row, place]) for end in proposal.targets)
    return f'{text}<br><span style="opacity:0.6">{_target(low, high)}</span>'


def _target(low: float, high: float) -> str:
    if low == high:
        return f"target {_number(low)}"
    if math.isinf(low) and math.isinf(high):
        return "free"
    if math.isinf(low):
        return f"at most {_number(high)}"
    return f"at least {_number(low)}" if math.isinf(high) else f"{_number(low)} to {_number(high)}"


def _bar(trust: float) -> str:
    if math.isnan(trust):
        return "–"
    colour = "#0072B2" if trust >= LOW_TRUST else "#D55E00"
    return (
        '<div style="width:5em;border:1px solid currentColor">'
        f'<div style="width:{100 * trust:.0f}%;height:0.6em;background:{colour}"></div></div>'
        f"{trust:.2f}"
    )


def _median(values: Tensor) -> str:
    return f"{float(values.median()):.3g}"


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.5g}"
