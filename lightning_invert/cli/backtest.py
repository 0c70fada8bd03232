"""The command ``lightning-invert backtest``: tell what a history would have cost."""

from __future__ import annotations

import json

import torch

from lightning_invert.cli.backtest_options import Options
from lightning_invert.cli.checkpoint import folder_of_results, load_pair, variables_of
from lightning_invert.cli.limits import read_bounds, read_constraints
from lightning_invert.cli.next_steps import export_step, print_next
from lightning_invert.cli.options import check_names, listed
from lightning_invert.cli.tables import open_table, write_table
from lightning_invert.cli.targets import read_rows
from lightning_invert.proposals.backtest import Backtest
from lightning_invert.report.files import replace_file

__all__ = ["run"]


def run(options: Options) -> None:
    """Compare a history with the cheapest settings; write table, summary and figure."""
    pair = load_pair(options.ckpt, listed(options.allow))
    inputs, outputs = variables_of(pair, "x"), variables_of(pair, "y")
    names, variables = [variable.name for variable in inputs], (*inputs, *outputs)
    for option, values in (("--cost", options.cost), ("--fixed", options.fixed)):
        check_names(option, values or {}, names, "settings")
    bounds = read_bounds(options.bounds, pair.proposer.bounds, inputs)
    constraints = read_constraints(options, pair, names)
    reader = open_table(options.data, [v.name for v in variables], options, variables)
    x, y = read_rows(reader, pair.proposer.surrogate)
    result: Backtest = pair.backtest(
        x,
        y,
        options.cost,
        include_known=options.include_known,
        bounds=bounds,
        fixed=options.fixed,
        constraints=constraints,
        num_starts=options.num_starts,
        tolerance=options.tolerance,
        progress=options.progress,
    )
    folder = folder_of_results(options.folder, options.ckpt, "backtest")
    columns, units = result.columns(), result.units()
    rows = columns.pop("history/row").tolist()
    numbers = reader.row_numbers(set(rows))
    columns = {f"history/{reader.word}": torch.tensor([numbers[row] for row in rows]), **columns}
    file = folder / f"backtest.{options.table}"
    write_table(file, columns, units, reader.found)
    about = {"checkpoint": options.ckpt, "data": options.data, "cost": dict(options.cost)}
    summary = folder / "backtest.json"
    replace_file(summary, json.dumps({**about, **result.summary()}, indent=2, ensure_ascii=False))
    print(result)
    print(f"Table:   {file}")
    print(f"Summary: {summary}")
    if options.figures:
        print(f"Figure:  {result.save_figures(folder)[0]}")
    print_next(export_step(options.ckpt, options.cost, str(summary)))
