"""What was proposed, in words and as a table for a notebook."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from lightning_invert.solver.proposal import Proposal

__all__ = ["proposal_html", "proposal_words"]

MAX_ROWS = 10

LOW_TRUST = 0.5

FLAG_WORDS = {
    "unconverged": "not reached",
    "at_bound": "at an end of the box",
    "far": "far from the known settings",
    "unseen": "beyond the outcomes ever seen",
    "ill_conditioned": "ill-conditioned",
}


def proposal_words(found: Proposal) -> str:
    """Sum up in a few sentences what was found, and how far it can be relied on.

    Args:
        found: What was proposed.

    Returns:
        The text, a line for each matter.

    Example:
        >>> import torch
        >>> from lightning_invert import ForwardInverseModule, SmoothMLP
        >>> pair = ForwardInverseModule(SmoothMLP(2, 2), SmoothMLP(2, 2))
        >>> found = pair.propose(torch.full((3, 2), 99.0), bounds=([-1.0, -1.0], [1.0, 1.0]))
        >>> print(proposal_words(found).splitlines()[1])
        Trust: not known, as the pair keeps too few validation points.
    """
    return "\n".join([*_reached(found), *_trusted(found), *_spoken_against(found)])


def proposal_html(found: Proposal) -> str:
    """Lay the first ten proposals out as a table, with the summary above.

    Args:
        found: What was proposed. Names and units may be any text: they are escaped.

    Returns:
        HTML without scripts.
    """
    words = "<br>".join(html.escape(line) for line in proposal_words(found).splitlines())
    heads = ["", *(["trust"] if found.trust is not None else []), "flags"]
    heads += [] if found.cost is None else ["cost"]
    # A long name may be broken behind its underscores, lest a column be as wide as it.
    labels = [one.label for one in (*found.input_variables, *found.output_variables)]
    heads += [html.escape(label).replace("_", "_<wbr>") for label in labels]
    head = "".join(f"<th>{cell}</th>" for cell in heads)
    cells = ["".join(f"<td>{cell}</td>" for cell in row) for row in _rows(found)]
    more = f"<p>The first {MAX_ROWS} of {len(found)}.</p>" if len(found) > MAX_ROWS else ""
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    return f"<p>{words}</p><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def _reached(found: Proposal) -> Iterator[str]:
    count, reached = len(found), int(found.converged.sum())
    what = "1 target" if count == 1 else f"{count} targets"
    yield f"{what}: {reached} reached{_missed(found)}."
    if found.cost is not None and reached:
        yield f"Cost of those that are reached: median {_median(found.cost[found.converged])}."
    if found.alternatives:
        each = torch.stack([one.converged for one in found.alternatives]).sum(0)
        yield f"Alternatives: {int(each.sum())}, of {int((each > 0).sum())} targets."


def _missed(found: Proposal) -> str:
    """Say by how much the others are missed, and of how many nothing is known."""
    left = found.residual[~found.converged]
    finite = left[left.isfinite()]
    parts = []
    if len(finite):
        whose = "the other" if len(left) == 1 else "the others"
        middle = "" if len(finite) == 1 else ", median"
        parts.append(f"{whose} missed by {_median(finite)} standard units{middle}")
    if len(finite) < len(left):
        parts.append(f"{len(left) - len(finite)} without a finite outcome")
    return "".join(f"; {part}" for part in parts)


def _trusted(found: Proposal) -> Iterator[str]:
    if found.trust is None:
        yield "Trust: not known, as the pair keeps too few validation points."
        return
    known = found.trust[found.trust.isfinite()]
    if len(known):
        few = int((known < LOW_TRUST).sum())
        yield f"Trust: median {float(known.median()):.2f}, below {LOW_TRUST:g} at {few}."


def _spoken_against(found: Proposal) -> Iterator[str]:
    counts = {name: int(flag.sum()) for name, flag in found.flags.items() if name != "unconverged"}
    said = [f"{count} {FLAG_WORDS[name]}" for name, count in counts.items() if count]
    if said:
        yield f"To look at: {', '.join(said)}."


def _rows(found: Proposal) -> Iterator[list[str]]:
    flags = found.flags
    for row in range(min(len(found), MAX_ROWS)):
        cells = [str(row)]
        if found.trust is not None:
            cells.append(_bar(float(found.trust[row])))
        said = [FLAG_WORDS[name] for name, flag in flags.items() if flag[row]]
        cells.append(f'<div style="min-width:8em">{"<br>".join(said)}</div>')
        if found.cost is not None:
            cells.append(_number(float(found.cost[row])))
        cells += [_number(float(value)) for value in found.inputs[row]]
        yield cells + [_outcome(found, row, place) for place in range(len(found.output_variables))]


def _outcome(found: Proposal, row: int, place: int) -> str:
    """Write the predicted outcome with its band, and what was wanted below it."""
    text = _number(float(found.outputs[row, place]))
    if found.outcome_low is not None and found.outcome_high is not None:
        half = (found.outcome_high - found.outcome_low)[row, place] / 2
        text += f"&nbsp;±&nbsp;{float(half):.2g}"
    low, high = (float(end[row, place]) for end in (found.target_low, found.target_high))
    return f'{text}<br><span style="opacity:0.6">{_wanted(low, high)}</span>'


def _wanted(low: float, high: float) -> str:
    if low == high:
        return f"wanted {_number(low)}"
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
