"""The command ``lightning-invert solve``: propose settings for the targets of a table."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_invert.arguments import check_integer, check_number
from lightning_invert.cli.checkpoint import folder_of_results, load_pair, variables_of
from lightning_invert.cli.limits import read_bounds, read_constraints
from lightning_invert.cli.next_steps import export_step, print_next
from lightning_invert.cli.options import check_names, listed
from lightning_invert.cli.solve_options import Options
from lightning_invert.cli.tables import InlineRow, open_table, write_table
from lightning_invert.cli.targets import TargetTable, check_cells, read_columns, read_targets
from lightning_invert.pair.module import ForwardInverseModule
from lightning_invert.proposals.proposal import Proposal
from lightning_invert.proposals.windows import Windows
from lightning_invert.report.files import replace_file
from lightning_invert.report.proposals import certification_words, given_up_lines, spread_lines
from lightning_invert.report.windows import windows_words
from lightning_invert.solver.constraint import ConstraintsLike
from lightning_invert.solver.cost import CostLike, Near, Plausible, Robust
from lightning_invert.solver.rows import first_index
from lightning_invert.solver.targets import Interval
from lightning_invert.tables import TableReader
from lightning_invert.variables import Bounds, Variable
from lightning_invert.watch.numerals import counted

__all__ = ["run"]

TRUST_WORDS = "the chance that the real outcome lands within the model's usual error of the target"

MAX_NAMED = 5
"""Targets that are named in words."""

TRUST = (0.8, 0.5)
"""Ends of the bands of trust."""

FLAGS = {
    "unconverged": "the predicted outcome misses the target",
    "at_bound": "a setting is at an end of its range",
    "far": "the settings are far from all in the data",
    "doubtful": "the model errs more there than nearly everywhere in the data",
    "unseen": "the target is beyond all outcomes in the data",
    "ill_conditioned": "a small change of the target moves the settings far",
    "unfinished": "there are too many choices of levels and changes to try: a better one may exist",
}


class Present(NamedTuple):
    """The settings in force."""

    settings: Tensor  # (1, n) or (N, n), float64
    empty: Tensor  # where the table says nothing: a setting that does not matter
    reader: TableReader


def run(options: Options) -> None:
    """Propose settings for the targets of a table; write table, figures and summary."""
    pair = load_pair(options.ckpt, listed(options.allow))
    inputs, outputs = variables_of(pair, "x"), variables_of(pair, "y")
    names = [v.name for v in inputs]
    targets = read_targets(
        InlineRow(options.targets, "--targets")
        if options.targets.startswith("{")
        else open_table(options.targets, None, options, (*inputs, *outputs)),
        names,
        [v.name for v in outputs],
        options.within,
    )
    check_names("--weights", options.weights or {}, [v.name for v in outputs], "outcomes")
    bounds = read_bounds(options.bounds, pair.proposer.bounds, inputs)
    fill = partial(pair.proposer.surrogate.filled, bounds=bounds)
    present = read_present(options, inputs, len(targets.low), fill)
    constraints = read_constraints(options, pair, names)
    proposal = pair.propose(
        Interval(targets.low, targets.high),
        bounds=within_ramps(options.ramp, present, bounds, inputs),
        num_starts=options.num_starts,
        fixed=read_fixed(options.fixed, targets, names, fill),
        cost=read_cost(options, present, names),
        constraints=constraints,
        weights=options.weights,
        max_changes=read_max_changes(options, present),
        setting_error=options.setting_error,
        tolerance=options.tolerance,
        progress=options.progress,
    )
    windows = _windows(options.windows, pair, proposal, constraints)
    folder = folder_of_results(options.folder, options.ckpt, "proposals")
    columns = {name: cells for name, (_, cells) in targets.cells.items()} | proposal.columns()
    units = {name: outputs[i].unit for name, (i, _) in targets.cells.items()} | proposal.units()
    if windows is not None:
        columns, units = columns | windows.columns(), units | windows.units()
    file = folder / f"proposals.{options.table}"
    write_table(file, columns, units, targets.reader.found)
    rows = targets.reader.row_names(set(range(len(proposal))))
    if options.figures:
        known = pair.proposer.evidence.rows("train")
        points = None if known is None else known[0]
        for result in (proposal,) if windows is None else (proposal, windows):
            result.save_figures(folder, known=points, row_names=[*rows.values()])
    summary = {
        "checkpoint": options.ckpt,
        "targets": options.targets,
        "num_starts": options.num_starts,
        "tolerance": options.tolerance,
        **_summary(proposal),
        "bounds": dict(zip(names, torch.stack([*bounds], 1).tolist(), strict=True)),
        "units": units,
    }
    replace_file(folder / "summary.json", json.dumps(summary, indent=2, ensure_ascii=False))
    print("\n".join(_words(options, rows, proposal, summary)))
    if windows is not None:
        print(windows_words(windows, [*rows.values()]))
    print(f"Proposals:  {file}")
    if options.figures:
        print(f"Figures:    {folder}")
    print_next(export_step(options.ckpt))


def _windows(
    tolerance: float | dict[str, float] | None,
    pair: ForwardInverseModule,
    proposal: Proposal,
    constraints: ConstraintsLike | None,
) -> Windows | None:
    """Return how far the settings can go, if a tolerance is given."""
    if tolerance is None:
        return None
    if isinstance(tolerance, dict):
        names = [variable.name for variable in proposal.output_variables]
        check_names("--windows", tolerance, names, "outcomes")
    windows: Windows = pair.windows(proposal, tolerance, constraints=constraints)
    return windows


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
    binding = proposal.binding
    at_end = () if binding is None else binding.sum(0).tolist()
    return {
        "count": len(proposal),
        "certified": None if proposal.certified is None else int(proposal.certified.sum()),
        "band": None if proposal.outcome_low is None else proposal.band_words,
        "reached": int(proposal.converged.sum()),
        "trust": counts,
        "flags": {name: int(flags[name].sum()) for name in FLAGS if name in flags},
        "cost": costs,
        "binding": dict(zip(proposal.constraint_names, at_end, strict=True)),
    }


def _words(
    options: Options, rows: Mapping[int, str], proposal: Proposal, summary: Mapping[str, Any]
) -> list[str]:
    count, reached = summary["count"], summary["reached"]
    words = [certification_words(proposal)]
    if count == 1:
        words += _listed(proposal)
    elif proposal.certified is not None and not proposal.certified.all():
        words.append(f"These are {_named(~proposal.certified, rows)}.")
    met = f"that {reached} of {count} targets are" if count > 1 else "that the target is"
    met += " not" * (count == 1 and not reached)
    words.append(f"The model predicts {met} met, to {options.tolerance:g} standard deviations.")
    if reached < count > 1:
        words.append(f"Not met: {_named(~proposal.converged, rows)}.")
    if summary["band"] and count > 1:
        words.append(f"Bands, y_band_low to y_band_high: {summary['band']}.")
    if summary["trust"] and count > 1:
        shares = ", ".join(f"{name}: {n}" for name, n in summary["trust"].items())
        words.append(f"Trust, {TRUST_WORDS}: {shares}.")
    if at := [f"{name!r} at {number}" for name, number in summary["binding"].items() if number]:
        words.append(f"Binding constraints: {', '.join(at)} of {counted(count, 'target')}.")
    for name, number in summary["flags"].items():
        if number and name != "unconverged":
            hint = (
                "; --like_data 0.9 keeps them near"
                if name == "far" and not options.like_data
                else ""
            )
            words.append(
                f"Look at {counted(number, 'target')} flagged {name!r}: {FLAGS[name]}{hint}."
            )
    words += [*given_up_lines(proposal), *spread_lines(proposal)]
    if proposal.cost is not None and summary["cost"] and count > 1:
        row = rows[int(proposal.cost.where(proposal.converged, -torch.inf).argmax())]
        words.append(
            f"Largest cost of a target that is met: {summary['cost']['largest']:.6g}, {row}."
        )
    return words


def _named(chosen: Tensor, rows: Mapping[int, str]) -> str:
    """Name the chosen targets, the first few of them."""
    places = chosen.nonzero()[:, 0].tolist()
    more = f" and {len(places) - MAX_NAMED} more" if len(places) > MAX_NAMED else ""
    return ", ".join(rows[place] for place in places[:MAX_NAMED]) + more


def _listed(proposal: Proposal) -> list[str]:
    """Write the only proposal, a line a setting and outcome."""
    outputs, bands = proposal.outputs[0], (proposal.outcome_low, proposal.outcome_high)
    rows = [(v, x, "") for v, x in zip(proposal.input_variables, proposal.inputs[0], strict=True)]
    for place, variable in enumerate(proposal.output_variables):
        ends = [f"{float(end[0, place]):.6g}" for end in bands if end is not None]
        band = f"  ({' to '.join(ends)})" if ends else ""
        rows.append((variable, outputs[place], band))
    wide = max(len(variable.name) for variable, _, _ in rows)
    words = [f"  {v.name:{wide}}  {float(x):.6g} {v.unit}{band}".rstrip() for v, x, band in rows]
    if proposal.matters is not None:
        for place in (~proposal.matters[0]).nonzero()[:, 0].tolist():
            words[place] = f"  {rows[place][0].name:{wide}}  any"
    words.insert(0, "Set:")
    where = "" if bands[0] is None else f" (in brackets: {proposal.band_words})"
    words.insert(1 + len(proposal.input_variables), f"The model predicts{where}:")
    if proposal.trust is not None:
        words.append(f"Trust {float(proposal.trust[0]):.2f}: {TRUST_WORDS}.")
    return words


def read_fixed(
    fixed: Mapping[str, float] | None,
    targets: TargetTable,
    inputs: Sequence[str],
    fill: Callable[[Tensor], Tensor],
) -> dict[str | int, Any]:
    """Return the fixed settings of the option and of the table of targets."""
    check_names("--fixed", fixed or {}, inputs, "settings")
    if both := [name for name in fixed or {} if name in targets.fixed]:
        raise ValueError(
            f"Expected {both[0]!r} in --fixed or in a column of {str(targets.reader.file)!r}, but got both."
        )
    if targets.fixed and len(targets.fixed) == len(inputs):
        raise ValueError(
            f"Expected {str(targets.reader.file)!r} to leave a setting free, but its columns fix all: "
            f"{', '.join(inputs)}. Delete those that may move."
        )
    settings = torch.full((len(targets.low), len(inputs)), torch.nan).double()
    for name, value in (*targets.fixed.items(), *(fixed or {}).items()):
        settings[:, inputs.index(name)] = torch.as_tensor(value)
    settings = fill(settings)
    values: dict[str | int, Any] = dict((fixed or {}).items())
    for name in targets.fixed:
        values[name] = cells = settings[:, inputs.index(name)]
        check_cells(targets.reader, name, cells, ~cells.isfinite(), "a number in every row")
    return values


def read_cost(options: Options, present: Present | None, inputs: Sequence[str]) -> CostLike | None:
    """Return prices, or what else is to be the least."""
    errors = options.setting_error
    for option, numbers in (("--cost", options.cost), ("--setting_error", errors)):
        check_names(option, numbers or {}, inputs, "settings")
    if options.robust and errors is None:
        raise ValueError(
            "Expected --setting_error beside --robust: '{name: standard deviation of the setting}'."
        )
    near = present is not None and options.ramp is None and options.max_changes is None
    costs: dict[str, CostLike | None] = {
        "--cost": options.cost,
        "--near without --ramp or --max_changes": Near(present.settings)
        if near and present
        else None,
        "--plausible": Plausible() if options.plausible else None,
        "--robust": Robust(errors) if options.robust and errors is not None else None,
    }
    given = {option: cost for option, cost in costs.items() if cost is not None}
    if len(given) > 1:
        raise ValueError(f"Expected at most one of {' and '.join(given)}, but got {len(given)}.")
    others = None if present is None else Near(present.settings)
    return next(iter(given.values()), others)


def read_max_changes(options: Options, present: Present | None) -> tuple[int, Tensor] | None:
    """Return how many settings may change, with the present ones."""
    if options.max_changes is None or present is None:
        return None
    number = check_integer("--max_changes", options.max_changes, low=1)
    return number, present.settings


def read_present(
    options: Options,
    variables: Sequence[Variable],
    num_targets: int,
    fill: Callable[[Tensor], Tensor],
) -> Present | None:
    """Read the table of the present settings, with one row or a row for each target.

    What does not matter may be empty.
    """
    near, inputs = options.near, [variable.name for variable in variables]
    if near is None:
        for name, value in (("--ramp", options.ramp), ("--max_changes", options.max_changes)):
            if value is not None:
                raise ValueError(
                    f"Expected --near, a table of the present settings, beside {name}."
                )
        return None
    reader = open_table(near, inputs, options, variables)
    given = torch.stack(list(read_columns(reader).values()), 1)
    reference = fill(given)
    if len(reference) not in (1, num_targets):
        raise ValueError(
            f"Expected {near!r} to have one row, or one for each of the {num_targets} targets, but it "
            f"has {len(reference)}."
        )
    missing = ~reference.isfinite()
    if missing.any():
        row = first_index(missing.any(1))
        raise ValueError(
            f"Expected column {inputs[first_index(missing[row])]!r} of {near!r} to have a finite number in "
            f"every row, but {reader.row_name(row)} has none."
        )
    return Present(reference, given.isnan(), reader)


def within_ramps(
    ramp: Mapping[str, float] | None,
    present: Present | None,
    bounds: Bounds,
    inputs: Sequence[Variable],
) -> Bounds:
    """Return the bounds (N, n) of what is not farther than ``ramp`` from the present settings."""
    if ramp is None or present is None:
        return bounds
    names = [variable.name for variable in inputs]
    check_names("--ramp", ramp, names, "settings")
    reach = torch.full((len(names),), torch.inf, dtype=torch.float64)
    for name, amount in ramp.items():
        reach[names.index(name)] = check_number(f"--ramp of {name!r}", amount, low=0.0)
    low, high = (end.to(reach) for end in bounds)
    reach = reach.expand_as(present.settings).masked_fill(present.empty, torch.inf)
    least, most = low.maximum(present.settings - reach), high.minimum(present.settings + reach)
    beyond = least > most
    if beyond.any():
        row = first_index(beyond.any(1))
        place = first_index(beyond[row])
        raise ValueError(
            f"Expected --ramp of {names[place]!r} to reach its bounds, {low[place]:g} to {high[place]:g}, "
            f"but {present.reader.row_name(row)} of {str(present.reader.file)!r} has "
            f"{present.settings[row, place]:g}, and the ramp is {ramp[names[place]]:g}."
        )
    return Bounds(least, most)
