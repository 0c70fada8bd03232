"""Pairs, proposers and the points that they know, in words, and as a table for a notebook."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import nn
from torch.nn.parameter import is_lazy

from lightning_invert.proposals.evidence import Evidence
from lightning_invert.proposals.proposer import Proposer
from lightning_invert.report.html import page_of, table_of
from lightning_invert.solver.model import Description
from lightning_invert.variables import Bounds, Variable, as_variables

__all__ = ["evidence_words", "pair_html", "pair_words"]

MAX_NAMED = 12
"""Columns of a side that are named."""


def pair_words(pair: nn.Module | Proposer) -> str:
    """Describe a pair, or a proposer: its columns, networks and known points."""
    facts = _Facts.of(pair)
    named = [
        f"{side.capitalize()}: {', '.join(v.label for v in variables[:MAX_NAMED])}{_more(variables)}"
        for side, variables in facts.sides.items()
        if variables
    ]
    return "\n".join([facts.head, *named, *facts.lines])


def pair_html(pair: nn.Module | Proposer) -> str:
    """Lay the columns of a pair, or of a proposer, out as a table below its description."""
    facts = _Facts.of(pair)
    ends = zip(*(end.tolist() for end in facts.bounds), strict=True) if facts.bounds else None
    rows = [
        [
            side.removesuffix("s"),
            v.name,
            v.unit,
            *map(_end, next(ends) if ends and side == "inputs" else (v.low, v.high)),
        ]
        for side, variables in facts.sides.items()
        for v in variables[:MAX_NAMED]
    ]
    more = [f"{len(variables)} {side}" for side, variables in facts.sides.items()]
    cut = any(len(variables) > MAX_NAMED for variables in facts.sides.values())
    table = table_of(["", "name", "unit", "low", "high"], rows) if rows else ""
    note = [f"The first {MAX_NAMED} of {' and of '.join(more)}."] if cut else []
    return page_of([facts.head, *facts.lines], table, notes=note)


def evidence_words(evidence: Evidence) -> str:
    """Describe how many points are known."""
    counts = {split: evidence.rows(split) for split in ("train", "val", "tried")}
    train, val, tried = (0 if rows is None else len(rows[0]) for rows in counts.values())
    more = f", {tried} tried" if tried else ""
    return f"Known points: {train} training, {val} validation{more}."


class _Facts(NamedTuple):
    """What is shown of a pair or of a proposer."""

    head: str
    lines: list[str]
    sides: dict[str, Sequence[Variable]]
    bounds: Bounds | None

    @classmethod
    def of(cls, pair: Any) -> _Facts:
        """Read what it tells about itself; no network is run."""
        proposer = pair if isinstance(pair, Proposer) else getattr(pair, "proposer", None)
        about = proposer.surrogate.description if proposer else Description.of(pair)
        known = (proposer.evidence.rows("train") if proposer else None) or ((), ())
        inputs = about.inputs or _by_position("x", about.scale_x, known[0])
        outputs = about.outputs or _by_position("y", about.scale_y, known[1])
        sides = {"inputs": inputs, "outputs": outputs}
        sizes = [f"{len(variables)} {side}" for side, variables in sides.items() if variables]
        kind = type(pair).__name__
        head = f"{kind}: {' → '.join(sizes) or 'columns not known before a fit'}"
        nets = {name: getattr(about.module, name, None) for name in ("forward_net", "inverse_net")}
        of_nets = [f"{name}: {_sized(net)}" for name, net in nets.items() if net is not None]
        known = [evidence_words(proposer.evidence)] if proposer else []
        bounds = proposer.bounds if proposer and inputs else None
        return cls(head, [*of_nets, *known], sides, bounds)


def _by_position(side: str, scale: Any, rows: Any) -> tuple[Variable, ...]:
    """Return x0, x1, ..., as many as the statistics or else the known points have columns."""
    count = len(scale.mean) if getattr(scale, "fitted", False) else len(rows[0]) if len(rows) else 0
    return as_variables(None, side, count)


def _sized(net: nn.Module) -> str:
    parameters = list(net.parameters())
    if any(map(is_lazy, parameters)):
        return f"{type(net).__name__}, its weights not made yet"
    count = f"{sum(p.numel() for p in parameters):,}".replace(",", " ")
    return f"{type(net).__name__}, {count} weights; print it to see its layers"


def _more(variables: Sequence[Variable]) -> str:
    return f" and {len(variables) - MAX_NAMED} more" if len(variables) > MAX_NAMED else ""


def _end(value: float | None) -> str:
    return "" if value is None or not math.isfinite(value) else f"{value:.5g}"
