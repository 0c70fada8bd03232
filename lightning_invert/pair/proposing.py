"""What a pair proposes for wanted outcomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from numbers import Real
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lightning_invert.arguments import check_integer
from lightning_invert.jacobians.contexts import evaluation_mode
from lightning_invert.pair.evidence import Evidence
from lightning_invert.pair.physical import PhysicalPair
from lightning_invert.solver.asked import Asked, read
from lightning_invert.solver.calibration import MIN_POINTS, Calibration
from lightning_invert.solver.cost import Near
from lightning_invert.solver.model import Box, Model
from lightning_invert.solver.proposal import Proposal
from lightning_invert.solver.rows import finite_rows
from lightning_invert.solver.sensitivity import sensitivity
from lightning_invert.solver.solution import Solution, joined, reordered
from lightning_invert.solver.solve import solve
from lightning_invert.solver.starts import Pool
from lightning_invert.solver.targets import Interval, Targets
from lightning_invert.variables import named

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["ProposingPair"]

NUM_STARTS = 8

PREDICTION_STARTS = 2
"""Eight take 2.6 times as long, and reach 94.5 instead of 93.9 % of the furnace's outcomes."""

MAX_TARGETS_AT_ONCE = 2**15
"""Whose starts and solutions are held at a time."""


class ProposingPair(PhysicalPair):
    """A pair that solves for wanted outcomes, and knows how far it can be relied on.

    Args:
        keep_points: How many rows of the training split, and of the validation split, are kept.
    """

    def __init__(self, keep_points: int) -> None:
        super().__init__()
        self.evidence = Evidence(keep_points)
        self._calibration: Calibration | None = None

    def propose(
        self,
        y: Tensor | Interval | Any,
        *,
        bounds: tuple[Any, Any] | None = None,
        start: int = NUM_STARTS,
        fixed: Mapping[str | int, Any] | None = None,
        cost: Near | Callable[[Tensor], Tensor] | Tensor | Any = None,
        tolerance: float = 1e-3,
        max_steps: int = 50,
        progress: bool = True,
    ) -> Proposal:
        r"""Propose settings for wanted outcomes, inside the box, and say what to expect of them.

        By :func:`~lightning_invert.solve`, from I(y) and from the known settings whose outcomes are
        nearest. Of several solutions the most trusted is the first, or the cheapest if there is a
        cost. It is calibrated on the validation points that are kept when it is first called, see
        :meth:`calibrate`. Optimising looks for settings at which F says what is wanted, which is
        also where it errs in favour of it: the band has been held against known processes, but no
        proof covers it as it covers the validation points.

        Args:
            y: Wanted outcomes in physical units, shape (N, m), with NaN for a free one; or an
                :class:`~lightning_invert.Interval`.
            bounds: Lower and upper ends of the settings, each of shape (n,) or a number; by default
                the ranges of the variables, and of a variable without one that of the known points.
            start: How many starts a target gets.
            fixed: Settings that are given, by name or index: a number, or one for each target.
            cost: Prices, a function or :class:`~lightning_invert.Near`, as for ``solve``.
            tolerance: Up to which distance a target is reached, in standard units.
            max_steps: As for ``solve``.
            progress: Show a progress bar if it takes long and the output is a terminal.

        Returns:
            The proposals, in physical units.

        Raises:
            TypeError: If an argument is of a wrong type.
            ValueError: If an argument is out of its range, or no box is known.

        Example:
            >>> from lightning_invert import ForwardInverseModule, SmoothMLP
            >>> pair = ForwardInverseModule(SmoothMLP(7, 4), SmoothMLP(4, 7))
            >>> box = [-2.0] * 7, [2.0] * 7
            >>> found = pair.propose(torch.zeros(10, 4), bounds=box)
            >>> found.inputs.shape, found.trust is None  # it has seen no data
            (torch.Size([10, 7]), True)
        """
        start = check_integer("start", start, low=1)
        bounds = self.box() if bounds is None else self._each(bounds)
        with torch.inference_mode(False), torch.no_grad(), evaluation_mode([self]):
            calibration = self.calibration
            asked = read(self, y, bounds, start, fixed, self._units())
            begin = self._pool(asked, start)
            parts = []
            for first in range(0, len(asked.targets.low), MAX_TARGETS_AT_ONCE):
                rows = slice(first, first + MAX_TARGETS_AT_ONCE)
                targets = asked.targets.rows(rows)
                found = solve(
                    self,
                    Interval(targets.low, targets.high),
                    bounds=bounds,
                    start=self._starts(begin, asked, rows),
                    fixed=_given(asked.box.rows(rows)),
                    cost=_cost_of(cost, rows),
                    tolerance=tolerance,
                    max_steps=max_steps,
                    scale=self._units(),
                    progress=progress,
                )
                one = self._judged(found, targets, asked.box.rows(rows), asked.model, calibration)
                parts.append((one, *one.alternatives))
        return joined(parts)

    def box(self) -> tuple[Tensor, Tensor] | None:
        """Return the ends of the settings, each of shape (n,), float64, in physical units.

        They are the ranges of the variables; of a variable without one, that of the known training
        points. ``None`` if neither is known of some.
        """
        known, count = self._known(), self._num_inputs()
        if count is None:
            return None
        ends = []
        for side in ("low", "high"):
            reach = [None] * count if known is None else getattr(known[0], _REACH[side])(0).tolist()
            ranges = [getattr(one, side) for one in self.inputs or ()] or [None] * count
            ends.append([a if a is not None else b for a, b in zip(ranges, reach, strict=True)])
        if any(end is None for side in ends for end in side):
            return None
        low, high = torch.tensor(ends, dtype=torch.float64)
        return low, high

    @property
    def calibration(self) -> Calibration | None:
        """What is known of F's errors; ``None`` if too few validation points are kept.

        It is computed when it is first asked for, and again after the weights were trained or
        loaded.
        """
        if self._calibration is None:
            self.calibrate()
        return self._calibration

    def calibrate(self) -> None:
        """Measure F's errors at the validation points that are kept, for the weights as they are now.

        ``propose`` does so by itself; call it only if the weights were changed by hand since.
        """
        self._calibration = self.calibrated()

    def calibrated(self, num_points: int | None = None, members: bool = True) -> Calibration | None:
        """Return what is known of F's errors, by all known points or by some.

        Args:
            num_points: How many of each split; ``None``: all that are kept.
            members: Whether the spread over F's members is to be told, where it has several.
        """
        judged, trained = self.evidence.rows("val"), self._known()
        if judged is None or trained is None or len(judged[0][:num_points]) < MIN_POINTS:
            return None
        x, y = (
            torch.cat([part[:num_points] for part in parts]).to(self.scale_x.mean.device)
            for parts in zip(judged, trained, strict=True)
        )
        with torch.inference_mode(False), torch.no_grad(), evaluation_mode([self]):
            errors = (self.forward(x).double() - y) / self._units()[1]
            spread = self._spread(x) if members else None
            num_judged = len(judged[0][:num_points])
            return Calibration.of(self._standard(x), errors, spread, num_judged, y)

    def train(self, mode: bool = True) -> Self:
        """Set the mode; what is trained has to be calibrated anew."""
        if mode:
            self._calibration = None
        return super().train(mode)

    def solved(self, y: Tensor) -> dict[str, Tensor]:
        """Tell what is proposed for outcomes, as a table of predictions has it.

        From I(y) and the known settings whose outcomes are nearest alone: :meth:`propose` takes
        longer over more starts.

        Args:
            y: Shape (N, m); what is not finite is free.

        Returns:
            ``x_solved`` (N, n), ``y_solved`` = F there (N, m), ``residual`` (N,), and where the pair
            is calibrated ``y_low`` and ``y_high`` (N, m), ends of the band about ``y_solved``, and
            ``trust`` (N,), see :class:`~lightning_invert.Proposal`. NaN in rows in which nothing is
            finite. Nothing at all where no box is known.
        """
        box = self.box()
        if y.ndim != 2 or box is None or not torch.stack(box).isfinite().all():
            return {}
        rows = y.isfinite().any(1)
        wanted = torch.where(y.isfinite(), y, torch.nan)
        wanted = torch.where(rows[:, None], wanted, self.scale_y.mean.to(wanted))
        proposal = self.propose(wanted, bounds=box, start=PREDICTION_STARTS, progress=False)
        parts = {
            "x_solved": proposal.inputs,
            "y_solved": proposal.outputs,
            "y_low": proposal.outcome_low,
            "y_high": proposal.outcome_high,
            "trust": proposal.trust,
            "residual": proposal.residual,
        }
        return {
            name: torch.where(rows.reshape(-1, *[1] * (part.ndim - 1)), part, torch.nan)
            for name, part in parts.items()
            if part is not None
        }

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Load weights; what they know has to be calibrated anew."""
        self._calibration = None
        return super().load_state_dict(*args, **kwargs)

    def _known(self) -> tuple[Tensor, Tensor] | None:
        """Return the training points that are kept, (K, n) and (K, m)."""
        return self.evidence.rows("train")

    def _num_inputs(self) -> int | None:
        """Return n, if variables or known points tell it."""
        if self.inputs is not None:
            return len(self.inputs)
        known = self._known()
        return None if known is None else known[0].shape[1]

    def _each(self, bounds: Any) -> Any:
        """Write out ends that are the same number for each setting, where n is known."""
        count = self._num_inputs()
        if count is None or not isinstance(bounds, tuple | list):
            return bounds
        return tuple([end] * count if isinstance(end, Real) else end for end in bounds)

    def _units(self) -> tuple[Tensor, Tensor]:
        """Return the standard units of settings and outcomes, (n,) and (m,)."""
        known = self._known()
        units = []
        for place, scale in enumerate((self.scale_x, self.scale_y)):
            if scale.fitted or known is None or len(known[0]) < 2:
                unit = scale.std
            else:
                spread = known[place].std(0).to(scale.std)
                unit = torch.where(spread > 0, spread, 1.0)
            units.append(unit.double())
        return units[0], units[1]

    def _standard(self, x: Tensor) -> Tensor:
        """Return settings in standard units, about their mean: what is exported is rounded."""
        known = self._known()
        centred = self.scale_x.fitted or known is None
        centre = self.scale_x.mean if centred else known[0].mean(0).to(x.device)  # type: ignore[index]
        return (x.double() - centre) / self._units()[0]

    def _spread(self, x: Tensor) -> Tensor | None:
        """Return the standard deviation over F's members in standard units, (N, m)."""
        members = self.members(x)
        if members is None or len(members) < 2:
            return None
        return members.double().std(0) / self._units()[1]

    def _pool(self, asked: Asked, count: int) -> Pool:
        known = self._known()
        if known is None:
            return Pool.drawn(asked.model, *asked.bounds, seed=0, count=count)
        return Pool(asked.model, known[0].to(asked.box.low).clamp(*asked.bounds), count)

    def _starts(self, pool: Pool, asked: Asked, rows: slice) -> Tensor:
        targets, box = asked.targets.rows(rows), asked.box.rows(rows)
        nearest = pool.nearest(targets)
        # Of an interval the inverse network is asked for the point next to a known outcome.
        outcome = asked.model.outputs(pool.inputs[nearest[:, 0]]).clamp(targets.low, targets.high)
        own = self.inverse(outcome).to(box.low)
        known = pool.inputs[nearest[:, : max(1, nearest.shape[1] - 1)]]
        starts = torch.cat([own[:, None], known], 1)[:, : nearest.shape[1]]
        starts = torch.where(starts.isfinite(), starts, known[:, :1])
        return starts.clamp(box.low[:, None], box.high[:, None])

    def _judged(
        self,
        found: Solution,
        targets: Targets,
        box: Box,
        model: Model,
        calibration: Calibration | None,
    ) -> Proposal:
        """Say what to expect of the solutions; without a cost, the most trusted comes first."""
        every = [self._expected(one, targets, box, model) for one in (found, *found.alternatives)]
        if calibration is not None:
            every = [self._calibrated(one, calibration, model) for one in every]
        proposal = replace(every[0], alternatives=tuple(every[1:]))
        if calibration is None or found.cost is not None or len(every) == 1:
            return proposal
        errors = torch.stack([one.expected_error for one in every], 1).nan_to_num(torch.inf)  # type: ignore[misc]
        order = errors.argsort(dim=1, stable=True)
        missed = torch.stack([~one.converged for one in every], 1).gather(1, order)
        return reordered(proposal, order.gather(1, missed.byte().argsort(dim=1, stable=True)))

    def _expected(self, found: Solution, targets: Targets, box: Box, model: Model) -> Proposal:
        columns = {one.name: getattr(found, one.name) for one in fields(Solution)}
        return Proposal(
            **{**columns, "alternatives": ()},
            target_low=targets.low,
            target_high=targets.high,
            box_low=box.low,
            box_high=box.high,
            sensitivity=sensitivity(model, found.inputs, targets.wanted, box.low < box.high),
            input_variables=named(self.inputs, "x", found.inputs.shape[1]),
            output_variables=named(self.outputs, "y", found.outputs.shape[1]),
        )

    def _calibrated(self, found: Proposal, calibration: Calibration, model: Model) -> Proposal:
        targets = Targets(found.target_low, found.target_high)
        rows = finite_rows(found.inputs)
        x = found.inputs[rows].double()
        sigma, distance = calibration.sigma(self._standard(x), self._spread(x))
        sigma = _at(rows, sigma)
        reach = (calibration.quantile * sigma) * model.output_spread
        error = calibration.expected_error(sigma, found.residual, targets.wanted)
        beyond = (targets.low > calibration.seen_high) | (targets.high < calibration.seen_low)
        return replace(
            found,
            outcome_low=found.outputs - reach,
            outcome_high=found.outputs + reach,
            expected_error=error,
            trust=calibration.trust(error, targets.wanted),
            far=_at(rows, distance) > calibration.far,
            unseen=(beyond & targets.wanted).any(1),
        )


def _at(rows: Tensor, values: Tensor) -> Tensor:
    """Put values, one for each of the marked rows, at their places; the others are NaN."""
    placed = values.new_full((len(rows), *values.shape[1:]), torch.nan)
    placed[rows] = values
    return placed


def _given(box: Box) -> dict[str | int, Tensor]:
    """Return what is fixed in a box: index -> (N,)."""
    same = (box.low == box.high).all(0)
    return {} if same.all() else {int(i): box.low[:, i] for i in same.nonzero()[:, 0]}


def _cost_of(cost: Any, rows: slice) -> Any:
    """Return the cost of some of the targets."""
    if not isinstance(cost, Near) or getattr(cost.reference, "ndim", 1) < 2:
        return cost
    return cost._replace(reference=cost.reference[rows])


_REACH = {"low": "amin", "high": "amax"}
