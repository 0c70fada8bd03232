"""Every command reads the tables of plants, and says what to write where it may not guess."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import polars
import pytest
import torch

from lightning_invert import ForwardInverseModule
from lightning_invert.cli.main import main
from lightning_invert.tables import TableReader
from tests.cli.commands import refusal, save_pair
from tests.projects import Smooth

COLUMNS, UNITS = ["wind", "heat", "load", "rate", "gas"], ["m3/h", "K", "", "t/d", "K"]
FIT = [
    *("--data", "TabularDataModule", "--data.inputs", "[wind, heat, load]"),
    *("--data.outputs", "[rate, gas]", "--trainer.max_epochs", "1"),
    *("--trainer.enable_progress_bar", "false", "--trainer.accelerator", "cpu"),
]
pytestmark = pytest.mark.usefixtures("_in_a_folder_of_its_own")


def write_german(file, columns, numbers, units=None, encoding="cp1252", digits=6):
    """Write numbers as a German spreadsheet does: 1.299,50."""
    signs = str.maketrans(",.", ".,")
    lines = [columns, *([units] if units else [])]
    lines += [[f"{number:,.{digits}f}".translate(signs) for number in row] for row in numbers]
    Path(file).write_bytes("".join(";".join(line) + "\r\n" for line in lines).encode(encoding))


@pytest.fixture
def points():
    rows = torch.cat(Smooth().load(), 1).numpy()
    write_german("plant.csv", COLUMNS, rows, ["m³/h", *UNITS[1:]])
    return np.array([[float(f"{number:.6f}") for number in row] for row in rows])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_pair(
        tmp_path_factory.mktemp("fitted") / "pair.ckpt", ForwardInverseModule(), Smooth()
    )


def options_of(message):
    """The options to copy from a message, of the reading with a decimal comma."""
    (said,) = (said for said in re.findall(r"`(.*?)`", message) if "decimal ','" in said)
    return shlex.split(said)


@pytest.mark.slow
def test_a_fit_takes_units_from_the_table_and_writes_as_it_reads(points, tmp_path, caplog):
    main(["fit", *FIT, "--data.file", "plant.csv"])
    (path,) = tmp_path.rglob("*.ckpt")
    pair = ForwardInverseModule.load_from_checkpoint(path)
    assert [v.label for v in pair.inputs] == ["wind [m³/h]", "heat [K]", "load"]
    assert "plant.csv is read with separator ';', decimal ','" in caplog.text
    path = path.rename("pair.ckpt")
    main(["predict", *FIT, "--data.file", "plant.csv", "--ckpt_path", str(path)])
    (path,) = tmp_path.rglob("predictions*.csv")
    assert path.read_text(encoding="utf-8").splitlines()[1].count(";") > 3
    found = polars.concat(TableReader(path, ["given/wind", "given/gas"]).read()).to_numpy()
    np.testing.assert_array_equal(found, points[:, [0, 4]])


@pytest.mark.slow
def test_what_a_fit_refuses_runs_with_the_options_that_it_prints(tmp_path):
    rows = torch.cat(Smooth().load(), 1).numpy().round() + 1000
    write_german("plant.csv", COLUMNS, rows, digits=0)
    args = [*FIT, "--data.file", "plant.csv"]
    said = options_of(refusal("fit", *args))
    assert said == ["--separator", ";", "--decimal", ",", "--thousands", "."]
    main(["fit", *args, *said])
    assert list(tmp_path.rglob("*.ckpt"))


def test_analyze_reads_and_writes_a_table_of_a_plant(points, checkpoint, capsys):
    given = ["--ckpt", checkpoint, "--maps", "forward", "--figures", "false", "--table", "csv"]
    main(["analyze", *given, "--data", "plant.csv"])
    assert capsys.readouterr().out.startswith("plant.csv is read with separator ';', decimal ','")
    table = polars.concat(TableReader("analysis/forward.csv", ["input/wind", "input/load"]).read())
    np.testing.assert_allclose(table.to_numpy(), points[:, [0, 2]], rtol=1e-6)
    assert Path("analysis/forward.csv").read_text(encoding="utf-8").startswith("input/wind [m3/h];")
    summary = json.loads(Path("analysis/summary.json").read_text(encoding="utf-8"))
    polars.DataFrame(points, schema=COLUMNS).write_csv("plain.csv")
    main(["analyze", *given, "--data", "plain.csv", "--folder", "plain"])
    assert summary == json.loads(Path("plain/summary.json").read_text(encoding="utf-8"))


def test_analyze_takes_the_options_of_a_table(checkpoint):
    Path("points.txt").write_text("Plant\nwind|heat|load\n1.299|300|0,5\n-99|300|0,5\nStop|3|1\n")
    given = [
        "--ckpt",
        checkpoint,
        "--maps",
        "forward",
        "--figures",
        "false",
        "--data",
        "points.txt",
    ]
    said = options_of(refusal("analyze", *given, "--skip_rows", "1", "--missing", "-99"))
    assert said == [
        "--separator",
        "|",
        "--decimal",
        ",",
        "--thousands",
        ".",
        "--missing",
        '[-99.0, "Stop"]',
    ]
    main(["analyze", *given, *said, "--table", "parquet"])
    table = polars.read_parquet("analysis/forward.parquet")
    assert table["input/wind [m3/h]"].fill_nan(None).to_list() == [1299, None, None]


def test_solve_reads_targets_and_present_settings_and_writes_proposals(points, checkpoint, capsys):
    write_german(
        "targets.csv",
        ["rate [t/d]", "gas_low", "gas_high"],
        [[8000, 390.5, 410], [9500, 380, 420]],
        digits=1,
    )
    write_german("near.csv", ["wind", "heat", "load"], points[:1, :3])
    given = ["--ckpt", checkpoint, "--figures", "false", "--near", "near.csv"]
    main(["solve", *given, "--targets", "targets.csv"])
    said = capsys.readouterr().out
    assert "targets.csv is read with separator ';', decimal ','" in said
    assert "near.csv is read with" in said
    names = ["target/rate", "target/gas_low", "wind", "gas_band_high", "residual"]
    found = polars.concat(TableReader("proposals/proposals.csv", names).read())
    assert found["target/rate"].to_list() == [8000, 9500]
    assert found["target/gas_low"].to_list() == [390.5, 380]
    Path("targets.csv").write_text("rate,gas_low,gas_high\n8000,390.5,410\n9500,380,420\n")
    polars.DataFrame(points[:1, :3], schema=COLUMNS[:3]).write_csv("near.csv")
    main(["solve", *given, "--targets", "targets.csv", "--folder", "plain"])
    expected = polars.concat(TableReader("plain/proposals.csv", names).read())
    assert found.equals(expected)


def test_other_units_than_the_checkpoint_s_are_said(checkpoint, capsys):
    Path("targets.csv").write_text("rate [kg/h],gas_low [K],gas_high\n8000,390,410\n")
    Path("near.csv").write_text("wind,heat,load\nm³/h,degC,-\n1000,300,0.5\n")
    given = ["--ckpt", checkpoint, "--targets", "targets.csv", "--figures", "false"]
    main(["solve", *given, "--near", "near.csv"])
    said = capsys.readouterr().out
    assert "targets.csv has 'rate' in kg/h, the checkpoint in t/d. Nothing is converted." in said
    assert "near.csv has 'heat' in degC, the checkpoint in K. Nothing is converted." in said
    main(
        [
            "analyze",
            "--ckpt",
            checkpoint,
            "--figures",
            "false",
            "--maps",
            "forward",
            "--data",
            "near.csv",
        ]
    )
    assert "near.csv has 'heat' in degC" in capsys.readouterr().out


def test_solve_refuses_targets_that_can_be_read_twice(checkpoint):
    Path("targets.csv").write_text("rate;gas\n8.125;400\n9.250;400\n")
    given = ["--ckpt", checkpoint, "--targets", "targets.csv", "--figures", "false"]
    said = options_of(refusal("solve", *given))
    main(["solve", *given, *said])
    found = polars.concat(TableReader("proposals/proposals.csv", ["target/rate"]).read())
    assert found["target/rate"].to_list() == [8125, 9250]
