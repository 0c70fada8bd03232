"""The command ``lightning-invert solve``: propose settings for the targets of a table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from lightning_invert.cli.checkpoint import folder_of_results, load_pair
from lightning_invert.cli.options import listed, run_command
from lightning_invert.cli.solve_options import SolveOptions, read_bounds, read_cost, read_fixed
from lightning_invert.cli.tables import open_table
from lightning_invert.cli.targets import read_targets
from lightning_invert.pair.module import ForwardInverseModule
from lightning_invert.proposals.proposal import Proposal
from lightning_invert.report.files import replace_file
from lightning_invert.solver.targets import Interval
from lightning_invert.tables import TableFormat, TableReader, TableWriter
from lightning_invert.variables import Variable, as_variables

__all__ = ["main"]

DESCRIPTION = """\
Read a table with a row for each target; write a table with a row for each proposal.

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
    "doubtful": "the surrogate errs more there than nearly everywhere in the data",
    "unseen": "the target is beyond all known outcomes",
    "ill_conditioned": "a small change of the target moves the settings far",
}


def solve_targets(options: SolveOptions) -> None:
    """Propose settings for the targets of a table; write table, figures and summary."""
    pair = load_pair(options.ckpt, listed(options.allow))
    inputs, outputs = _variables(pair, "x"), _variables(pair, "y")
    names = [variable.name for variable in inputs]
    targets = read_targets(
        open_table(options.targets, None, options, (*inputs, *outputs)),
        names,
        [variable.name for variable in outputs],
        options.within,
    )
    bounds = read_bounds(options.bounds, pair.proposer.bounds, inputs)
    proposal = pair.propose(
        Interval(targets.low, targets.high),
        bounds=bounds,
        num_starts=options.num_starts,
        fixed=read_fixed(options.fixed, targets, names),
        cost=read_cost(options, inputs, len(targets.low)),
        tolerance=options.tolerance,
        progress=options.progress,
    )
    folder = folder_of_results(options.folder, options.ckpt, "proposals")
    wanted = {name: cells for name, (_, cells) in targets.cells.items()}
    units = {name: outputs[place].unit for name, (place, _) in targets.cells.items()}
    columns = {**wanted, **proposal.columns()}
    _write_table(folder / f"proposals.{options.table}", columns, targets.reader.found)
    if options.figures:
        known = pair.proposer.evidence.rows("train")
        proposal.save_figures(folder, known=None if known is None else known[0])
    summary = {
        "checkpoint": options.ckpt,
        "targets": options.targets,
        "num_starts": options.num_starts,
        "tolerance": options.tolerance,
        **_summary(proposal),
        "bounds": dict(zip(names, torch.stack([*bounds], 1).tolist(), strict=True)),
        "units": {**units, **proposal.units()},
    }
    replace_file(folder / "summary.json", json.dumps(summary, indent=2, ensure_ascii=False))
    print("\n".join(_words(options, targets.reader, proposal, summary)))
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


def _write_table(file: Path, columns: Mapping[str, Tensor], form: TableFormat) -> None:
    """Write the columns with an empty cell for each NaN."""
    import polars
    import polars.selectors

    table = polars.DataFrame({name: values.cpu().numpy() for name, values in columns.items()})
    if file.suffix == ".csv":
        computed = polars.selectors.float() - polars.selectors.starts_with("target/")
        # Six digits, and never fewer than two decimals: a time stamp has ten before them.
        short = polars.when(computed.abs() < 1e4).then(computed.round_sig_figs(6))
        table = table.with_columns(short.otherwise(computed.round(2)))
    with TableWriter(file, form) as writer:
        writer.write(table.fill_nan(None).to_dict())


def _summary(proposal: Proposal) -> dict[str, Any]:
    flags, trust, counts, costs = proposal.flags, proposal.trust, None, None
    if trust is not None:
        high, low = TRUST
        counts = {
            f"{high} and above": int((trust >= high).sum()),
            f"{low} to {high}": int(((trust >= low) & (trust < high)).sum()),
            f"below {low}": int((~(trust >= low)).sum()),
        }
    if proposal.cost is not None and proposal.converged.any():
        cost = proposal.cost[proposal.converged]
        costs = {"median": float(cost.median()), "largest": float(cost.max())}
    return {
        "count": len(proposal),
        "reached": int(proposal.converged.sum()),
        "trust": counts,
        "flags": {name: int(flags[name].sum()) for name in FLAGS if name in flags},
        "cost": costs,
    }


def _words(
    options: SolveOptions, reader: TableReader, proposal: Proposal, summary: Mapping[str, Any]
) -> list[str]:
    file, trust = options.targets, summary["trust"] or {}
    distance = f"by the surrogate, to {options.tolerance:g} standard units"
    lines = [("targets", summary["count"], file), ("reached", summary["reached"], distance)]
    meaning = "probability that the outcome is as near as the surrogate is accurate"
    for name, count in trust.items():
        lines.append((f"trust {name}", count, meaning))
        meaning = ""
    lines += [(name, count, FLAGS[name]) for name, count in summary["flags"].items() if count]
    words = [f"{name:20} {count:>9}  {meaning}".rstrip() for name, count, meaning in lines]
    if not trust:
        words.append("Trust is unknown: the checkpoint keeps too few rows of its data.")
    missed = (~proposal.converged).nonzero()[:, 0].tolist()
    if missed:
        rows = ", ".join(reader.row_name(row) for row in missed[:MAX_NAMED])
        more = f" and {len(missed) - MAX_NAMED} more" if len(missed) > MAX_NAMED else ""
        words.append(f"Not reached: {rows}{more}")
    if proposal.cost is not None and summary["cost"]:
        row = reader.row_name(int(proposal.cost.where(proposal.converged, -torch.inf).argmax()))
        largest = summary["cost"]["largest"]
        words.append(f"Largest cost of a reached target: {largest:.6g}, {row}")
    return words


def main(args: Sequence[str]) -> None:
    """Run the command with the arguments after ``solve``."""
    run_command("solve", DESCRIPTION, SolveOptions, solve_targets, args)
