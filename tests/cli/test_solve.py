import json
import re
from pathlib import Path

import polars
import pytest
import torch
from torch import nn

from lightning_invert import (
    ForwardInverseModule,
    Interval,
    Linear,
    Near,
    Plausible,
    ResidualMLP,
    Robust,
)  # fmt: skip
from lightning_invert.cli.main import main
from lightning_invert.cli.targets import read_targets
from lightning_invert.proposals.proposal import Proposal
from lightning_invert.tables import TableReader, split_unit
from tests.cli.commands import refusal, save_pair
from tests.projects import Smooth

NAN, INF = float("nan"), float("inf")
TARGETS = torch.tensor([[8000, 400], [9500, NAN], [5000, 410], [60000, 400]]).double()
BOX = "wind: [800, 1200]\nheat: [298, 302]\nload: [0.48, 0.52]\n"


@pytest.fixture
def pair(checkpoint):
    return ForwardInverseModule.load_from_checkpoint(checkpoint).eval()


@pytest.fixture(autouse=True)
def _targets(_in_a_folder_of_its_own):
    Path("targets.csv").write_text("rate,gas\n8000,400\n9500,\n5000,410\n60000,400\n")


def solved(checkpoint, *args, targets="targets.csv", table="csv", folder="proposals"):
    given = ["--ckpt", checkpoint, "--targets", targets, "--table", table, "--figures", "false"]
    main(["solve", *given, *args])
    read = polars.read_csv if table == "csv" else polars.read_parquet
    found = read(f"{folder}/proposals.{table}")
    return found.rename(lambda head: split_unit(head)[0])


def agrees(table, proposal):
    """Whether the table's columns are those of a proposal, to what its text keeps."""
    for name, values in proposal.columns().items():
        told = torch.from_numpy(
            table[name].cast(polars.Float64).fill_null(NAN).to_numpy(writable=True)
        )
        torch.testing.assert_close(told, values.double(), rtol=5e-6, atol=0, equal_nan=True)


@pytest.mark.parametrize("table", ["csv", "parquet"])
def test_the_table_has_what_propose_gives(checkpoint, pair, table):
    found = solved(checkpoint, table=table)
    heads = TableReader(f"proposals/proposals.{table}").columns
    assert {"target/rate [t/d]", "wind [m3/h]", "rate_band_low [t/d]", "load"} <= set(heads)
    agrees(found, pair.propose(TARGETS))
    assert found.columns[:8] == [
        "target/rate", "target/gas", "certified", "wind", "heat", "load", "rate", "rate_band_low",
    ]  # fmt: skip
    assert found["target/rate"].to_list() == [8000, 9500, 5000, 60000]
    assert found["target/gas"].to_list() == [400, None, 410, 400]


def test_the_most_plausible_settings_are_asked_for_alone(checkpoint, pair):
    agrees(solved(checkpoint, "--plausible", "true"), pair.propose(TARGETS, cost=Plausible()))
    given = ["--ckpt", checkpoint, "--targets", "targets.csv", "--plausible", "true"]
    assert "--cost and --plausible" in refusal("solve", *given, "--cost", "{wind: 1}")


@pytest.mark.slow
def test_errors_of_settings_spread_the_outcomes_which_may_be_the_least(checkpoint, pair, capsys):
    given, errors = ["--setting_error", "{wind: 20, load: 0.001}"], {"wind": 20.0, "load": 0.001}
    agrees(solved(checkpoint, *given), pair.propose(TARGETS, setting_error=errors))
    assert "Errors of the settings spread the outcomes by rate " in capsys.readouterr().out
    more = ["--robust", "true", "--weights", "{gas: 9}"]
    found = solved(checkpoint, *given, *more, folder="proposals-1")
    agrees(found, pair.propose(TARGETS, cost=Robust(errors), weights={"gas": 9.0}))
    assert re.search(r"Shortfall: \S+ t/d of rate at 1 \(too low\)", capsys.readouterr().out)


