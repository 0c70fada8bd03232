import json
from pathlib import Path

import polars
import pytest
import torch
from torch import nn

from lightning_invert import ForwardInverseModule, Interval, Near, ResidualMLP, SmoothMLP
from lightning_invert.cli import solve
from lightning_invert.cli.main import main
from lightning_invert.cli.wanted import read_wanted
from lightning_invert.proposals.proposal import Proposal
from tests.projects import Smooth, quiet_trainer

NAN, INF = float("nan"), float("inf")
WANTED = [[8000.0, 400.0], [9500.0, NAN], [5000.0, 410.0], [60000.0, 400.0]]
BOX = "wind: [800, 1200]\nheat: [298, 302]\nload: [0.48, 0.52]\n"


def saved(folder, pair, fit=True, **settings):
    trainer = quiet_trainer(folder, **settings)
    if fit:
        trainer.fit(pair, datamodule=Smooth())
    else:
        trainer.strategy.connect(pair)
    trainer.save_checkpoint(folder / "pair.ckpt")
    return str(folder / "pair.ckpt")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    pair = ForwardInverseModule(SmoothMLP(3, 2, width=16), SmoothMLP(2, 3, width=16))
    return saved(tmp_path_factory.mktemp("fitted"), pair, max_epochs=20)


@pytest.fixture
def pair(checkpoint):
    return ForwardInverseModule.load_from_checkpoint(checkpoint).eval()


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("wanted.csv").write_text("rate,gas\n8000,400\n9500,\n5000,410\n60000,400\n")


def solved(checkpoint, *args, targets="wanted.csv", table="csv", folder="proposals"):
    given = ["--ckpt", checkpoint, "--targets", targets, "--table", table, "--figures", "false"]
    main(["solve", *given, *args])
    read = polars.read_csv if table == "csv" else polars.read_parquet
    return read(f"{folder}/proposals.{table}")


def agrees(table, proposal):
    """Whether the table's columns are those of a proposal, to what its text keeps."""
    for name, values in proposal.columns():
        told = torch.from_numpy(
            table[name].cast(polars.Float64).fill_null(NAN).to_numpy(writable=True)
        )
        torch.testing.assert_close(told, values.double(), rtol=1e-12, atol=0, equal_nan=True)


@pytest.mark.parametrize("table", ["csv", "parquet"])
def test_the_table_has_what_propose_gives(checkpoint, pair, table):
    found = solved(checkpoint, table=table)
    agrees(found, pair.propose(torch.tensor(WANTED).double()))
    assert found.columns[:7] == [
        "wanted/rate", "wanted/gas", "wind", "heat", "load", "rate", "rate_low",
    ]  # fmt: skip
    assert found["wanted/rate"].to_list() == [8000, 9500, 5000, 60000]
    assert found["wanted/gas"].to_list() == [400, None, 410, 400]


def test_what_was_found_is_said_in_words_and_in_json(checkpoint, pair, capsys):
    solved(checkpoint)
    out, err = capsys.readouterr()
    assert not err
    expected = pair.propose(torch.tensor(WANTED).double())
    reached = int(expected.converged.sum())
    assert 0 < reached < 4
    lines = out.splitlines()
    assert lines[0].split() == ["targets", "4", "wanted.csv"]
    assert lines[1].split()[:2] == ["reached", str(reached)]
    missed = [f"line {row + 2}" for row in (~expected.converged).nonzero()[:, 0].tolist()]
    assert f"Not reached: {', '.join(missed)}" in out
    assert lines[-1] == "Proposals, summary: proposals"
    summary = json.loads(Path("proposals/summary.json").read_text(encoding="utf-8"))
    assert (summary["count"], summary["reached"]) == (4, reached)
    trusted = expected.trust
    assert summary["trust"] == {
        "0.8 and above": int((trusted >= 0.8).sum()),
        "0.5 to 0.8": int(((trusted >= 0.5) & (trusted < 0.8)).sum()),
        "below 0.5": int((trusted < 0.5).sum()),
    }
    assert summary["flags"] == {name: int(flag.sum()) for name, flag in expected.flags.items()}
    assert summary["units"]["wanted/rate"] == summary["units"]["rate_low"] == "t/d"
    assert summary["units"]["wind"] == summary["units"]["wind_sensitivity"] == "m3/h"
    assert summary["box"]["wind"] == [500.0, 1500.0]


def test_a_missing_column_is_free_and_ends_make_intervals(checkpoint, pair, tmp_path):
    Path("wanted.csv").write_text("gas_low,gas_high\n395,398\n400,\n,390\n")
    found = solved(checkpoint)
    low = torch.tensor([[-INF, 395], [-INF, 400], [-INF, -INF]]).double()
    high = torch.tensor([[INF, 398], [INF, INF], [INF, 390]]).double()
    agrees(found, pair.propose(Interval(low, high)))
    assert found["wanted/gas_low"].to_list() == [395, 400, None]
    assert found["wanted/gas_high"].to_list() == [398, None, 390]
    assert "wanted/rate" not in found.columns


