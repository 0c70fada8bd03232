"""The command ``lightning-invert solve``: propose settings for the targets of a table."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from lightning_invert.cli.checkpoint import load_pair
from lightning_invert.cli.options import listed, run_command
from lightning_invert.cli.solve_options import SolveOptions, read_bounds, read_cost, read_fixed
from lightning_invert.cli.targets import TargetTable, read_targets
from lightning_invert.pair.module import ForwardInverseModule
from lightning_invert.proposals.proposal import Proposal
from lightning_invert.report.files import replace_file
from lightning_invert.solver.targets import Interval
from lightning_invert.tables import TableWriter, row_name, unused_path
from lightning_invert.variables import Variable, as_variables

__all__ = ["main"]

DESCRIPTION = """\
Propose settings for target outcomes: a row for each target in, a row for each proposal out.

  lightning-invert solve --ckpt pair.ckpt --targets targets.csv
  lightning-invert solve --ckpt pair.ckpt --targets targets.csv --within 2% --cost prices.yaml
  lightning-invert solve --ckpt pair.ckpt --targets targets.csv --fixed '{wind_rate: 200}'

A column of the targets with the name of an outcome holds its values; `name_low` and `name_high` hold
the ends of an interval. An outcome without a column, or with an empty cell, is free; an empty end is
open. A column with the name of a setting fixes it.
"""

MAX_NAMED = 5
"""Targets that are named in words."""

TRUST = (0.8, 0.5)
"""Ends of the bands of trust."""

FLAGS = {
    "unconverged": "the outcome, by the surrogate, is not in the target",
    "at_bound": "a setting is at an end of its bounds",
    "far": "the settings are far from all known ones",
    "unseen": "the target is beyond all known outcomes",
    "ill_conditioned": "a small change of the target moves the settings far",
}


def solve_targets(options: SolveOptions) -> None:
    """Propose settings for the targets of a table; write table, figures and summary."""
    pair = load_pair(options.ckpt, listed(options.allow))
    inputs, outputs = _variables(pair, "x"), _variables(pair, "y")
    names = [variable.name for variable in inputs]
    targets = read_targets(
        options.targets, names, [variable.name for variable in outputs], options.within
    )
    bounds = read_bounds(options.bounds, pair.proposer.bounds, inputs)
    proposal = pair.propose(
        Interval(targets.low, targets.high),
        bounds=bounds,
        num_starts=options.num_starts,
        fixed=read_fixed(options.fixed, targets, names),
        cost=read_cost(options.cost, options.near, names, len(targets.low)),
        tolerance=options.tolerance,
        progress=options.progress,
    )
    folder = unused_path(Path(options.folder))
    columns = dict(_distinct(_columns(targets, proposal)))
    with TableWriter(folder / f"proposals.{options.table}") as writer:
        writer.write(_without_nan({name: values for name, (_, values) in columns.items()}))
    if options.figures:
        known = pair.proposer.evidence.rows("train")
        proposal.save_figures(folder, known=None if known is None else known[0])
    summary = {
        "checkpoint": options.ckpt,
        "targets": options.targets,
        "num_starts": options.num_starts,
        "tolerance": options.tolerance,
        **_summary(proposal),
        "bounds": {
            name: list(ends)
            for name, *ends in zip(names, *(end.tolist() for end in bounds), strict=True)
        },
        "units": {name: unit for name, (unit, _) in columns.items()},
    }
    replace_file(folder / "summary.json", json.dumps(summary, indent=2, ensure_ascii=False))
    print("\n".join(_words(options, proposal)))
    print(f"Proposals,{' figures,' if options.figures else ''} summary: {folder}")


def _variables(pair: ForwardInverseModule, side: Literal["x", "y"]) -> tuple[Variable, ...]:
    """Return the variables of settings or outcomes; by position where they have no names."""
    variables, scale = (pair.inputs, pair.scale_x) if side == "x" else (pair.outputs, pair.scale_y)
    if variables is None and not scale.fitted:
        raise ValueError(
            "Expected a checkpoint of a pair that was fitted to data, but it knows neither names nor "
            "statistics of its columns."
        )
    return as_variables(variables, side, len(variables) if variables else len(scale.mean))


def _columns(targets: TargetTable, proposal: Proposal) -> Iterator[tuple[str, str, Tensor]]:
    """Yield name, unit and numbers of the columns of the table."""
    for name, (output, values) in targets.cells.items():
        yield name, proposal.output_variables[output].unit, values
    yield from proposal.columns()


def _distinct(
    columns: Iterator[tuple[str, str, Tensor]],
) -> Iterator[tuple[str, tuple[str, Tensor]]]:
    """Add a number to a name that is taken: an outcome may be called cost."""
    taken = set[str]()
    for name, unit, values in columns:
        free, count = name, 1
        while free in taken:
            free, count = f"{name}-{count}", count + 1
        taken.add(free)
        yield free, (unit, values)


def _without_nan(columns: dict[str, Tensor]) -> dict[str, Any]:
    """Return columns of a table with an empty cell for each NaN."""
    import polars

    arrays = {name: values.cpu().numpy() for name, values in columns.items()}
    return polars.DataFrame(arrays).fill_nan(None).to_dict()


def _trust_counts(trust: Tensor | None) -> dict[str, int]:
    if trust is None:
        return {}
    high, low = TRUST
    bands = {
        f"{high} and above": trust >= high,
        f"{low} to {high}": (trust >= low) & (trust < high),
        f"below {low}": ~(trust >= low),
    }
    return {name: int(band.sum()) for name, band in bands.items()}


def _cost_of_reached(proposal: Proposal) -> Tensor | None:
    """Return the costs, (N,), NaN where a target is not reached; None if there are none."""
    if proposal.cost is None or not proposal.converged.any():
        return None
    return torch.where(proposal.converged, proposal.cost, torch.nan)


def _largest(cost: Tensor) -> Any:
    return cost.nan_to_num(-math.inf).max(0)


def _summary(proposal: Proposal) -> dict[str, Any]:
    cost = _cost_of_reached(proposal)
    costs = {}
    if cost is not None:
        costs = {"median": float(cost.nanmedian()), "largest": float(_largest(cost).values)}
    flags = proposal.flags
    return {
        "count": len(proposal.converged),
        "reached": int(proposal.converged.sum()),
        "trust": _trust_counts(proposal.trust) or None,
        "flags": {name: int(flags[name].sum()) for name in FLAGS if name in flags},
        "cost": costs or None,
    }


def _words(options: SolveOptions, proposal: Proposal) -> list[str]:
    file, flags = options.targets, proposal.flags
    reached = f"by the surrogate, to {options.tolerance:g} standard units"
    lines = [
        ("targets", len(proposal.converged), file),
        ("reached", int(proposal.converged.sum()), reached),
    ]
    trust = _trust_counts(proposal.trust)
    meaning = "probability that the outcome is as near as the surrogate is accurate"
    for name, count in trust.items():
        lines.append((f"trust {name}", count, meaning))
        meaning = ""
    for name, meaning in FLAGS.items():
        if name in flags and flags[name].any():
            lines.append((name, int(flags[name].sum()), meaning))
    words = [f"{name:20} {count:>9}  {meaning}".rstrip() for name, count, meaning in lines]
    if not trust:
        words.append("Trust is unknown: the checkpoint keeps too few rows of its data.")
    missed = flags["unconverged"].nonzero()[:, 0].tolist()
    if missed:
        rows = ", ".join(row_name(file, row) for row in missed[:MAX_NAMED])
        more = f" and {len(missed) - MAX_NAMED} more" if len(missed) > MAX_NAMED else ""
        words.append(f"Not reached: {rows}{more}")
    cost = _cost_of_reached(proposal)
    if cost is not None:
        largest = _largest(cost)
        row = row_name(file, int(largest.indices))
        words.append(f"Largest cost of a reached target: {float(largest.values):.6g}, {row}")
    return words


def main(args: Sequence[str]) -> None:
    """Run the command with the arguments after ``solve``."""
    run_command("solve", DESCRIPTION, SolveOptions, solve_targets, args)