def test_windows_are_told_written_and_drawn(checkpoint, pair, capsys):
    found = solved(checkpoint, "--windows", "{rate: 50}", "--figures", "true")
    windows = pair.windows(pair.propose(TARGETS), {"rate": 50.0})
    for name, values in windows.columns().items():
        torch.testing.assert_close(found[name].to_torch(), values, rtol=5e-6, atol=0)
    assert "wind_window_low [m3/h]" in TableReader("proposals/proposals.csv").columns
    assert Path("proposals/windows.png").stat().st_size > 10_000
    assert "line 2:\n  wind: " in capsys.readouterr().out
    given = ["--ckpt", checkpoint, "--targets", "targets.csv", "--windows", "{rat: 50}"]
    assert "Did you mean 'rate'?" in refusal("solve", *given)


def test_the_table_has_six_digits(checkpoint, monkeypatch):
    columns = Proposal.columns
    stamp = torch.full((4,), 1_700_000_123.4567, dtype=torch.float64)
    more = {"stamp": stamp, "small": stamp * 1e-14, "open": stamp * INF}
    monkeypatch.setattr(Proposal, "columns", lambda proposal: columns(proposal) | more)
    Path("targets.csv").write_text("rate\n" + "8123.456789\n" * 4)
    found = solved(checkpoint)
    assert found["target/rate"][0] == 8123.456789
    assert found.select("stamp", "small", "open").row(0) == (1_700_000_123.46, 1.7e-05, INF)
    cells = Path("proposals/proposals.csv").read_text().splitlines()[1].split(",")
    assert max(len(cell.strip("-0.").replace(".", "")) for cell in cells[1:8]) <= 6


def test_what_was_found_is_said_in_words_and_in_json(checkpoint, pair, capsys):
    solved(checkpoint)
    out, err = capsys.readouterr()
    assert not err
    expected = pair.propose(TARGETS)
    reached = int(expected.converged.sum())
    assert 0 < reached < 4
    lines = out.splitlines()
    certified = expected.certified
    assert 0 < certified.sum() < 4
    assert lines[0].startswith(f"Not certified: {4 - int(certified.sum())} of 4 (")
    bad = [f"line {row + 2}" for row in (~certified).nonzero()[:, 0].tolist()]
    assert lines[1] == f"These are {', '.join(bad)}."
    assert lines[2].startswith(f"The model predicts that {reached} of 4 targets are met")
    words = expected.band_words
    assert re.fullmatch(
        "both outcomes lie inside nine times .*, as far as .. validation rows tell", words
    )
    assert f"Bands, y_band_low to y_band_high: {words}." in lines
    missed = [f"line {row + 2}" for row in (~expected.converged).nonzero()[:, 0].tolist()]
    assert f"Not met: {', '.join(missed)}." in lines
    assert lines[-2:] == [
        "Proposals:  proposals/proposals.csv",
        f"Next:       lightning-invert export --ckpt {checkpoint} --to page",
    ]
    summary = json.loads(Path("proposals/summary.json").read_text(encoding="utf-8"))
    assert (summary["count"], summary["reached"]) == (4, reached)
    assert summary["certified"] == int(certified.sum())
    assert summary["band"] == words
    trusted = expected.trust
    assert summary["trust"] == {
        "0.8 and above": int((trusted >= 0.8).sum()),
        "0.5 to 0.8": int(((trusted >= 0.5) & (trusted < 0.8)).sum()),
        "below 0.5": int((trusted < 0.5).sum()),
    }
    assert summary["flags"] == {name: int(flag.sum()) for name, flag in expected.flags.items()}
    assert summary["units"]["target/rate"] == summary["units"]["rate_band_low"] == "t/d"
    assert summary["units"]["wind"] == summary["units"]["wind_sensitivity"] == "m3/h"
    assert summary["bounds"]["wind"] == [500.0, 1500.0]