@pytest.mark.parametrize(
    ("within", "rate", "gas"),
    [("5%", 400.0, 20.0), ("rate=5%", 400.0, 0.0), ("rate=1%,gas=3", 80.0, 3.0)],
)
def test_within_widens_values_to_intervals(checkpoint, pair, within, rate, gas):
    Path("wanted.csv").write_text("rate,gas\n8000,400\n")
    found = solved(checkpoint, "--within", within)
    value, reach = torch.tensor([[8000.0, 400.0]]).double(), torch.tensor([rate, gas]).double()
    agrees(found, pair.propose(Interval(value - reach, value + reach)))
    assert found["wanted/rate_low"].to_list() == [8000 - rate]


def test_an_amount_needs_no_name_where_one_outcome_is_wanted(checkpoint):
    Path("wanted.csv").write_text("gas\n400\n")
    found = solved(checkpoint, "--within", "2.5")
    assert found.row(0)[:2] == (397.5, 402.5)


def test_settings_are_given_by_an_option_or_by_the_targets(checkpoint, pair):
    found = solved(checkpoint, "--fixed", "wind=900, load=0.5")
    wanted = torch.tensor(WANTED).double()
    agrees(found, pair.propose(wanted, fixed={"wind": 900.0, "load": 0.5}))
    assert found["wind"].to_list() == [900] * 4
    Path("own.csv").write_text("wind,gas\n900,400\n1000,402\n")
    own = solved(checkpoint, "--folder", "own", targets="own.csv", folder="own")
    assert own["wind"].to_list() == [900, 1000]


def test_a_setting_s_own_name_goes_before_the_end_of_an_outcome():
    Path("wanted.csv").write_text("gas,gas_low,gas_high\n400,1,2\n")
    wanted = read_wanted("wanted.csv", ["gas_high", "wind", "gas_low"], ["gas"])
    assert {index: values.tolist() for index, values in wanted.fixed.items()} == {2: [1], 0: [2]}
    assert (wanted.low.tolist(), wanted.high.tolist()) == ([[400]], [[400]])


def test_prices_and_the_box_come_from_yaml(checkpoint, pair, capsys):
    Path("prices.yaml").write_text("wind: 1e-3\nheat: 2\n")
    Path("box.yaml").write_text("wind: [900, 1100]\nload: [0.49, null]\n")
    found = solved(checkpoint, "--cost", "prices.yaml", "--bounds", "box.yaml", "--starts", "3")
    low, high = pair.proposer.bounds
    low[0], high[0], low[2] = 900, 1100, 0.49
    expected = pair.propose(
        torch.tensor(WANTED).double(), cost=[1e-3, 2.0, 0.0], bounds=(low, high), num_starts=3
    )
    agrees(found, expected)
    cost = torch.where(expected.converged, expected.cost, -INF)
    dearest = int(cost.argmax())
    said = f"Largest cost of what is reached: {cost[dearest]:.6g}, of line {dearest + 2}"
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
    agrees(found, pair.propose(torch.tensor(WANTED).double(), cost=Near(reference)))


def test_more_targets_than_are_taken_at_a_time_are_all_there(checkpoint, monkeypatch):
    now = "wind,heat,load\n" + "".join(f"{w},300,0.5\n" for w in (900, 1000, 1100, 950))
    Path("current.csv").write_text(now)
    whole = solved(checkpoint, "--near", "current.csv")
    monkeypatch.setattr(solve, "MAX_TARGETS_AT_ONCE", 3)
    solved(checkpoint, "--near", "current.csv")
    pieces = polars.read_csv("proposals-1/proposals.csv")
    assert pieces["at_bound"].to_list() == whole["at_bound"].to_list()
    assert pieces["wind"].to_list() == pytest.approx(whole["wind"].to_list(), rel=1e-5)
    one, two = (
        json.loads(Path(f, "summary.json").read_text()) for f in ("proposals", "proposals-1")
    )
    assert one.pop("cost") == pytest.approx(two.pop("cost"), rel=1e-4)
    assert one == two


def test_figures_show_the_proposals_beside_the_known_settings(checkpoint, pair, monkeypatch):
    drawn = []

    def save_figures(proposal, folder, *, known=None):
        drawn.append((len(proposal), str(folder), known))

    monkeypatch.setattr(Proposal, "save_figures", save_figures, raising=False)
    main(["solve", "--ckpt", checkpoint, "--targets", "wanted.csv", "--figures", "true"])
    ((count, folder, known),) = drawn
    assert (count, folder) == (4, "proposals")
    assert torch.equal(known, pair.evidence.rows("train")[0])


