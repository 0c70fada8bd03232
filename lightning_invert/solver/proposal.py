"""Inputs that are proposed for wanted outputs, with what they can be relied on for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from lightning_invert.doorway import figures_of, html_of, save_figures_of, words_of
from lightning_invert.jacobians.thresholds import Thresholds
from lightning_invert.solver.solution import Solution
from lightning_invert.variables import Variable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Proposal"]


@dataclass(frozen=True, kw_only=True)
class Proposal(Solution):
    r"""Settings that a pair proposes for N targets, and what can be expected of them.

    ``print`` sums them up in words, a notebook shows a table of the first ten.

    Beside what a :class:`~lightning_invert.Solution` tells. What rests on data is None for a pair that
    keeps no validation points.

    Attributes:
        target_low: The least that was wanted of each output, shape (N, m), minus infinity where open.
        target_high: The most.
        box_low: Between which ends each input was looked for, shape (N, n): the lower ones ...
        box_high: ... and the upper ones; of an input that was fixed they are the same.
        outcome_low: Lower end of a band about ``outputs``, shape (N, m): it holds the outcome that
            would be *measured*, noise included, nine times out of ten, for each output.
        outcome_high: Its upper end.
        expected_error: How far the outcome is expected to be from the target: the median, in standard
            units, of the Euclidean distance over the outputs of which something is wanted; shape (N,).
        trust: How probable it is that the outcome is as near to the target as the surrogate is
            accurate, which is its error at nine out of ten validation points; shape (N,), between
            0 and 1.
        sensitivity: How far each input moves, at most, when the target moves by one standard unit
            in the most adverse direction, by the linear model: shape (N, n), in the inputs' units;
            0 for what is fixed, infinite where the Jacobian is singular.
        far: Whether the settings are far from all known ones, shape (N,): farther from their
            neighbours than 99 % of the validation points are.
        unseen: Whether the target is outside of what was ever seen, shape (N,): of some output all
            that is wanted is beyond the range of the known outcomes.
        input_variables: What the n inputs are.
        output_variables: What the m outputs are.
        alternatives: Other proposals that reach the target, the next best first; a row is NaN where
            a target has no more of them.
    """

    target_low: Tensor
    target_high: Tensor
    box_low: Tensor
    box_high: Tensor
    sensitivity: Tensor
    input_variables: tuple[Variable, ...]
    output_variables: tuple[Variable, ...]
    outcome_low: Tensor | None = None
    outcome_high: Tensor | None = None
    expected_error: Tensor | None = None
    trust: Tensor | None = None
    far: Tensor | None = None
    unseen: Tensor | None = None
    alternatives: tuple[Proposal, ...] = ()

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def flags(self) -> dict[str, Tensor]:
        """What speaks against each proposal, name -> shape (N,)."""
        flags = {
            "unconverged": ~self.converged,
            "at_bound": self.at_bound.any(1),
            "far": self.far,
            "unseen": self.unseen,
            "ill_conditioned": self.condition > Thresholds.bands[1],
        }
        return {name: flag for name, flag in flags.items() if flag is not None}

    def __str__(self) -> str:
        return words_of(self)

    def _repr_html_(self) -> str:
        return html_of(self)

    def figures(self, *, known: Tensor | None = None, tolerance: float = 0.1) -> dict[str, Figure]:
        """Draw what was wanted and achieved, the settings for the first target, how sensitive they are.

        Args:
            known: Settings of the training data, shape (K, n), drawn as a density beside those that
                are proposed; a pair keeps some, ``pair.evidence.rows("train")[0]``.
            tolerance: By how many standard units the target may move in the last two.

        Returns:
            Name -> figure: ``achieved``, ``settings`` and ``sensitivities``.
        """
        return figures_of(self, known=known, tolerance=tolerance)

    def save_figures(
        self, folder: str | Path, *, known: Tensor | None = None, tolerance: float = 0.1
    ) -> list[Path]:
        """Save :meth:`figures` as ``{figure}.png``; a former one is replaced once the new one is whole.

        Args:
            folder: Where to; it is made if need be.
            known: As for :meth:`figures`.
            tolerance: As for :meth:`figures`.

        Returns:
            The files.
        """
        return save_figures_of(self, folder, known=known, tolerance=tolerance)

    def columns(self) -> Iterator[tuple[str, Tensor]]:
        """Yield what a table has of each proposal: a column's name and its numbers, (N,).

        Example:
            >>> import torch
            >>> from lightning_invert import ForwardInverseModule, SmoothMLP
            >>> pair = ForwardInverseModule(SmoothMLP(2, 1), SmoothMLP(1, 2))
            >>> found = pair.propose(torch.zeros(3, 1), bounds=([-1.0] * 2, [1.0] * 2))
            >>> [name for name, _ in found.columns()][:4]
            ['x0', 'x1', 'y0', 'residual']
        """
        for place, variable in enumerate(self.input_variables):
            yield variable.name, self.inputs[:, place]
        for place, variable in enumerate(self.output_variables):
            yield variable.name, self.outputs[:, place]
            if self.outcome_low is not None and self.outcome_high is not None:
                yield f"{variable.name}_low", self.outcome_low[:, place]
                yield f"{variable.name}_high", self.outcome_high[:, place]
        if self.trust is not None:
            yield "trust", self.trust
        if self.expected_error is not None:
            yield "expected_error", self.expected_error
        yield "residual", self.residual
        if self.cost is not None:
            yield "cost", self.cost
        yield "condition", self.condition
        yield from self.flags.items()
        for place, variable in enumerate(self.input_variables):
            yield f"{variable.name}_sensitivity", self.sensitivity[:, place]