def test_a_missing_column_is_free_and_ends_make_intervals(checkpoint, pair, tmp_path):
    Path("targets.csv").write_text("gas_low,gas_high\n395,398\n400,\n,390\n")
    found = solved(checkpoint)
    low = torch.tensor([[-INF, 395], [-INF, 400], [-INF, -INF]]).double()
    high = torch.tensor([[INF, 398], [INF, INF], [INF, 390]]).double()
    agrees(found, pair.propose(Interval(low, high)))
    assert found["target/gas_low"].to_list() == [395, 400, None]
    assert found["target/gas_high"].to_list() == [398, None, 390]
    assert "target/rate" not in found.columns


@pytest.mark.parametrize(
    ("within", "rate", "gas"),
    [("5%", 400.0, 20.0), ("{rate: 5%}", 400.0, 0.0), ("{rate: 1%, gas: 3}", 80.0, 3.0)],
)
def test_within_widens_values_to_intervals(checkpoint, pair, within, rate, gas):
    Path("targets.csv").write_text("rate,gas\n8000,400\n")
    found = solved(checkpoint, "--within", within)
    value, reach = torch.tensor([[8000.0, 400.0]]).double(), torch.tensor([rate, gas]).double()
    agrees(found, pair.propose(Interval(value - reach, value + reach)))
    assert found["target/rate_low"].to_list() == [8000 - rate]


def test_an_amount_needs_no_name_where_one_outcome_is_wanted(checkpoint):
    Path("targets.csv").write_text("gas\n400\n")
    assert solved(checkpoint, "--within", "2.5").row(0)[:2] == (397.5, 402.5)


def test_settings_are_given_by_an_option_or_by_the_targets(checkpoint, pair):
    found = solved(checkpoint, "--fixed", "{wind: 900, load: 0.5}")
    agrees(found, pair.propose(TARGETS, fixed={"wind": 900.0, "load": 0.5}))
    assert found["wind"].to_list() == [900] * 4
    Path("own.csv").write_text("wind,gas\n900,400\n1000,402\n")
    own = solved(checkpoint, "--folder", "own", targets="own.csv", folder="own")
    assert own["wind"].to_list() == [900, 1000]


def test_the_name_of_a_setting_goes_before_the_end_of_an_outcome():
    Path("targets.csv").write_text("gas,gas_low,gas_high\n400,1,2\n")
    table = read_targets(TableReader("targets.csv"), ["gas_high", "wind", "gas_low"], ["gas"])
    assert {name: values.tolist() for name, values in table.fixed.items()} == {
        "gas_low": [1],
        "gas_high": [2],
    }
    assert table.low.tolist() == table.high.tolist() == [[400]]


def test_one_target_is_written_in_place_of_a_file(checkpoint, pair, capsys):
    Path("targets.csv").write_text("rate,gas_low\n8000,400\n")
    expected = solved(checkpoint, "--folder", "of_file", folder="of_file")
    capsys.readouterr()
    assert solved(checkpoint, targets="{rate: 8000, gas_low: 400}").equals(expected)
    said = capsys.readouterr().out
    for name in ("wind", "heat", "load", "rate", "gas"):
        assert re.search(rf"^  {name} +{expected[name][0]:g}\b", said, re.MULTILINE)
    assert f"Trust {expected['trust'][0]:.2f}" in said


def test_prices_and_bounds_come_from_yaml(checkpoint, pair, capsys):
    Path("prices.yaml").write_text("wind: 1e-3\nheat: 2\n")
    Path("box.yaml").write_text("wind: [900, 1100]\nload: [0.49, null]\n")
    found = solved(checkpoint, "--cost", "prices.yaml", "--bounds", "box.yaml", "--num_starts", "3")
    low, high = pair.proposer.bounds
    low[0], high[0], low[2] = 900, 1100, 0.49
    expected = pair.propose(TARGETS, cost=[1e-3, 2.0, 0.0], bounds=(low, high), num_starts=3)
    agrees(found, expected)
    cost = torch.where(expected.converged, expected.cost, -INF)
    dearest = int(cost.argmax())
    said = f"Largest cost of a target that is met: {cost[dearest]:.6g}, line {dearest + 2}"
    assert said in capsys.readouterr().out
    summary = json.loads(Path("proposals/summary.json").read_text(encoding="utf-8"))
    assert summary["cost"]["largest"] == float(cost[dearest])