def test_figures_are_drawn_by_default(checkpoint):
    main(["solve", "--ckpt", checkpoint, "--targets", "wanted.csv"])
    drawn = {file.name for file in Path("proposals").glob("*.png")}
    assert drawn == {"achieved.png", "settings.png", "sensitivities.png"}


def test_an_outcome_may_have_the_name_of_a_column_of_the_table(tmp_path):
    class Named(Smooth):
        inputs = Smooth.inputs
        outputs = (Smooth.outputs[0]._replace(name="residual"), Smooth.outputs[1])

    pair = ForwardInverseModule(ResidualMLP(3, 2, width=8), ResidualMLP(2, 3, width=8))
    trainer = quiet_trainer(tmp_path)
    trainer.fit(pair, datamodule=Named())
    trainer.save_checkpoint("pair.ckpt")
    Path("wanted.csv").write_text("residual\n8000\n")
    found = solved("pair.ckpt")
    units = json.loads(Path("proposals/summary.json").read_text())["units"]
    assert found["residual"][0] > 1000 > found["residual-1"][0]
    assert (units["residual"], units["residual-1"]) == ("t/d", "standard units")


def test_a_pair_that_has_kept_no_rows_says_that_nothing_is_known_of_trust(tmp_path, capsys):
    pair = ForwardInverseModule(nn.Linear(3, 2), nn.Linear(2, 3), keep_points=0)
    path = saved(tmp_path, pair)
    Path("box.yaml").write_text(BOX)
    found = solved(path, "--bounds", "box.yaml")
    assert "trust" not in found.columns
    assert "Of trust nothing is known" in capsys.readouterr().out


def test_a_checkpoint_without_a_box_asks_for_one(tmp_path):
    path = saved(tmp_path, ForwardInverseModule(nn.Linear(3, 2), nn.Linear(2, 3), keep_points=0))
    words = "a box for 'heat', 'load', .* Give --bounds box.yaml with lines like heat: "
    with pytest.raises(SystemExit, match=words):
        solved(path)


def test_a_checkpoint_that_never_saw_data_says_so(tmp_path):
    path = saved(tmp_path, ForwardInverseModule(nn.Linear(3, 2), nn.Linear(2, 3)), fit=False)
    with pytest.raises(SystemExit, match="fitted to data, but it knows neither names nor"):
        solved(path)


