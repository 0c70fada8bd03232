r"""Windows: how far an input can go while the others compensate.

For input j of a proposal, :math:`\min x_j` and :math:`\max x_j` over all inputs within the bounds and
constraints whose outcomes stay within a tolerance of the target. Both are sought by the solver, with
:math:`\pm x_j` as the cost, from the proposal on, for all inputs of all proposals at once. They are
local optima: an input may be able to go farther by a way that does not begin at the proposal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_invert.arguments import check_number
from lightning_invert.doorway import Figures, Shown, figures_of, save_figures_of
from lightning_invert.proposals.proposal import Proposal
from lightning_invert.proposals.surrogate import Surrogate
from lightning_invert.solver.query import Query
from lightning_invert.solver.search import Search
from lightning_invert.solver.solve import rank_solutions
from lightning_invert.solver.targets import Interval
from lightning_invert.variables import by_column

__all__ = ["Windows", "find_windows"]

LEAST = 1e-3
"""The tolerance of an output that is not named, in standard units."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Windows(Shown):
    """How far each input of N proposals can go, by itself, while the others compensate.

    ``print`` describes the first. Where nothing was proposed, all is NaN.

    Attributes:
        proposal: The proposals.
        low: Least value of each input, shape (N, n).
        high: Greatest value of each input, shape (N, n).
        inputs_at_low: All inputs where one is at its least, shape (N, n, n): ``[:, j]`` with input j
            at ``low[:, j]``.
        inputs_at_high: The same where it is at its greatest.
    """

    proposal: Proposal
    low: Tensor
    high: Tensor
    inputs_at_low: Tensor
    inputs_at_high: Tensor

    def columns(self) -> dict[str, Tensor]:
        """Return the columns of a table, ``{input}_window_low`` and ``{input}_window_high``, (N,) each."""
        return {
            f"{variable.name}_window_{side}": end[:, place]
            for place, variable in enumerate(self.proposal.input_variables)
            for side, end in (("low", self.low), ("high", self.high))
        }

    def units(self) -> dict[str, str]:
        """Return the units of the :meth:`columns`."""
        return {
            f"{variable.name}_window_{side}": variable.unit
            for variable in self.proposal.input_variables
            for side in ("low", "high")
        }

    def figures(self, *, known: Tensor | None = None) -> Figures:
        """Draw the windows of up to twelve proposals within their bounds: ``windows``.

        ``known`` are known inputs, shape (K, n): they are drawn as a density.
        """
        return figures_of(self, known=known)

    def save_figures(
        self, folder: str | Path, *, known: Tensor | None = None, row_names: Sequence[str] = ()
    ) -> list[Path]:
        """Save :meth:`figures` as ``windows.png``; ``row_names`` says what each target is called."""
        return save_figures_of(self, folder, known=known, row_names=row_names)


def find_windows(
    surrogate: Surrogate,
    proposal: Proposal,
    tolerance: float | Mapping[Any, float],
    *,
    constraints: Any,
    max_steps: int,
) -> Windows:
    """Find the windows of proposals."""
    assert surrogate.units is not None
    reach = _read_tolerance(tolerance, proposal, surrogate.units[1])
    movable = proposal.bounds.movable & proposal.inputs.isfinite().all(1, keepdim=True)
    row, place = movable.nonzero(as_tuple=True)
    inputs = proposal.inputs[:, None].expand(-1, movable.shape[1], -1)
    if not len(row):
        return Windows(
            proposal=proposal, low=proposal.inputs, high=proposal.inputs,
            inputs_at_low=inputs, inputs_at_high=inputs,
        )  # fmt: skip
    wanted, outputs = proposal.targets.rows(row), proposal.outputs[row]
    # What a proposal itself reaches is within its window.
    low, high = (wanted.low - reach).minimum(outputs), (wanted.high + reach).maximum(outputs)
    one = torch.nn.functional.one_hot(place, movable.shape[1]) / surrogate.units[0]
    about = surrogate.description
    if about.inputs is not None:  # how far one may go counts where it does not matter, too
        always = tuple(variable._replace(matters_if=None) for variable in about.inputs)
        about = about._replace(inputs=always)
    query = Query.of(
        surrogate.corrected,
        Interval(*(torch.cat([end, end]) for end in (low, high))),
        description=about,
        bounds=tuple(end[row].repeat(2, 1) for end in proposal.bounds),
        starts=proposal.inputs[row].repeat(2, 1),
        search=Search.of({"num_starts": 1, "max_steps": max_steps}, find_windows),
        cost=torch.cat([one, -one]),
        scale=surrogate.units,
        constraints=constraints,
    )
    ends = rank_solutions(query, progress=False).best()["inputs"].to(proposal.inputs)
    sides = []
    for mine, least in zip(ends.chunk(2), (True, False), strict=True):
        own, moved = proposal.inputs[row, place], mine[torch.arange(len(row)), place]
        farther = moved < own if least else moved > own
        at_end = inputs.clone()
        at_end[row, place] = torch.where(farther[:, None], mine, proposal.inputs[row])
        sides.append(at_end)
    low, high = (at_end.diagonal(dim1=1, dim2=2) for at_end in sides)
    return Windows(
        proposal=proposal, low=low, high=high, inputs_at_low=sides[0], inputs_at_high=sides[1]
    )


def _read_tolerance(
    tolerance: float | Mapping[Any, float], proposal: Proposal, unit: Tensor
) -> Tensor:
    """Return the tolerance of each output in its own unit, (m,)."""
    unit = unit.to(proposal.outputs).expand(proposal.outputs.shape[1])
    if not isinstance(tolerance, Mapping):
        return unit * check_number("tolerance", tolerance, low=0.0)
    reach = unit * LEAST
    for place, own in by_column("tolerance", tolerance, proposal.output_variables).items():
        reach[place] = check_number("tolerance", own, low=0.0)
    return reach