@pytest.mark.parametrize("rows", [1, 4])
def test_the_settings_that_are_in_force_come_from_a_table(checkpoint, pair, rows):
    now = torch.tensor([[1000.0 + 10 * row, 300.0, 0.5] for row in range(rows)]).double()
    lines = [",".join(map(str, [*row, "1"])) for row in now.tolist()]
    Path("current.csv").write_text("\n".join(["wind,heat,load,other", *lines]) + "\n")
    found = solved(checkpoint, "--near", "current.csv")
    reference = now[0] if rows == 1 else now
    agrees(found, pair.propose(TARGETS, cost=Near(reference)))
    args = ["--near", "current.csv", "--max_changes", "2", "--cost", "{wind: 1}", "--folder", "few"]
    few = pair.propose(TARGETS, cost={"wind": 1}, max_changes=(2, reference))
    agrees(solved(checkpoint, *args, folder="few"), few)
    assert ((few.inputs != reference).sum(1) <= 2).all()


def test_constraints_and_ramps_come_from_yaml(checkpoint, pair, capsys):
    Path("rules.yaml").write_text(
        "mix:\n  wind: 0.01\n  heat: 1\n  high: 309.5\n'no, really': {load: 1, low: 0.4}\n"
    )
    Path("ramps.yaml").write_text("wind: 60\nload: 0.01\n")
    Path("now.csv").write_text("wind,heat,load\n980,300,0.5\n")
    args = ["--constraints", "rules.yaml", "--ramp", "ramps.yaml", "--near", "now.csv"]
    found = solved(checkpoint, *args, "--cost", "{wind: -1}")
    mix = Linear({"wind": 0.01, "heat": 1}, high=309.5)
    rules = {"mix": mix, "no, really": Linear({2: 1}, 0.4)}
    low, high = (end[None].repeat(4, 1) for end in pair.proposer.bounds)
    low[:, 0], high[:, 0], low[:, 2], high[:, 2] = 920, 1040, 0.49, 0.51
    agrees(found, pair.propose(TARGETS, constraints=rules, bounds=(low, high), cost={"wind": -1}))
    assert (0.01 * found["wind"] + found["heat"]).max() < 309.5 + 1e-3
    assert (count := int(found["binding/mix"].sum()))
    assert f"Binding constraints: 'mix' at {count} of 4 targets." in capsys.readouterr().out
    summary = json.loads(Path("proposals/summary.json").read_text(encoding="utf-8"))
    assert summary["binding"] == {"mix": count, "no, really": 0}
    near = solved(checkpoint, *args, "--folder", "near", folder="near")
    assert near["cost"].max() < 1e3


def test_figures_show_the_proposals_beside_the_known_settings(checkpoint, pair, monkeypatch):
    drawn = []

    def save_figures(proposal, folder, *, known=None, row_names=()):
        drawn.append((row_names, str(folder), known))

    monkeypatch.setattr(Proposal, "save_figures", save_figures, raising=False)
    main(["solve", "--ckpt", checkpoint, "--targets", "targets.csv", "--figures", "true"])
    ((names, folder, known),) = drawn
    assert (names, folder) == ([f"line {row}" for row in (2, 3, 4, 5)], "proposals")
    assert torch.equal(known, pair.proposer.evidence.rows("train")[0])


def test_figures_are_drawn_by_default(checkpoint):
    main(["solve", "--ckpt", checkpoint, "--targets", "targets.csv"])
    drawn = {file.name for file in Path("proposals").glob("*.png")}
    assert drawn == {"achieved.png", "settings.png", "sensitivities.png"}


def test_an_outcome_may_have_the_name_of_a_column_of_the_table(tmp_path):
    class Named(Smooth):
        inputs = Smooth.inputs
        outputs = (Smooth.outputs[0]._replace(name="residual"), Smooth.outputs[1])

    pair = ForwardInverseModule(ResidualMLP(3, 2, width=8), ResidualMLP(2, 3, width=8))
    save_pair(tmp_path / "pair.ckpt", pair, Named())
    Path("targets.csv").write_text("residual\n8000\n")
    found = solved("pair.ckpt")
    units = json.loads(Path("proposals/summary.json").read_text())["units"]
    assert found["residual"][0] > 1000 > found["residual-1"][0]
    assert (units["residual"], units["residual-1"]) == ("t/d", "standard units")


