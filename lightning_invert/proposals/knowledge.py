"""What is known of a surrogate: its errors at known points, and what tried rows say of it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import compress
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_invert.arguments import check_flag, check_number
from lightning_invert.arrays import TensorLike
from lightning_invert.conditions import matters
from lightning_invert.proposals.band import COVERAGE
from lightning_invert.proposals.feedback import Feedback
from lightning_invert.proposals.proposal import Proposal
from lightning_invert.proposals.reliability import MIN_POINTS, Reliability
from lightning_invert.proposals.surrogate import Surrogate
from lightning_invert.proposals.trials import Trials, read_trials
from lightning_invert.solver.cases import held
from lightning_invert.solver.cost import read_setting_error
from lightning_invert.solver.query import Query
from lightning_invert.solver.ranking import Ranking
from lightning_invert.solver.rows import spread_out
from lightning_invert.solver.sensitivity import outcome_spread, sensitivity
from lightning_invert.solver.solve import rank_solutions
from lightning_invert.solver.targets import Targets
from lightning_invert.variables import as_variables

__all__ = ["Expectation", "Knowledge"]


class Expectation(NamedTuple):
    """What to expect of a surrogate at N points, in standard units."""

    sigma: Tensor  # (N, m): the standard deviation of its error
    half: Tensor  # (N, m): half the width of the band
    beyond: Tensor  # (N, 2): by how much a point passes the limits, see Band.at


class Knowledge:
    """What the known points of a surrogate say of it, read when it is first asked for."""

    def __init__(self, surrogate: Surrogate) -> None:
        self._plain = surrogate
        self._reliability: Reliability | None = None
        self._feedback: Feedback | None = None

    def reset(self) -> None:
        """Forget it: F has changed, or its evidence."""
        self._reliability = self._feedback = None

    @property
    def reliability(self) -> Reliability | None:
        """The model of F's errors; ``None`` if fewer than 30 validation points are known."""
        if self._reliability is None:
            self._reliability = self.measure()
        return self._reliability

    @property
    def feedback(self) -> Feedback | None:
        """What the rows say that were tried; ``None`` without any."""
        if self._feedback is None:
            self._feedback = Feedback.of(self._plain)
        return self._feedback

    @property
    def surrogate(self) -> Surrogate:
        """The surrogate with its correction, if tried rows ask for one."""
        correction = None if self.feedback is None else self.feedback.correction
        return self._plain if correction is None else replace(self._plain, correction=correction)

    def expect(self, x: Tensor, coverage: float = COVERAGE, *, joint: bool = True) -> Expectation:
        """Tell what to expect at inputs (N, n), if the reliability is known.

        Once the process has changed, what tried rows leave open comes on top.
        """
        assert self.reliability is not None
        reliability, points = self.reliability.to(x.device), self._plain.standardize(x)
        sigma = reliability.sigma(points, self._plain.spread(x))
        feedback = self.feedback
        doubt = None if feedback is None else feedback.doubt(points, coverage, joint=joint)
        if doubt is not None:
            sigma = sigma.hypot(doubt[0])
        half, beyond = reliability.half_width(points, sigma, coverage, joint=joint)
        return Expectation(sigma, half if doubt is None else half.hypot(doubt[1]), beyond)

    def answer(
        self,
        query: Query,
        progress: bool,
        *,
        coverage: float = COVERAGE,
        joint: bool = True,
        setting_error: Any = None,
    ) -> Proposal:
        """Solve a query, and tell what to expect of what is found."""
        check_flag("joint", joint)
        check_number("coverage", coverage, low=0.0, high=1.0, open_low=True, open_high=True)
        error = read_setting_error("setting_error", setting_error, query.inputs)
        if error is None and query.cost is not None:
            error = query.cost.setting_error
        about, reliability = self._plain.description, self.reliability
        judge = partial(self._judge, coverage=coverage, joint=joint)
        ranking = rank_solutions(query, judge, progress=progress)
        best = ranking.best()
        return Proposal(
            **best,
            alternatives=ranking.alternatives(),
            targets=query.targets,
            bounds=held(query, best["inputs"]),
            outcome_spread=None
            if error is None
            else outcome_spread(query.model, best["inputs"], error),
            constraint_names=query.constraint_names,
            shortfall=query.targets.shortfall(best["outputs"]),
            matters=matters(best["inputs"], query.conditions),
            unseen=self.unseen(query.targets),
            input_variables=as_variables(about.inputs, "x", query.bounds.low.shape[1]),
            output_variables=as_variables(about.outputs, "y", query.model.num_outputs),
            coverage=coverage,
            joint=joint,
            num_validation_rows=None if reliability is None else len(reliability.band.scores),
        )

    def _judge(self, query: Query, ranking: Ranking, *, coverage: float, joint: bool) -> Ranking:
        """Add what to expect of each solution; without a cost, the most trusted comes first."""
        inputs, outputs = ranking.columns["inputs"], ranking.columns["outputs"]
        solved = ranking.exists & inputs.isfinite().all(2)
        target = solved.nonzero()[:, 0]
        x, constrained = inputs[solved], query.targets.constrained[target]
        moves = sensitivity(query.rows(target), x)
        ranking = ranking.adding(sensitivity=spread_out(solved, moves))
        if self.reliability is None:
            return ranking
        reliability = self.reliability.to(x.device)
        sigma, half, beyond = self.expect(x, coverage, joint=joint)
        half = half * query.model.output_spread
        error = reliability.expected_error(sigma, ranking.columns["residual"][solved], constrained)
        ranking = ranking.adding(
            outcome_low=spread_out(solved, outputs[solved] - half),
            outcome_high=spread_out(solved, outputs[solved] + half),
            expected_error=spread_out(solved, error),
            trust=spread_out(solved, reliability.trust(error, constrained)),
            doubtful=spread_out(solved, beyond[:, 0].nan_to_num(torch.inf)) > 0,
            far=spread_out(solved, beyond[:, 1].nan_to_num(torch.inf)) > 0,
        )
        if query.cost is not None:
            return ranking
        return ranking.reordered(ranking.columns["expected_error"])

    def unseen(self, targets: Targets) -> Tensor | None:
        """Return which targets lie, in an output, beyond all known outcomes, (N,)."""
        if self.reliability is None:
            return None
        reliability = self.reliability.to(targets.low.device)
        beyond = (targets.low > reliability.seen_high) | (targets.high < reliability.seen_low)
        return (beyond & targets.constrained).any(1)

    def observe(self, x: TensorLike, y: TensorLike) -> Trials:
        """Judge rows that were tried, and add them to the evidence: see :meth:`.Proposer.observe`."""
        evidence, surrogate = self._plain.evidence, self.surrogate
        tried, measured = read_trials(x, y, surrogate)
        placement, units = surrogate.description.placement(), surrogate.units
        assert units is not None
        inside = None
        with surrogate.evaluating():
            there = tried.to(placement.device, placement.dtype)
            predicted = surrogate.predict(there).double().cpu()
            if self.reliability is not None:
                half = (self.expect(there).half * units[1]).cpu()
                inside = ((measured - predicted).abs() <= half).all(1)
        # Without a band nothing is bet on.
        missed = torch.zeros(len(tried), dtype=torch.bool) if inside is None else ~inside
        evidence.add_tried(tried, measured, missed)
        self.reset()
        assert self.feedback is not None
        outputs = as_variables(surrogate.description.outputs, "y", measured.shape[1])
        correction = self.feedback.correction
        return Trials(
            inputs=tried,
            measured=measured,
            predicted=predicted,
            inside=inside,
            error=((measured - predicted) / units[1].cpu()).square().mean(1).sqrt(),
            corrected_error=self.feedback.errors[-len(tried) :].square().mean(1).sqrt().cpu(),
            corrected=()
            if correction is None
            else tuple(compress(outputs, correction.corrected.tolist())),
            num_rows=len(evidence.missed),
            num_missed=int(evidence.missed.sum()),
            alarm=self.feedback.drift.alarm,
            since=self.feedback.drift.since,
        )

    def measure(self, num_points: int | None = None, *, members: bool = True) -> Reliability | None:
        """Measure F's errors at the known points, at most ``num_points`` of each split.

        ``members``: whether to use the spread over F's members, where it has several.

        Tried rows are judged points like the validation rows; F is corrected there by the other tried rows.
        Once the process has changed, F's errors elsewhere are those that it had before, without correction.
        """
        feedback = self.feedback
        surrogate = self._plain if feedback is not None and feedback.changed else self.surrogate
        evidence, units = surrogate.evidence, surrogate.units
        judged, trained, tried = (evidence.rows(split) for split in ("val", "train", "tried"))
        if judged is None or trained is None or units is None:
            return None
        num_judged = len(judged[0][:num_points])
        if num_judged < MIN_POINTS:
            return None
        parts = [[part[:num_points] for part in split] for split in (judged, trained)]
        if tried is not None:
            parts.insert(1, [part[-(num_points or len(part)) :] for part in tried])
        placement = surrogate.description.placement()
        x, y = (torch.cat(part).to(placement.device) for part in zip(*parts, strict=True))
        with surrogate.evaluating():
            points = x.to(placement.dtype)
            errors = (y - surrogate.predict(points).double()) / units[1]
            if feedback is not None:
                rows = slice(num_judged, num_judged + len(parts[1][0]))
                errors[rows] = feedback.errors[-len(parts[1][0]) :]
                num_judged = rows.stop
            inside = errors.isfinite().all(1)
            if (num_judged := int(inside[:num_judged].sum())) < MIN_POINTS:
                return None
            return Reliability.fit(
                surrogate.standardize(x[inside]),
                errors[inside],
                num_judged=num_judged,
                outcomes=y[inside],
                spread=surrogate.spread(points[inside]) if members else None,
            )
