"""Back-test: what the cheapest settings would have cost for the outcomes of a history.

A row of the history holds settings, what they cost, and the outcomes that were measured. A proposal
offers other settings for the same outcomes. Only the true process knows what it would give: a surrogate
judges its own proposals too kindly. So the surrogate's errors at the history's settings stand beside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lightning_invert.arguments import check_flag, expected_but_got
from lightning_invert.arrays import TensorLike
from lightning_invert.conditions import matters, read_conditions
from lightning_invert.doorway import Drawn
from lightning_invert.jacobians.domain import evaluate_inside
from lightning_invert.proposals.evidence import Evidence
from lightning_invert.proposals.proposal import Proposal
from lightning_invert.proposals.surrogate import Surrogate
from lightning_invert.proposals.trials import read_measured, wrong_shape
from lightning_invert.solver.constraint import functions_of
from lightning_invert.solver.cost import Near
from lightning_invert.solver.search import Search

__all__ = ["Backtest", "run_backtest"]

SHARES = (0.01, 0.05, 0.1)
"""Outcomes are counted within these shares of what was asked."""

ROUNDING = 1e-5, 1e-6, 1e-3
"""How far rounding may move a number: a share of it, but at least and at most these of its column's range."""

CHUNK = 64

TOLD = {"coverage", "joint", "setting_error"}
"""Options that say how proposals are told; the others are of the query."""

EACH = "a row for each of the history"


@dataclass(frozen=True, kw_only=True, repr=False)
class Backtest(Drawn):
    """What N rows of a history cost, and what the cheapest settings for their outcomes would cost.

    ``print`` describes it.

    Attributes:
        proposal: The proposals for the measured outcomes; ``proposal.cost`` is what they would cost.
        rows: Indices of the rows in the history, shape (N,).
        inputs: Inputs that were in force, shape (N, n).
        measured: Outcomes that were measured, the targets, shape (N, m).
        spent: What the inputs in force cost, shape (N,).
        outcomes: Outcomes of the proposals, shape (N, m): of the true process, else as predicted.
        predicted: Outcomes predicted at the inputs in force, shape (N, m).
        by_truth: Whether ``outcomes`` are those of the true process.
        num_known: Rows of the history that are known from training or trials.
        left_out: Whether these are left out.
        all_known: Whether all training rows were at hand to find the known ones.
    """

    proposal: Proposal
    rows: Tensor
    inputs: Tensor
    measured: Tensor
    spent: Tensor
    outcomes: Tensor
    predicted: Tensor
    by_truth: bool
    num_known: int
    left_out: bool
    all_known: bool

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def saved(self) -> Tensor:
        """How much less the proposals cost, (N,); NaN where the outcomes are not reached."""
        assert self.proposal.cost is not None
        return (self.spent - self.proposal.cost).where(self.proposal.converged, torch.nan)

    @property
    def cheaper(self) -> Tensor:
        """Whether the proposal reaches the outcomes for less, (N,)."""
        return self.saved > 0

    def within(self, share: float, outcomes: Tensor | None = None) -> Tensor:
        """Return which outcomes are within a share of what was measured, (N, m)."""
        found = self.outcomes if outcomes is None else outcomes
        return (found - self.measured).abs() <= share * self.measured.abs()

    def summary(self) -> dict[str, Any]:
        """Return shares of the rows and what they cost, fit for JSON.

        Means and medians are of rows whose outcomes are reached, None without any. ``within`` holds the
        shares of the outcomes within 1, 5 and 10 % of what was asked; ``history_within``, those that F
        predicts so well at the inputs in force.
        """
        reached, certified = self.proposal.converged, self.proposal.certified
        assert self.proposal.cost is not None
        costs = {"spent": self.spent[reached], "proposed": self.proposal.cost[reached]}
        near = {"within": self.outcomes, "history_within": self.predicted}
        shares = {
            kind: {f"{100 * share:g}": self.within(share, found).double() for share in SHARES}
            for kind, found in near.items()
        }
        return {
            "rows": len(self),
            "known_rows": self.num_known,
            "known_left_out": self.left_out,
            "reached_share": _mean(reached),
            "cheaper_share": _mean(self.cheaper),
            "certified_share": None if certified is None else _mean(certified),
            "certified_cheaper_share": None
            if certified is None
            else _mean(self.cheaper[certified]),
            **{
                f"{name}_{middle}": _finite(getattr(values, middle)()) if len(values) else None
                for name, values in costs.items()
                for middle in ("mean", "median")
            },
            "by_truth": self.by_truth,
            **{kind: {s: _mean(inside) for s, inside in of.items()} for kind, of in shares.items()},
            "outcomes": {
                variable.name: {
                    kind: {s: _mean(inside[:, place]) for s, inside in of.items()}
                    for kind, of in shares.items()
                }
                for place, variable in enumerate(self.proposal.output_variables)
            },
        }

    def columns(self) -> dict[str, Tensor]:
        """Return the columns of a table: those of the history, of the proposals, and the true outcomes."""
        return {name: numbers for name, (_, numbers) in self._table().items()}

    def units(self) -> dict[str, str]:
        """Return the units of the :meth:`columns`, empty where a column has none."""
        return {name: unit for name, (unit, _) in self._table().items()} | self.proposal.units()

    def _table(self) -> dict[str, tuple[str, Tensor]]:
        inputs, outputs = self.proposal.input_variables, self.proposal.output_variables
        table = {"history/row": ("", self.rows)}
        mattering = matters(self.inputs, read_conditions(inputs))
        given = self.inputs if mattering is None else self.inputs.where(mattering, torch.nan)
        for variables, values in ((inputs, given), (outputs, self.measured)):
            for variable, column in zip(variables, values.T, strict=True):
                table[f"history/{variable.name}"] = variable.unit, column
        table |= {"history/spent": ("", self.spent), "history/saved": ("", self.saved)}
        table |= {name: ("", column) for name, column in self.proposal.columns().items()}
        if self.by_truth:
            for variable, column in zip(outputs, self.outcomes.T, strict=True):
                table[f"true/{variable.name}"] = variable.unit, column
        return table