def test_trust_is_unknown_without_rows_of_the_data(tmp_path, capsys):
    pair = ForwardInverseModule(nn.Linear(3, 2), nn.Linear(2, 3), keep_points=0)
    path = save_pair(tmp_path / "pair.ckpt", pair, Smooth())
    Path("box.yaml").write_text(BOX)
    found = solved(path, "--bounds", "box.yaml")
    assert not {"trust", "certified"} & {*found.columns}
    said = "Not certified: no bands, because fewer than 30 validation points are known."
    assert capsys.readouterr().out.splitlines()[0] == said


def test_a_checkpoint_without_bounds_asks_for_them(tmp_path):
    pair = ForwardInverseModule(nn.Linear(3, 2), nn.Linear(2, 3), keep_points=0)
    path = save_pair(tmp_path / "pair.ckpt", pair, Smooth())
    with pytest.raises(SystemExit, match=r"bounds of 'heat', 'load', .* Give --bounds '{heat: "):
        solved(path)


def test_a_checkpoint_that_never_saw_data_says_so(tmp_path):
    pair = ForwardInverseModule(nn.Linear(3, 2), nn.Linear(2, 3))
    path = save_pair(tmp_path / "pair.ckpt", pair)
    with pytest.raises(SystemExit, match="fitted to data, but it knows neither names nor"):
        solved(path)


