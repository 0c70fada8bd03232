"""Propose inputs for wanted outputs of a function with known points."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from lightning_invert.arguments import expected_but_got
from lightning_invert.arrays import TensorLike
from lightning_invert.devices import making_tensors_on_cpu
from lightning_invert.doorway import Shown
from lightning_invert.proposals.backtest import Backtest, run_backtest
from lightning_invert.proposals.band import COVERAGE
from lightning_invert.proposals.correction import Correction
from lightning_invert.proposals.evidence import Evidence
from lightning_invert.proposals.knowledge import Knowledge
from lightning_invert.proposals.proposal import Proposal
from lightning_invert.proposals.reliability import Reliability
from lightning_invert.proposals.surrogate import Surrogate, of_any_dtype
from lightning_invert.proposals.trade_off import WIDTHS, TradeOff, read_widths, widened
from lightning_invert.proposals.trials import Trials
from lightning_invert.proposals.windows import Windows, find_windows
from lightning_invert.solver.constraint import ConstraintsLike, functions_of
from lightning_invert.solver.cost import CostLike
from lightning_invert.solver.search import Search
from lightning_invert.solver.solve import rank_solutions
from lightning_invert.solver.targets import TargetsLike
from lightning_invert.variables import Bounds, Variable

__all__ = ["Proposer"]


class Proposer(Shown):
    """Propose inputs for wanted outputs, and estimate how far to rely on them.

    It serves any differentiable function with known points. They give starts and bounds; from the function's
    errors there, each proposal gets a band, an expected error and its trust.

    Args:
        function: F, maps (N, n) to (N, m) in physical units, each row by itself: a module or a function.
            The ``inputs``, ``outputs``, ``scale_x`` and ``scale_y`` of a pair are used unless an
            argument replaces them.
        evidence: Known points of the training and validation data.
        inputs: Names, units and ranges of the n inputs.
        outputs: Names and units of the m outputs.
        scale: Standard units of inputs and of outputs: a pair of numbers, or of shapes (n,) and (m,).
            Default: the statistics of a pair, else the standard deviations of the known training points.
        inverse: I, maps wanted outputs (N, m) to inputs (N, n): one more start.
        members: Maps (N, n) to the outputs of F's K members, (K, N, m), or to None. Their spread says
            more about F's errors.

    Raises:
        TypeError: If ``function`` is not callable, or ``evidence`` is not an :class:`Evidence`.

    Example:
        >>> import torch
        >>> _ = torch.manual_seed(0)
        >>> f = lambda x: torch.stack((x[:, 0] * x[:, 1], x[:, 1].sin()), 1)
        >>> x = torch.rand(400, 2)
        >>> y = f(x) + 0.01 * torch.randn(400, 2)  # measured
        >>> evidence = Evidence.of(train=(x[:200], y[:200]), val=(x[200:], y[200:]))
        >>> proposer = Proposer(f, evidence=evidence, inputs=[Variable("heat"), Variable("load")])
        >>> proposal = proposer.propose([[0.2, 0.4]])
        >>> bool(proposal.converged), bool(proposal.trust > 0.5)
        (True, True)
    """

    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        *,
        evidence: Evidence,
        inputs: Sequence[Variable] | None = None,
        outputs: Sequence[Variable] | None = None,
        scale: tuple[TensorLike, TensorLike] | None = None,
        inverse: Callable[[Tensor], Tensor] | None = None,
        members: Callable[[Tensor], Tensor | None] | None = None,
    ) -> None:
        if not callable(function):
            raise TypeError(expected_but_got("function", "a module or a function", function))
        if not isinstance(evidence, Evidence):
            raise TypeError(expected_but_got("evidence", "an Evidence, see Evidence.of", evidence))
        for name, part in (("inverse", inverse), ("members", members)):
            if part is not None and not callable(part):
                raise TypeError(expected_but_got(name, "a module or a function", part))
        if scale is not None and not (isinstance(scale, tuple | list) and len(scale) == 2):
            raise TypeError(expected_but_got("scale", "units (of inputs, of outputs)", scale))
        known = evidence.rows("train")
        self.surrogate = Surrogate(
            of_any_dtype(function, None if known is None else known[0]),
            evidence,
            None if inputs is None else tuple(map(Variable.of, inputs)),
            None if outputs is None else tuple(map(Variable.of, outputs)),
            scale,
            inverse,
            members,
        )
        self.knowledge = Knowledge(self.surrogate)

    @making_tensors_on_cpu()
    def propose(
        self,
        targets: TargetsLike,
        *,
        bounds: tuple[Any, Any] | Mapping[Any, Any] | None = None,
        fixed: Mapping[Any, Any] | None = None,
        cost: CostLike | None = None,
        constraints: ConstraintsLike | None = None,
        weights: TensorLike | Mapping[Any, float] | None = None,
        max_changes: int | tuple[int, Any] | None = None,
        setting_error: TensorLike | Mapping[Any, float] | None = None,
        tolerance: float = 1e-3,
        coverage: float = COVERAGE,
        joint: bool = True,
        **search: Any,
    ) -> Proposal:
        """Propose inputs for wanted outputs, within bounds, with what to expect of them.

        :func:`~lightning_invert.solve` starts from I(y) and from the known inputs with the nearest outputs.
        Of several solutions the cheapest comes first; without a cost, the most trusted. The first call
        measures the :attr:`reliability`. The solver looks for inputs where F predicts the target, and so
        favours inputs where F errs that way. Bands were compared with known processes; no proof covers them
        as it covers the validation points.

        Args:
            targets: Wanted outputs in physical units. By name, the others free: ``{"conversion": 80,
                "purity": Interval(low=0.9)}``. Or of shape (N, m), with NaN where an output is free. Or an
                :class:`~lightning_invert.Interval`, or a data frame.
            bounds: Ends that replace those of :attr:`bounds`, by name: ``{"pressure": (1, None)}``, None
                keeps an end. Or a pair (low, high), each a number or of shape (n,).
            fixed: Values of fixed inputs, by name or index: a number, or one for each target.
            cost: Prices by name, ``{"pressure": 3}``, a function, :class:`~lightning_invert.Near`,
                :class:`~lightning_invert.Plausible` or :class:`~lightning_invert.Robust`, as for ``solve``.
            constraints: Constraints between inputs, such as ``Linear({"coal": 1, "gas": 1}, high=200)``, as
                for ``solve``. :class:`~lightning_invert.LikeData` keeps proposals near the data, beside any
                cost. Default: those of a pair; ``()`` for none.
            weights: Weights of the outputs in the distance to a target out of reach, such as
                ``{"purity": 2}``, as for ``solve``.
            max_changes: How many inputs may differ from those in force: 2, beside ``cost=Near(reference)``,
                or ``(2, reference)`` beside other costs. The best choice of inputs is found.
            setting_error: Standard deviations of what inputs are really set to, in their units, such as
                ``{"pressure": 0.1}``: fills ``outcome_spread``. Default: those of ``cost=Robust(...)``.
            tolerance: A target is reached at this distance, in standard units.
            coverage: How often the band holds what is measured.
            joint: Whether ``coverage`` is that of all outputs at once, or of each by itself.
            search: ``num_starts`` (8), ``max_steps`` (50) and ``progress`` (True), as for ``solve``.

        Returns:
            The proposals, in physical units.

        Raises:
            TypeError: If an argument has the wrong type.
            ValueError: If an argument is out of range, or no closed bounds are known.
        """
        how = Search.of(search, Proposer.propose)
        with self.surrogate.evaluating(cost, *functions_of(constraints)):
            query = self.knowledge.surrogate.query(
                targets, how, bounds=bounds, fixed=fixed, cost=cost, constraints=constraints,
                weights=weights, max_changes=max_changes, tolerance=tolerance,
            )  # fmt: skip
            return self.knowledge.answer(
                query, how.progress, coverage=coverage, joint=joint, setting_error=setting_error
            )

    def trade_off(
        self,
        targets: TargetsLike,
        cost: CostLike,
        *,
        widths: Sequence[float] = WIDTHS,
        bounds: tuple[Any, Any] | Mapping[Any, Any] | None = None,
        fixed: Mapping[Any, Any] | None = None,
        constraints: ConstraintsLike | None = None,
        tolerance: float = 1e-3,
        **search: Any,
    ) -> TradeOff:
        """Find how much cheaper a target becomes if it need not be met exactly.

        For each width, it finds the least cost at which each outcome is within this width of its target.

        Args:
            targets: Wanted outputs.
            cost: Prices, a function or :class:`~lightning_invert.Near`.
            widths: Widths in standard units, in ascending order.
            bounds: As for :meth:`propose`.
            fixed: As for :meth:`propose`.
            constraints: As for :meth:`propose`.
            tolerance: As for :meth:`propose`.
            search: As for :meth:`propose`.

        Returns:
            Costs and inputs for each width.

        Raises:
            ValueError: If there are no widths, or they are negative or not ascending; and as ``propose``.
            TypeError: If a width is not a number, or there is no cost; and as ``propose``.

        Example:
            >>> import torch
            >>> x = torch.rand(200, 3)
            >>> known = x, x[:, :2] * x[:, 2:]
            >>> proposer = Proposer(
            ...     lambda x: x[:, :2] * x[:, 2:], evidence=Evidence.of(train=known, val=known)
            ... )
            >>> trade_off = proposer.trade_off(known[1][:4], [1.0, 1.0, 0.0], widths=(0, 0.1))
            >>> trade_off.cost.shape, bool((trade_off.cost[1] <= trade_off.cost[0]).all())
            (torch.Size([2, 4]), True)
        """
        how = Search.of(search, Proposer.trade_off)
        numbers = read_widths(widths)
        if cost is None:
            raise TypeError(
                "Expected argument `cost` to be prices, a function or a `Near`, but got None: without "
                "a cost a wider target saves nothing."
            )
        with self.surrogate.evaluating(cost, *functions_of(constraints)):
            query = self.knowledge.surrogate.query(
                targets, how, bounds=bounds, fixed=fixed, cost=cost, constraints=constraints,
                tolerance=tolerance,
            )  # fmt: skip
            ranking = rank_solutions(widened(query, numbers), progress=how.progress)
        return TradeOff.of(numbers, ranking)

    @making_tensors_on_cpu()
    def observe(self, x: TensorLike, y: TensorLike) -> Trials:
        """Learn from what was measured at inputs that were tried.

        First the bands judge the rows. An alarm is raised if outcomes miss their bands more often than they
        may: of processes that never change, at most 5 % ever raise one. Then the rows join the
        :attr:`evidence`: bands are fitted anew, and F is corrected where the rows show a bias beyond noise.
        Elsewhere the :attr:`correction` is 0. A checkpoint keeps the rows; a new fit forgets them.

        Args:
            x: Inputs that were tried, shape (N, n), in physical units, in the order of the trials.
            y: Outputs that were measured there, shape (N, m).

        Returns:
            How the rows were judged, what is corrected, and whether the process has changed.

        Raises:
            TypeError: If an argument does not hold numbers.
            ValueError: If the rows are not finite, not of n and m columns or more than the evidence keeps, or
                nothing is known of the training data.

        Example:
            >>> import torch
            >>> x = torch.rand(400, 2)
            >>> y = x.prod(1, keepdim=True) + 0.01 * torch.randn(400, 1)  # measured
            >>> evidence = Evidence.of(train=(x[:200], y[:200]), val=(x[200:], y[200:]))
            >>> proposer = Proposer(lambda x: x.prod(1, keepdim=True), evidence=evidence)
            >>> tried = torch.rand(20, 2)  # the process now gives 0.2 more
            >>> trials = proposer.observe(tried, tried.prod(1, keepdim=True) + 0.2)
            >>> int(trials.inside.sum()), trials.alarm is not None
            (0, True)
            >>> bool((trials.corrected_error < 0.1 * trials.error).all())
            True
        """
        return self.knowledge.observe(x, y)

    @making_tensors_on_cpu()
    def windows(
        self,
        proposal: Proposal,
        tolerance: float | Mapping[Any, float],
        *,
        constraints: ConstraintsLike | None = None,
        max_steps: int = 50,
    ) -> Windows:
        """Find how far each input of a proposal can go while the others compensate.

        The outcomes stay within the tolerance of their targets, the inputs within their bounds. An input may
        be able to go even farther by a way that does not begin at the proposal.

        Args:
            proposal: Proposals of :meth:`propose`; their targets, bounds and fixed inputs hold.
            tolerance: How far each outcome may be from its target: a number in standard units, or by name in
                physical units, ``{"conversion": 0.5}``, the others stay as they are.
            constraints: As for :meth:`propose`: a proposal does not keep its own.
            max_steps: Most steps to each end.

        Returns:
            The windows, in physical units, and all inputs at their ends.

        Raises:
            TypeError: If an argument has the wrong type.
            ValueError: If an argument is out of range.

        Example:
            >>> import torch
            >>> x = torch.rand(400, 3)
            >>> known = x, x.sum(1, keepdim=True)
            >>> evidence = Evidence.of(train=known, val=known)
            >>> proposer = Proposer(lambda x: x.sum(1, keepdim=True), evidence=evidence)
            >>> proposal = proposer.propose([[0.8]], bounds=(0.0, [1.0, 1.0, 0.1]))
            >>> windows = proposer.windows(proposal, {0: 0.1})  # the sum may be 0.7 to 0.9
            >>> windows.low.round(decimals=2), windows.high.round(decimals=2)
            (tensor([[0., 0., 0.]]), tensor([[0.9000, 0.9000, 0.1000]]))
        """
        if not isinstance(proposal, Proposal):
            raise TypeError(expected_but_got("proposal", "what `propose` returned", proposal))
        surrogate = self.knowledge.surrogate
        with surrogate.evaluating():
            return find_windows(
                surrogate, proposal, tolerance, constraints=constraints, max_steps=max_steps
            )

    @making_tensors_on_cpu()
    def backtest(
        self,
        x: TensorLike,
        y: TensorLike,
        cost: CostLike,
        *,
        truth: Callable[[Tensor], Tensor] | None = None,
        include_known: bool = False,
        **options: Any,
    ) -> Backtest:
        """Compare what a history cost with the cheapest inputs for the same outcomes.

        Each row's own inputs are one of its starts: if F reaches the outcomes there, a proposal costs no more.

        Args:
            x: Inputs that were in force, shape (N, n).
            y: Outputs that were measured there, shape (N, m): the targets.
            cost: Prices by name or of shape (n,) or (N, n), a function or a ``Near``.
            truth: The true process, (N, n) to (N, m), that judges the proposals. Default: F, too kindly.
            include_known: Keep the rows that F was trained on, as far as the :attr:`evidence` knows.
            options: Arguments of :meth:`propose`, such as ``constraints``. Bounds may have a row for each of
                the history; ``max_changes=2`` counts from the inputs in force.

        Raises:
            TypeError: If an argument has the wrong type, or there is no cost.
            ValueError: If no row is left, a row is not finite or all rows are known; and as ``propose``.

        Example:
            >>> import torch
            >>> x = torch.rand(400, 2)
            >>> proposer = Proposer(torch.sin, evidence=Evidence.of((x, x.sin()), (x, x.sin())))
            >>> history = torch.rand(5, 2)
            >>> proposer.backtest(history, history.sin(), {0: 3.0}).saved.abs().max() < 0.1
            tensor(True)
        """
        search = Search.of(options, Proposer.propose)  # and leaves the others
        return run_backtest(
            x, y, cost, truth=truth, include_known=include_known, search=search,
            surrogate=self.knowledge.surrogate, answer=self.knowledge.answer, **options,
        )  # fmt: skip

    @property
    def evidence(self) -> Evidence:
        """The known points."""
        return self.surrogate.evidence

    @property
    def bounds(self) -> Bounds | None:
        """Ranges of the inputs, (n,) each, float64; ``None`` if nothing is known of them.

        A variable without a range gets that of the known training points; an end that is not known is infinite.
        """
        return self.surrogate.bounds

    @property
    def reliability(self) -> Reliability | None:
        """The model of F's errors; ``None`` if fewer than 30 validation points are known.

        It is measured when it is first needed, and again after :meth:`reset`.
        """
        return self.knowledge.reliability

    @property
    def correction(self) -> Correction | None:
        """What is added to F, in standard units; ``None`` if no tried row calls for it."""
        return self.knowledge.surrogate.correction

    def reset(self) -> None:
        """Forget reliability and correction. Call it after F or the evidence has changed."""
        self.knowledge.reset()
