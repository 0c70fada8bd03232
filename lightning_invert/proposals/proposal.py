"""Proposed inputs, and what to expect of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lightning_invert.doorway import Figures, figures_of, save_figures_of
from lightning_invert.jacobians.thresholds import Thresholds
from lightning_invert.proposals.band import COVERAGE, band_words
from lightning_invert.solver.solution import Solution
from lightning_invert.solver.targets import Targets
from lightning_invert.variables import Bounds, Variable

__all__ = ["Proposal"]


@dataclass(frozen=True, kw_only=True, repr=False)
class Proposal(Solution):
    """A :class:`~lightning_invert.Solution` for N targets, and what to expect of it.

    ``print`` describes it in words; a notebook shows a table of the first ten. Attributes that rest on known
    points are ``None`` if there are too few of them.

    Attributes:
        targets: Low and high ends of the targets, shape (N, m) each, infinite where open.
        bounds: Low and high ends of the inputs, shape (N, n) each; equal for a fixed input.
        sensitivity: How far each input moves, at most, when the target moves by one standard unit, by
            the linear model: shape (N, n), in the inputs' units. 0 for a fixed input, infinite where
            the Jacobian is singular.
        input_variables: Names, units and ranges of the n inputs.
        output_variables: Names and units of the m outputs.
        outcome_low: Low end of the band of the *measured* outcome, noise included, shape (N, m). See
            :attr:`band_words`.
        outcome_high: High end of the band.
        outcome_spread: Standard deviation of each outcome if the inputs err by ``setting_error``, by the
            linear model, shape (N, m), in the outcomes' units; ``None`` without ``setting_error``.
        expected_error: Median distance of the outcome from the target, in standard units, Euclidean over
            the outputs that have a target; shape (N,).
        trust: Probability that the outcome comes as near to the target as F is accurate, by its error at
            nine of ten validation points; shape (N,).
        far: Whether the inputs are farther from the training points, by their leverage, than 99 % of
            the validation points, shape (N,).
        doubtful: Whether F errs more at the nearest known points than it does near 99 % of the
            validation points, shape (N,).
        unseen: Whether the target of an output lies beyond all known outcomes, shape (N,).
        coverage: How often the band holds what is measured.
        joint: Whether ``coverage`` is that of all outputs at once, or of each by itself.
        num_validation_rows: Number of validation rows behind the bands.
        alternatives: Further proposals that reach the target, see
            :class:`~lightning_invert.solver.solution.Alternatives`.
    """

    targets: Targets
    bounds: Bounds
    sensitivity: Tensor
    input_variables: tuple[Variable, ...]
    output_variables: tuple[Variable, ...]
    outcome_low: Tensor | None = None
    outcome_high: Tensor | None = None
    outcome_spread: Tensor | None = None
    expected_error: Tensor | None = None
    trust: Tensor | None = None
    far: Tensor | None = None
    doubtful: Tensor | None = None
    unseen: Tensor | None = None
    coverage: float = COVERAGE
    joint: bool = True
    num_validation_rows: int | None = None

    @property
    def certified(self) -> Tensor | None:
        """Whether the target is reached by inputs that are neither far nor doubtful, shape (N,)."""
        if self.far is None or self.doubtful is None:
            return None
        return self.converged & ~self.far & ~self.doubtful

    @property
    def band_words(self) -> str:
        """What the band holds, as "all four outcomes lie inside nine times out of ten"."""
        return band_words(
            len(self.output_variables),
            self.coverage,
            joint=self.joint,
            num_rows=self.num_validation_rows,
        )

    @property
    def flags(self) -> dict[str, Tensor]:
        """Reasons to look twice at a proposal: name -> shape (N,)."""
        flags = {
            "unconverged": ~self.converged,
            "at_bound": self.at_bound.any(1),
            "far": self.far,
            "doubtful": self.doubtful,
            "unseen": self.unseen,
            "ill_conditioned": self.condition > Thresholds.bands[1],
            "unfinished": self.unfinished,
        }
        return {name: flag for name, flag in flags.items() if flag is not None}

    def figures(self, *, known: Tensor | None = None, tolerance: float = 0.1) -> Figures:
        """Draw targets and outcomes, the inputs for up to twelve targets, and their sensitivities.

        Args:
            known: Known inputs, shape (K, n), such as ``proposer.evidence.rows("train")[0]``: drawn as a
                density beside the proposed ones.
            tolerance: How far the target may move in the last two figures, in standard units.

        Returns:
            Name -> figure: ``achieved``, ``settings`` and ``sensitivities``.
        """
        return figures_of(self, known=known, tolerance=tolerance)

    def save_figures(
        self,
        folder: str | Path,
        *,
        known: Tensor | None = None,
        tolerance: float = 0.1,
        row_names: Sequence[str] = (),
    ) -> list[Path]:
        """Save :meth:`figures` as ``{figure}.png``; an old file is replaced once the new one is whole.

        Args:
            folder: Folder of the files; it is made if need be.
            known: As for :meth:`figures`.
            tolerance: As for :meth:`figures`.
            row_names: Names of the targets in the figures.

        Returns:
            The files.
        """
        return save_figures_of(self, folder, known=known, tolerance=tolerance, row_names=row_names)

    def columns(self) -> dict[str, Tensor]:
        """Return the columns of a table of the proposals, name -> numbers (N,), for a data frame.

        ``certified`` comes first. An input that does not matter is NaN. A name that occurs twice gets a number.
        """
        return {name: numbers for name, (_, numbers) in self._table().items()}

    def units(self) -> dict[str, str]:
        """Return the units of the :meth:`columns`, empty where a column has none."""
        return {name: unit for name, (unit, _) in self._table().items()}

    def _table(self) -> dict[str, tuple[str, Tensor]]:
        table: dict[str, tuple[str, Tensor]] = {}

        def add(name: str, numbers: Tensor | None, unit: str = "") -> str:
            count, free = 1, name
            while free in table:
                free, count = f"{name}-{count}", count + 1
            if numbers is not None:
                table[free] = unit, numbers
            return free

        bands = {"band_low": self.outcome_low, "band_high": self.outcome_high}
        for place, variable in enumerate(self.input_variables):
            values = self.inputs[:, place]
            if self.matters is not None:
                values = values.where(self.matters[:, place], torch.nan)
            add(variable.name, values, variable.unit)
        for place, variable in enumerate(self.output_variables):
            add(variable.name, self.outputs[:, place], variable.unit)
            for end, band in bands.items():
                part = None if band is None else band[:, place]
                add(f"{variable.name}_{end}", part, variable.unit)
            if self.shortfall is not None and not self.converged.all():
                add(f"{variable.name}_shortfall", self.shortfall[:, place], variable.unit)
            if self.outcome_spread is not None:
                add(f"{variable.name}_spread", self.outcome_spread[:, place], variable.unit)
        certified = add("certified", self.certified)
        add("trust", self.trust)
        add("expected_error", self.expected_error, "standard units")
        add("residual", self.residual, "standard units")
        add("cost", self.cost)
        add("condition", self.condition)
        for name, flag in self.flags.items():
            add(name, flag)
        for place, name in enumerate(self.constraint_names):
            assert self.binding is not None
            add(f"binding/{name}", self.binding[:, place])
        for place, variable in enumerate(self.input_variables):
            add(f"{variable.name}_sensitivity", self.sensitivity[:, place], variable.unit)
        return table if self.certified is None else {certified: table.pop(certified), **table}
