"""The command ``lightning-invert solve``: settings for wanted outcomes."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from lightning_invert.arguments import check_integer, check_number
from lightning_invert.cli.checkpoint import opened_pair
from lightning_invert.cli.command import run_command
from lightning_invert.cli.given import read_box, read_cost, read_fixed
from lightning_invert.cli.options import listed
from lightning_invert.cli.wanted import Wanted, read_wanted
from lightning_invert.pair.module import ForwardInverseModule
from lightning_invert.proposals.proposal import Proposal
from lightning_invert.report.files import replace_file
from lightning_invert.tables import TableWriter, row_name, unused
from lightning_invert.variables import Variable, named

__all__ = ["main"]

DESCRIPTION = """\
Propose settings for wanted outcomes: a row for each target in, a row for each proposal out.

  lightning-invert solve --ckpt pair.ckpt --targets wanted.csv
  lightning-invert solve --ckpt pair.ckpt --targets wanted.csv --within 2% --cost prices.yaml
  lightning-invert solve --ckpt pair.ckpt --targets wanted.csv --near current.csv --fixed wind_rate=200

A column of the targets that is named like an outcome holds values that are wanted of it; `name_low`
and `name_high` are the ends of an interval. An outcome without a column, or an empty cell, may be
anything; an empty end is open. A column that is named like a setting holds values that are given.
"""

MAX_TARGETS_AT_ONCE = 2**14
"""Whose proposals, with their alternatives, are in memory at a time."""

MAX_NAMED = 5
"""Targets that are named in words."""

TRUST = (0.8, 0.5)
"""Where the bands of trust end that are counted."""

FLAGS = {
    "unconverged": "the outcome, by the surrogate, is not what is wanted",
    "at_bound": "a setting is at an end of its box",
    "far": "the settings are far from all that are known",
    "unseen": "no known outcome was as is wanted",
    "ill_conditioned": "a small change of the target moves the settings far",
}


def solve_targets(
    ckpt: str,
    targets: str,
    cost: str | None = None,
    near: str | None = None,
    fixed: str | None = None,
    within: str | None = None,
    bounds: str | None = None,
    starts: int = 8,
    tolerance: float = 1e-3,
    folder: str = "proposals",
    table: Literal["csv", "parquet"] = "csv",
    figures: bool = True,
    allow: str | None = None,
    progress: bool = True,
) -> None:
    """Propose settings for the targets of a table.

    Args:
        ckpt: Checkpoint of a ForwardInverseModule.
        targets: Wanted outcomes, in physical units, a row for each target: a .csv, .tsv, .csv.gz,
            .tsv.gz, .parquet or .pq file.
        cost: YAML file of prices, ``name: price`` for each setting that has one, a unit of it: of all
            settings that lead to the target the cheapest are looked for.
        near: Table of the settings that are in force, in one row, or in a row for each target:
            those that lead to the target are looked for that are the nearest to them, in standard
            units.
        fixed: Settings that are given, like wind_rate=200,h2_injection=0.
        within: How far an outcome may be from the value wanted of it: a share of the value for all,
            like 5%, or for each by its name, as a share or in its own unit, like
            production_rate=2%,top_gas_temperature=10. By default not at all.
        bounds: YAML file of the box, ``name: [low, high]`` for each setting whose range is to be
            another than the checkpoint knows.
        starts: From how many starts each target is approached.
        tolerance: Up to which distance, in standard units, a target is reached.
        folder: Where to write the proposals, figures and summary.json, which has the units. An
            existing folder is not touched: a number is added to the name.
        table: Kind of the table of proposals.
        figures: Whether to draw: the first 16384 targets, if there are more.
        allow: Packages, modules and classes, separated by commas, that the checkpoint may have
            imported and run. Without it, only torch's layers and this package's own networks and
            schedules.
        progress: Show a progress bar if it takes long and the output is a terminal.
    """
    check_integer("starts", starts, low=1)
    check_number("tolerance", tolerance, low=0.0, open_low=True)
    pair = opened_pair(ckpt, listed(allow))
    inputs, outputs = _variables(pair, "x"), _variables(pair, "y")
    names = [variable.name for variable in inputs]
    wanted = read_wanted(targets, names, [variable.name for variable in outputs], within)
    box = read_box(bounds, pair.proposer.bounds, inputs)
    given = read_fixed(fixed, wanted, names, box)
    price = read_cost(cost, near, names, len(wanted))
    where = unused(Path(folder))
    told = defaultdict[str, list[Tensor]](list)
    units: dict[str, str] = {}
    with TableWriter(where / f"proposals.{table}") as writer:
        for begin in range(0, len(wanted), MAX_TARGETS_AT_ONCE):
            rows = slice(begin, begin + MAX_TARGETS_AT_ONCE)
            proposal = pair.propose(
                wanted.interval(rows),
                bounds=box,
                num_starts=starts,
                fixed={index: values[rows] for index, values in given.items()},
                cost=price(rows),
                tolerance=tolerance,
                progress=progress,
            )
            columns = dict(_distinct(_columns(wanted, rows, proposal)))
            units = {name: unit for name, (unit, _) in columns.items()}
            writer.write(_without_nan({name: part for name, (_, part) in columns.items()}))
            for name, part in _judgement(proposal).items():
                told[name].append(part)
            if figures and begin == 0:
                known = pair.evidence.rows("train")
                proposal.save_figures(where, known=None if known is None else known[0])
    found = {name: torch.cat(parts) for name, parts in told.items()}
    about = {"checkpoint": ckpt, "targets": targets, "starts": starts, "tolerance": tolerance}
    boxes = {
        name: list(ends) for name, *ends in zip(names, *(b.tolist() for b in box), strict=True)
    }
    summary = {**about, **_summary(found), "box": boxes, "units": units}
    replace_file(where / "summary.json", json.dumps(summary, indent=2, ensure_ascii=False))
    print("\n".join(_words(targets, found, tolerance)))
    print(f"Proposals,{' figures,' if figures else ''} summary: {where}")


def _variables(pair: ForwardInverseModule, side: Literal["x", "y"]) -> tuple[Variable, ...]:
    """Return what the columns of settings or outcomes are; by position where they have no names."""
    known, scale = (pair.inputs, pair.scale_x) if side == "x" else (pair.outputs, pair.scale_y)
    if known is None and not scale.fitted:
        raise ValueError(
            "Expected a checkpoint of a pair that was fitted to data, but it knows neither names nor "
            "statistics of its columns."
        )
    return named(known, side, len(known) if known else len(scale.mean))


def _columns(wanted: Wanted, rows: slice, proposal: Proposal) -> Iterator[tuple[str, str, Tensor]]:
    """Yield name, unit and numbers of the table's columns."""
    for name, values in wanted.told(rows).items():
        yield name, proposal.output_variables[wanted.columns[name][0]].unit, values
    units = defaultdict[str, list[str]](list)  # of columns of one name in the order they come
    for variable in proposal.input_variables:
        units[variable.name].append(variable.unit)
    for variable in proposal.output_variables:
        for end in ("", "_low", "_high"):
            units[f"{variable.name}{end}"].append(variable.unit)
    for name in ("expected_error", "residual"):
        units[name].append("standard units")
    for variable in proposal.input_variables:
        units[f"{variable.name}_sensitivity"].append(variable.unit)
    for name, values in proposal.columns():
        yield name, units[name].pop(0) if units[name] else "", values


