r"""Windows: how far an input can go while the others compensate.

For input j of a proposal, :math:`\min x_j` and :math:`\max x_j` over all inputs within the bounds and
constraints whose outcomes stay within a tolerance of the target. Both are sought by the solver, with
:math:`\pm x_j` as the cost, from the proposal on, for all inputs of all proposals at once. They are
local optima: an input may be able to go farther by a way that does not begin at the proposal. Of an input
with levels, each level is tried; it stays where it is while others go to their ends.
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
from lightning_invert.solver.solution import Result
from lightning_invert.solver.solve import rank_solutions
from lightning_invert.solver.targets import Interval
from lightning_invert.variables import by_column

__all__ = ["Windows", "find_windows"]

LEAST = 1e-3
"""The tolerance of an output that is not named, in standard units."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Windows(Shown):
    """How far each input of N proposals can go, by itself, while the others compensate.

    ``print`` describes the first three. All is NaN where nothing was proposed.

    Attributes:
        proposal: The proposals.
        low: Least value of each input, shape (N, n).
        high: Greatest value of each input, shape (N, n).
        inputs_at_low: All inputs at these ends, shape (N, n, n): ``[:, j]`` with input j at
            ``low[:, j]``.
        inputs_at_high: The same at the greatest values.
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
    """Find the windows of proposals; an input with levels stays while others go to their ends."""
    assert surrogate.units is not None
    own, n = proposal.inputs, proposal.inputs.shape[1]
    movable = proposal.bounds.movable & own.isfinite().all(1, keepdim=True)
    leveled = torch.tensor([bool(v.levels) for v in proposal.input_variables]).to(movable)
    held = [torch.where(leveled, own, end) for end in proposal.bounds]
    reach = _read_tolerance(tolerance, proposal, surrogate.units[1])
    options = {"constraints": constraints, "max_steps": max_steps}
    sides = [own[:, None].repeat(1, n, 1) for _ in range(2)]
    row, place = (movable & ~leveled).nonzero(as_tuple=True)
    if len(row):
        one = torch.nn.functional.one_hot(place, n) / surrogate.units[0]
        rows, cost = row.repeat(2), torch.cat([one, -one])
        ends = [end[rows] for end in held]
        found = _solved(surrogate, proposal, reach, rows, ends, cost=cost, **options)["inputs"]
        for at_end, mine, least in zip(sides, found.chunk(2), (True, False), strict=True):
            moved = mine[torch.arange(len(row)), place]
            farther = moved < own[row, place] if least else moved > own[row, place]
            at_end[row, place] = torch.where(farther[:, None], mine, own[row])
    row, place, level = _levels_of(proposal, movable & leveled)
    if len(row):
        ends = [end[row] for end in held]
        for end in ends:
            end[torch.arange(len(row)), place] = level
        best = _solved(surrogate, proposal, reach, row, ends, cost=None, **options)
        reached = best["result"] == Result.REACHED
        for at_end, reduce in zip(sides, ("amin", "amax"), strict=True):
            at = row * n + place
            last = own.flatten().scatter_reduce(0, at[reached], level[reached], reduce)
            there = reached & (level == last[at]) & (level != own[row, place])
            at_end[row[there], place[there]] = best["inputs"][there]
    low, high = (at_end.diagonal(dim1=1, dim2=2) for at_end in sides)
    return Windows(
        proposal=proposal, low=low, high=high, inputs_at_low=sides[0], inputs_at_high=sides[1]
    )


def _solved(
    surrogate: Surrogate,
    proposal: Proposal,
    reach: Tensor,
    row: Tensor,
    ends: Sequence[Tensor],
    *,
    cost: Tensor | None,
    constraints: Any,
    max_steps: int,
) -> dict[str, Tensor]:
    """Search from proposals (K,) on, within ends (K, n) of the inputs and in reach of the targets."""
    about = surrogate.description
    if about.inputs is not None:  # how far one may go counts where it does not matter, too
        always = tuple(v._replace(matters_if=None, levels=()) for v in about.inputs)
        about = about._replace(inputs=always)
    wanted, outputs = proposal.targets.rows(row), proposal.outputs[row]
    # What a proposal itself reaches is within its window.
    low, high = (wanted.low - reach).minimum(outputs), (wanted.high + reach).maximum(outputs)
    query = Query.of(
        surrogate.corrected,
        Interval(low, high),
        description=about,
        bounds=tuple(ends),
        starts=proposal.inputs[row],
        search=Search.of({"num_starts": 1, "max_steps": max_steps}, find_windows),
        cost=cost,
        scale=surrogate.units,
        constraints=constraints,
    )
    best = rank_solutions(query, progress=False).best()
    return best | {"inputs": best["inputs"].to(proposal.inputs)}


def _levels_of(proposal: Proposal, movable: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return all levels within the bounds of inputs that may move: proposal, input and level, (K,) each."""
    low, high = proposal.bounds
    parts = [(movable.nonzero()[:0, 0],) * 2 + (low[:0, 0],)]
    for place, variable in enumerate(proposal.input_variables):
        levels = torch.tensor(variable.levels, dtype=torch.float64).to(low)
        inside = (levels >= low[:, place, None]) & (levels <= high[:, place, None])
        row, which = (inside & movable[:, place, None]).nonzero(as_tuple=True)
        parts.append((row, torch.full_like(row, place), levels[which]))
    row, place_, level = map(torch.cat, zip(*parts, strict=True))
    return row, place_, level


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