@pytest.mark.parametrize(
    ("targets", "args", "words"),
    [
        ("rte\n8000\n", [], r"'targets.csv' .* got 'rte'\. Did you mean 'rate'\?"),
        ("t,rate,q\n1.2.24,8,Good\n", [], r"'targets.csv' .* got 't', 'q'\. Delete the others\."),
        ("wind\n900\n", [], "a column for a target, one of 'rate', 'gas', .* none"),
        ("gas_low,gas_high\n1,2\n400,390\n", [], "at most 'gas_high', but line 3 has 400 and 390"),
        (None, ["--targets", "{rate: much}"], "--targets to be a file, or a number of each column"),
        (None, ["--targets", "{rte: 1}"], "'--targets' .* got 'rte'. Did you mean 'rate'"),
        ("gas,gas_low\n1,2\n", [], "either 'gas' or its ends, but got both"),
        ("rate,gas\n1,2\n,\n3,4\n", [], r"a target, but line 3 has none \(1 such row\(s\) in all\)"),
        ("rate\n8000\nmuch\n", [], r"of 'targets.csv' .* 'rate' \(1, .* line 3: 'much'\)"),
        ("rate\ninf\n", [], "'rate' of 'targets.csv' .* line 2 has inf"),
        ("rate_low\ninf\n", [], "'rate_low' of 'targets.csv' .* line 2 has inf"),
        ("rate,wind\n1,\n", [], "'wind' of 'targets.csv' .* line 2 is empty"),
        ("rate,wind\n1,900\n1,9\n", [], "`fixed`.* got 9 .*'wind'.* 500 to 1500"),
        ("rate,wind\n1,900\n", ["--fixed", "{wind: 900}"], "'wind' in --fixed or in a column"),
        ("gas_low\n1\n", ["--within", "3"], "'targets.csv' to have values for --within"),
        (None, ["--targets", "none.csv"], "'none.csv' does not exist"),
        (None, ["--ckpt", "none.ckpt"], "no file 'none.ckpt'"),
        (None, ["--ckpt", "targets.csv"], "'targets.csv' to be a checkpoint"),
        (None, ["--fixed", "{wnd: 3}"], "--fixed to name settings, .* wind, heat, load, but got 'wnd'"),
        (None, ["--fixed", "{wind: 900, heat: 300, load: 0.5}"], "leave an input that may move"),
        (None, ["--within", "3"], "--within to be a percentage .* like '{rate: 3.0}'"),
        (None, ["--within", "few%"], "--within of 'rate' to be an amount .* but got 'few%'"),
        (None, ["--within", "{gas: -3}"], r"--within of 'gas' .* at least 0, .* but got -3\.0"),
        (None, ["--within", "{wind: 3}"], "--within to name outcomes .* rate, gas, but got 'wind'"),
        (None, ["--num_starts", "0"], "at least 1, but got 0"),
        (None, ["--bounds", "{wind: [3, 2]}"], "low <= high.*3 .*2 .*'wind'"),
        ("rate\n1\n", ["--near", "targets.csv"], "'targets.csv' to have a column 'wind'"),
        (None, ["--near", "gap.csv"], "'load' of 'gap.csv' .* line 3 has none"),
        (None, ["--near", "two.csv"], "one row, or one for each of the 4 targets, but it has 2"),
        (None, ["--near", "four.csv", "--cost", "{wind: 1}"], "at most one of --cost and --near"),
        (None, ["--ramp", "{wind: 1}"], "beside --ramp"),
        (None, ["--robust", "true"], "--setting_error beside --robust"),
        (None, ["--setting_error", "{wnd: 1}"], "--setting_error to name settings.* mean 'wind'"),
        (None, ["--weights", "{wind: 1}"], "--weights to name outcomes, .* got 'wind'"),
        (None, ["--setting_error", "{wind: 1}", "--robust", "true", "--cost", "{wind: 1}"], "of --cost and --robust"),
        (None, ["--max_changes", "2"], "present settings, beside --max_changes"),
        (None, ["--near", "four.csv", "--max_changes", "2"], "3 for input 'load', which may be 0"),
        (None, ["--near", "four.csv", "--ramp", "{wnd: 1}"], "--ramp to name settings, .* 'wnd'"),
        (None, ["--near", "four.csv", "--ramp", "{wind: -1}"], "--ramp of 'wind'.* at least 0"),
        (None, ["--near", "four.csv", "--ramp", "{load: 0.1}"], r"'load' .* 0\.\d+ to 0\.\d+, .* line 2 of 'four.csv' has 3, and the ramp is 0\.1"),
        (None, ["--constraints", "{a: {wnd: 1, high: 3}}"], "--constraints of 'a' .* 'wnd'"),
        (None, ["--constraints", "{a: {wind: 1}}"], "`constraints.'a'.` to have an end"),
        (None, ["--constraints", "{a: {wind: 1, high: 3}}"], "none keeps 'a'"),
    ],
)  # fmt: skip
def test_bad_input_ends_with_one_line(checkpoint, targets, args, words):
    if targets is not None:
        Path("targets.csv").write_text(targets)
    Path("gap.csv").write_text("wind,heat,load\n1,2,3\n1,2,\n1,2,3\n1,2,3\n")
    Path("four.csv").write_text("wind,heat,load\n" + "1000,300,3\n" * 4)
    Path("two.csv").write_text("wind,heat,load\n1,2,3\n1,2,3\n")
    line = refusal("solve", "--ckpt", checkpoint, "--targets", "targets.csv", *args)
    assert re.search(words, line)
    assert not Path("proposals").exists()


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("--cost", "wind: a\n"),
        ("--cost", "a: [\n"),
        ("--cost", "wind: !!python/object/apply:os.mkdir [made]\n"),
        ("--cost", None),
        ("--bounds", "wind: [a, 2]\n"),
        ("--fixed", "wind\n"),
        ("--ramp", "wind: a\n"),
        ("--constraints", "a: {wind: a, high: 1}\n"),
        ("--constraints", "a: 3\n"),
    ],
)
def test_an_option_of_another_type_is_refused_and_runs_nothing(checkpoint, option, text):
    if text is not None:
        Path("option.yaml").write_text(text)
    with pytest.raises(SystemExit, match=f"solve: {option}: Expected "):
        solved(checkpoint, option, "option.yaml")
    assert not Path("made").exists()