def _distinct(
    columns: Iterator[tuple[str, str, Tensor]],
) -> Iterator[tuple[str, tuple[str, Tensor]]]:
    """Add a number to the name of a column that is taken: an outcome may be called cost."""
    taken = set[str]()
    for name, unit, values in columns:
        free, count = name, 1
        while free in taken:
            free, count = f"{name}-{count}", count + 1
        taken.add(free)
        yield free, (unit, values)


def _without_nan(columns: dict[str, Tensor]) -> dict[str, Any]:
    """Return columns for a table, in which what is NaN is an empty cell."""
    import polars

    arrays = {name: values.cpu().numpy() for name, values in columns.items()}
    return polars.DataFrame(arrays).fill_nan(None).to_dict()


def _judgement(proposal: Proposal) -> dict[str, Tensor]:
    """Return what is counted of proposals, (N,) each."""
    judged = {"converged": proposal.converged, "trust": proposal.trust, "cost": proposal.cost}
    return {
        **{name: part for name, part in judged.items() if part is not None},
        **proposal.flags,
    }


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


def _cost_of_reached(found: dict[str, Tensor]) -> Tensor | None:
    """Return the costs, (N,), NaN where a target is not reached; None if there are none."""
    if "cost" not in found or not found["converged"].any():
        return None
    return torch.where(found["converged"], found["cost"], torch.nan)


def _summary(found: dict[str, Tensor]) -> dict[str, Any]:
    cost = _cost_of_reached(found)
    costs = {}
    if cost is not None:
        costs = {"median": float(cost.nanmedian()), "largest": float(_largest(cost).values)}
    return {
        "count": len(found["converged"]),
        "reached": int(found["converged"].sum()),
        "trust": _trust_counts(found.get("trust")) or None,
        "flags": {name: int(found[name].sum()) for name in FLAGS if name in found},
        "cost": costs or None,
    }


def _largest(cost: Tensor) -> Any:
    return cost.nan_to_num(-math.inf).max(0)


def _words(file: str, found: dict[str, Tensor], tolerance: float) -> list[str]:
    count = len(found["converged"])
    lines = [("targets", count, file)]
    reached = int(found["converged"].sum())
    lines.append(("reached", reached, f"by the surrogate, to {tolerance:g} standard units"))
    trust = _trust_counts(found.get("trust"))
    explained = "how probably the outcome is as near as the surrogate is accurate"
    for name, number in trust.items():
        lines.append((f"trust {name}", number, explained))
        explained = ""
    for name, meaning in FLAGS.items():
        if name in found and found[name].any():
            lines.append((name, int(found[name].sum()), meaning))
    words = [f"{name:20} {number:>9}  {meaning}".rstrip() for name, number, meaning in lines]
    if not trust:
        words.append("Of trust nothing is known: the checkpoint keeps too few rows of its data.")
    missed = found["unconverged"].nonzero()[:, 0].tolist()
    if missed:
        named = ", ".join(row_name(file, row) for row in missed[:MAX_NAMED])
        more = f" and {len(missed) - MAX_NAMED} more" if len(missed) > MAX_NAMED else ""
        words.append(f"Not reached: {named}{more}")
    cost = _cost_of_reached(found)
    if cost is not None:
        largest = _largest(cost)
        whose = row_name(file, int(largest.indices))
        words.append(f"Largest cost of what is reached: {float(largest.values):.6g}, of {whose}")
    return words


def main(args: Sequence[str]) -> None:
    """Run the command.

    Args:
        args: The arguments after ``solve``.
    """
    run_command("solve", DESCRIPTION, solve_targets, args)