@pytest.mark.parametrize(
    ("files", "args", "words"),
    [
        ({"wanted.csv": "rte\n8000\n"}, [], r"'wanted.csv' .* got 'rte'\. Did you mean 'rate'\?"),
        ({"wanted.csv": "wind\n900\n"}, [], "a column for an outcome .* 'rate', 'gas', .* none"),
        (
            {"wanted.csv": "gas_low,gas_high\n1,2\n400,390\n"},
            [],
            "'gas_low' of 'wanted.csv' to be at most 'gas_high', but line 3 has 400 and 390",
        ),
        ({"wanted.csv": "gas,gas_low\n1,2\n"}, [], "either 'gas' or its ends, but it has 'gas' and 'gas_low'"),
        (
            {"wanted.csv": "rate,gas\n1,2\n,\n"},
            [],
            r"line 3 wants nothing \(1 such row\(s\) in all\)",
        ),
        ({"wanted.csv": "rate\n8000\nmuch\n"}, [], "'rate' of 'wanted.csv' .* line 3 has 'much'"),
        ({"wanted.csv": "rate\ninf\n"}, [], "'rate' of 'wanted.csv' .* line 2 has inf"),
        ({"wanted.csv": "rate_low\ninf\n"}, [], "'rate_low' of 'wanted.csv' .* line 2 has inf"),
        ({"wanted.csv": "rate,wind\n1,\n"}, [], "'wind' of 'wanted.csv' .* line 2 has none"),
        (
            {"wanted.csv": "rate,wind\n1,900\n1,9\n"},
            [],
            "'wind' of 'wanted.csv' to be inside of its box, 500 to 1500, but line 3 has 9",
        ),
        (
            {"wanted.csv": "rate,wind\n1,900\n"},
            ["--fixed", "wind=900"],
            "'wind' to be given once, but --fixed and a column of 'wanted.csv' do",
        ),
        ({}, ["--targets", "none.csv"], "'none.csv' does not exist"),
        ({}, ["--ckpt", "none.ckpt"], "no file 'none.ckpt'"),
        ({}, ["--ckpt", "wanted.csv"], "'wanted.csv' to be a checkpoint"),
        ({}, ["--fixed", "wnd=3"], "--fixed to name settings, some of wind, heat, load, but got 'wnd'"),
        ({}, ["--fixed", "wind=3"], "'wind' .* box, 500 to 1500, but --fixed has 3"),
        ({}, ["--fixed", "wind=nan"], "'wind' in --fixed to be a finite number, but got 'nan'"),
        ({}, ["--fixed", "wind=a"], "'wind' in --fixed to be a finite number, but got 'a'"),
        ({}, ["--fixed", "wind"], "--fixed to be like name=1,other=2, but got 'wind'"),
        ({}, ["--fixed", "wind=900,wind=901"], "--fixed to name 'wind' once"),
        ({}, ["--fixed", "wind=900,heat=300,load=0.5"], "leave an input that may move"),
        ({}, ["--within", "3"], "--within to say of which outcome it is an amount, like rate=3"),
        ({}, ["--within", "few%"], "--within of 'rate' to be a finite number, but got 'few'"),
        ({}, ["--within", "gas=-3"], "--within of 'gas' to be at least 0, but got '-3'"),
        ({}, ["--within", "wind=3"], "--within to name outcomes .* rate, gas, but got 'wind'"),
        ({"wanted.csv": "gas_low\n1\n"}, ["--within", "3"], "'wanted.csv' has values, .* ends alone"),
        ({}, ["--starts", "0"], "`starts` .* at least 1, but got 0"),
        ({}, ["--tolerance", "-1"], r"`tolerance` .* above 0, but got -1\.0"),
        ({}, ["--cost", "none.yaml"], "--cost to name a file, but there is no 'none.yaml'"),
        ({"p.yaml": "coke: 3\n"}, ["--cost", "p.yaml"], "'p.yaml' to name settings, .* got 'coke'"),
        (
            {"p.yaml": "wind: 3\nheat: 1\nwind: 4\n"},
            ["--cost", "p.yaml"],
            "'p.yaml' to name each setting once, but got 'wind' twice",
        ),
        ({"p.yaml": "wind: a\n"}, ["--cost", "p.yaml"], "'wind' in 'p.yaml' .* but got 'a'"),
        ({"p.yaml": "wind: [1]\n"}, ["--cost", "p.yaml"], "'wind' in 'p.yaml' .* got a list"),
        ({"p.yaml": "3\n"}, ["--cost", "p.yaml"], "'p.yaml' to have lines of a name, a colon"),
        ({"p.yaml": "a: [\n"}, ["--cost", "p.yaml"], "'p.yaml' to be YAML in UTF-8, but: "),
        ({"p.yaml": "wind: !!python/name:os.system\n"}, ["--cost", "p.yaml"], "but got ''"),
        ({"n.csv": "wind\n1\n"}, ["--near", "n.csv"], "'n.csv' to have a column 'heat'"),
        (
            {"n.csv": "wind,heat,load\n1,2,3\n1,2,\n1,2,3\n1,2,3\n"},
            ["--near", "n.csv"],
            "'load' of 'n.csv' .* line 3 has none",
        ),
        (
            {"n.csv": "wind,heat,load\n1,2,3\n1,2,3\n"},
            ["--near", "n.csv"],
            "'n.csv' to have one row, or one for each of the 4 targets, but it has 2",
        ),
        ({}, ["--near", "n.csv", "--cost", "p.yaml"], "at most one of --cost and --near"),
        ({"b.yaml": "wind: [3, 2]\n"}, ["--bounds", "b.yaml"], r"'wind' in 'b.yaml' .* \[3, 2\]"),
        ({"b.yaml": "wind: 3\n"}, ["--bounds", "b.yaml"], r"'wind' in 'b.yaml' .* \[low, high\]"),
        ({"b.yaml": "wind: [a, 2]\n"}, ["--bounds", "b.yaml"], "'wind' in 'b.yaml' .* got 'a'"),
        ({"b.yaml": "wnd: [1, 2]\n"}, ["--bounds", "b.yaml"], "'b.yaml' .* but got 'wnd'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(checkpoint, files, args, words):
    for name, text in files.items():
        Path(name).write_text(text)
    with pytest.raises(SystemExit, match=words) as ended:
        solved(checkpoint, *args)
    assert "\n" not in str(ended.value)
    assert str(ended.value).startswith("lightning-invert solve: ")
    assert not Path("proposals").exists()


def test_prices_run_nothing_that_they_name(checkpoint, tmp_path):
    Path("p.yaml").write_text(f"wind: !!python/object/apply:os.mkdir [{tmp_path / 'made'}]\n")
    with pytest.raises(SystemExit, match=r"'wind' in 'p\.yaml'"):
        solved(checkpoint, "--cost", "p.yaml")
    assert not (tmp_path / "made").exists()