def _mean(values: Tensor) -> float | None:
    return _finite(values.double().mean())


def _finite(number: Tensor) -> float | None:
    return float(number) if number.isfinite() else None


def run_backtest(
    x: TensorLike,
    y: TensorLike,
    cost: Any,
    *,
    surrogate: Surrogate,
    answer: Callable[..., Proposal],
    truth: Callable[[Tensor], Tensor] | None,
    include_known: bool,
    search: Search,
    max_changes: Any = None,
    **options: Any,
) -> Backtest:
    """Propose for the outcomes of a history, and compare; ``options`` are of :meth:`.Proposer.propose`."""
    if cost is None:
        raise TypeError(expected_but_got("cost", "prices, a function or a `Near`", cost))
    if truth is not None and not callable(truth):
        raise TypeError(expected_but_got("truth", "a function of the inputs, or None", truth))
    evidence = surrogate.evidence
    history = _read_history(x, y, surrogate)
    known = _known_rows(history, evidence)
    if not check_flag("include_known", include_known) and known.all():
        raise ValueError(
            f"Expected rows that are not known from training, but all {len(known)} are. "
            "Take other rows, or set include_known to True and expect too good a result."
        )
    rows = (torch.ones_like(known) if include_known else ~known).nonzero()[:, 0]
    inputs, measured = history
    if isinstance(max_changes, int) and not isinstance(cost, Near):
        max_changes = max_changes, inputs
    told = {name: options.pop(name) for name in TOLD & options.keys()}
    with surrogate.evaluating(cost, *functions_of(options.get("constraints"))):
        # Of all rows, as bounds and prices may have one for each.
        query = surrogate.query(measured, search, cost=cost, max_changes=max_changes, **options)
        device, n = query.bounds.low.device, query.bounds.low.shape[1]
        if inputs.shape[1] != n:
            raise ValueError(wrong_shape("x", n, EACH, inputs))
        rows = rows.to(device)
        inputs, measured = (part.to(device) for part in history)
        if query.reference is None:
            query = replace(query, reference=inputs.to(query.bounds.low))
        query, inputs, measured = query.rows(rows), inputs[rows], measured[rows]
        assert query.cost is not None
        spent = query.cost(inputs)[0]
        predicted = surrogate.predict(inputs.to(query.bounds.low)).double()
        proposal = answer(query, search.progress, **told)
    outcomes = proposal.outputs.double()
    if truth is not None:
        found = evaluate_inside(truth, proposal.inputs.double(), shape=outcomes.shape[1:])
        if not isinstance(found, Tensor) or found.shape != outcomes.shape:
            got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(
                f"Expected argument `truth` to return shape {tuple(outcomes.shape)}, but it returned {got}."
            )
        outcomes = found.detach().to(outcomes)
    train = evidence.rows("train")
    return Backtest(
        proposal=proposal, rows=rows, inputs=inputs, measured=measured, spent=spent, outcomes=outcomes,
        predicted=predicted, by_truth=truth is not None, num_known=int(known.sum()),
        left_out=not include_known,
        all_known=train is not None and len(train[0]) < evidence.num_points,
    )  # fmt: skip


def _read_history(x: TensorLike, y: TensorLike, surrogate: Surrogate) -> tuple[Tensor, Tensor]:
    """Return inputs (N, n) and outcomes (N, m), float64, if they are finite and like the known rows."""
    history = read_measured(x, y, surrogate, EACH)
    for name, part in zip("xy", history, strict=True):
        if not len(part):
            raise ValueError(f"Expected argument `{name}` to have rows, but it has none.")
    return history


def _known_rows(history: tuple[Tensor, Tensor], evidence: Evidence) -> Tensor:
    """Return which rows equal, to rounding, a row that the surrogate was trained or corrected on, (N,)."""
    rows, known = torch.cat(history, 1), torch.zeros(len(history[0]), dtype=torch.bool)
    for split in ("train", "tried"):
        points = evidence.rows(split)
        if points is None:
            continue
        others = torch.cat(points, 1)
        share, least, most = ROUNDING
        width = others.amax(0) - others.amin(0)
        reach = (share * others.abs()).clamp(least * width, most * width)
        for some, part in zip(known.split(CHUNK), rows.split(CHUNK), strict=True):
            some |= ((part[:, None] - others).abs() <= reach).all(2).any(1)
    return known
