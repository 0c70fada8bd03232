"""A table may say nothing of a setting that does not matter in a row: every command reads it."""

import json
import re
from pathlib import Path

import polars
import pytest
import torch

from lightning_invert import ForwardInverseModule, SmoothMLP
from lightning_invert.cli.main import main
from lightning_invert.datamodules import TabularDataModule
from tests.cli.commands import QUIET, refusal, save_pair
from tests.projects import Smooth

HEAD = "wind,heat,load,rate,gas\n"
OFF, ON, LOST = "990,,0.49,8100,405\n", "1010,301,0.51,9100,421\n", "1000,,0.52,9000,420\n"
LATE = ("load", ">", 0.5)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A checkpoint of a pair whose heat matters only where the load is above 0.5."""
    torch.manual_seed(0)
    data = Smooth()
    data.inputs = [v._replace(matters_if=LATE if v.name == "heat" else None) for v in data.inputs]
    pair = ForwardInverseModule(SmoothMLP(3, 2, width=8), SmoothMLP(2, 3, width=8))
    return save_pair(tmp_path_factory.mktemp("pair") / "pair.ckpt", pair, data, max_epochs=5)


QUICK = ["--figures", "false"]
NEAR = ["solve", "{rate: 8500}", "--near", "rows.csv", *QUICK]
COMMANDS = {
    "observe": ["observe", "rows.csv"],
    "backtest": ["backtest", "rows.csv", "--cost", "{wind: 1}", *QUICK],
    "near": NEAR,
    "near with a ramp": [*NEAR, "--ramp", "{heat: 0.1}"],
    "near with few changes": [*NEAR, "--max_changes", "2", "--bounds", "{heat: [303, 305]}"],
    "settings beside targets": ["solve", "targets.csv", "--fixed", "{load: 0.49}", *QUICK],
    "analyze": ["analyze", "--data", "rows.csv", "--maps", "forward", *QUICK],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_what_does_not_matter_may_be_empty_and_what_does_may_not(pair, command):
    name, *args = COMMANDS[command]
    one = "near" in command
    Path("rows.csv").write_text(HEAD + OFF + ("" if one else ON))
    Path("targets.csv").write_text("rate,heat\n8500,\n")
    main([name, *args, "--ckpt", pair])
    if name == "analyze":
        summary = json.loads(Path("analysis/summary.json").read_text())
        assert summary["forward"]["nonfinite_fraction"] == 0
        return
    Path("rows.csv").write_text(HEAD + (LOST if one else ON + LOST))
    args = [arg.replace("load: 0.49", "load: 0.52") for arg in args]
    line = refusal(name, *args, "--ckpt", pair)
    where = "column 'heat' of '(rows|targets).csv' .*number in every row, .*line [23]"
    assert re.search(where, line), line


def test_a_ramp_does_not_begin_where_the_table_says_nothing(pair):
    Path("rows.csv").write_text(HEAD + OFF)
    main([*NEAR, "--ckpt", pair, "--ramp", "{heat: 0.001, wind: 30}", "--cost", "{heat: -1}"])
    row = polars.read_csv("proposals/proposals.csv").row(0, named=True)
    assert abs(row["heat [K]"] - 300) > 1
    assert 960 <= row["wind [m3/h]"] <= 1020


@pytest.mark.slow
def test_what_is_proposed_is_read_by_all(pair):
    Path("targets.csv").write_text("rate\n" + "8000\n8500\n9000\n7000\n")
    main(["solve", "targets.csv", "--ckpt", pair, "--bounds", "{load: [0.48, 0.502]}", "--cost", "{load: 1}", *QUICK])  # fmt: skip
    table = polars.read_csv("proposals/proposals.csv")
    heat = next(column for column in table.columns if column.startswith("heat"))
    assert table[heat].null_count() > 0
    rate = next(column for column in table.columns if column.startswith("rate"))
    table.with_columns(polars.col(rate) + 100).write_csv("rows.csv")
    for name, *args in (COMMANDS[key] for key in ("observe", "backtest", "analyze")):
        main([name, *args, "--ckpt", pair])
    written = polars.read_csv("backtest/backtest.csv")
    assert written[f"history/{heat}"].is_null().equals(table[heat].is_null())
    Path("targets.csv").write_text("rate\n" + "8000\n" * 4)
    main(["solve", "targets.csv", "--near", "rows.csv", "--ckpt", pair, *QUICK])


def history(file):
    """Rows of the process, with no heat where the load is at most 0.5."""
    x, y = Smooth().load()
    rows = torch.cat([x, y], 1).numpy()
    table = polars.DataFrame(dict(zip(HEAD.strip().split(","), rows.T, strict=True)))
    late = polars.when(polars.col("load") > 0.5).then("heat")
    table.with_columns(late.alias("heat")).write_csv(file)
    return x, y


ABOUT = "{heat: {matters_if: [load, '>', 0.5]}, wind: {low: 0, levels: [900, 1000.0, 1100]}}"
FIT = ["fit", "history.csv", "--inputs", "wind,heat,load", "--outputs", "rate,gas"]


@pytest.mark.slow
def test_a_pair_is_trained_on_such_a_history():
    x, _ = history("history.csv")
    main([*FIT, "--variables", ABOUT, *QUIET])
    (ckpt,) = Path().rglob("*.ckpt")
    inputs = ForwardInverseModule.load_from_checkpoint(ckpt).inputs
    assert inputs[0][2:5] == (0, None, (900, 1000, 1100))
    assert inputs[1].matters_if == LATE
    known = TabularDataModule(
        "history.csv", ["wind", "heat", "load"], ["rate"], variables={"heat": {"matters_if": LATE}}
    )
    known.setup()
    rows = known._splits["train"].inputs
    off = rows[:, 2] <= 0.5
    assert off.any()
    mean = rows[~off, 1].mean()
    torch.testing.assert_close(rows[off, 1], mean.expand(int(off.sum())))
    assert known.statistics.input_mean[1] == pytest.approx(float(mean))
    assert len(x) == len(known.load()[0])
    main(["predict", "history.csv", "--ckpt", str(ckpt)])


@pytest.mark.parametrize(
    ("about", "words"),
    [
        (
            "{}",
            r"""column 'heat' .missing.*--variables '{"heat": {"matters_if": \["wind", ">", 0\]}}'""",
        ),
        ("{heat: {matters_if: [load, '>', 0.4]}}", "column 'heat' .missing"),
        ("{heat: {matters_if: [lod, '>', 0.5]}}", "matters_if of 'heat'.*mean 'load'"),
        ("{haet: {low: 0}}", "variables.*'haet'.*mean 'heat'"),
        ("{heat: {lows: 0}}", r"variables of 'heat'.*low, high, levels, matters_if.*lows"),
        ("{wind: {levels: [a]}}", "levels of 'wind'.*finite number.*'a'"),
        ("{wind: {low: 1, levels: [0]}}", "levels of 'wind'.*within its bounds"),
        ("{wind: {low: a}}", "low of 'wind'.*finite number.*'a'"),
    ],
)
def test_what_is_wrong_with_what_is_known_is_said_in_a_line(about, words):
    history("history.csv")
    line = refusal("fit", *FIT[1:], "--variables", about, *QUIET)
    assert re.search(words, line), line
