import gzip
import json
import sys

import numpy as np
import polars
import pytest
import torch
from torch import nn

from lightning_invert import ForwardInverseModule
from lightning_invert.cli.main import main
from tests.projects import Smooth, quiet_trainer

COLUMNS = ["wind", "heat", "load", "rate", "gas"]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = Smooth()
    x, y = data.load()
    polars.DataFrame(torch.cat([x, y], 1).numpy(), schema=COLUMNS).write_csv("points.csv")
    yield
    sys.modules.pop("mine", None)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fitted")
    pair = ForwardInverseModule()
    trainer = quiet_trainer(folder)
    trainer.fit(pair, datamodule=Smooth())
    trainer.save_checkpoint(folder / "pair.ckpt")
    return str(folder / "pair.ckpt")


def export(**options):
    net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)).eval()
    torch.export.save(torch.export.export(net, (torch.zeros(8, 3),), **options), "net.pt2")
    return net


def analyzed(*args):
    main(["analyze", "--figures", "false", *args])
    with open("analysis/summary.json") as file:
        return json.load(file)


def test_of_a_checkpoint_every_map_gets_a_table_figures_and_a_line(checkpoint, tmp_path, capsys):
    main(["analyze", "--ckpt", checkpoint, "--data", "points.csv"])
    names = {path.name for path in (tmp_path / "analysis").iterdir()}
    figures = (
        "rank_histogram", "condition_histogram", "singular_spectrum", "fragile_zones", "zone_map",
        "worst_points",
    )  # fmt: skip
    maps = ("forward", "inverse", "round_trip")
    assert names == {
        "summary.json",
        *(f"{name}.parquet" for name in maps),
        *(f"{name}_{figure}.png" for name in maps for figure in figures),
    }
    text = capsys.readouterr().out
    assert "forward (standardized): locally right-invertible" in text
    assert "inverse: most expensive to reach: " in text
    table = polars.read_parquet("analysis/inverse.parquet")
    assert table.columns[:5] == [
        "input/rate [t/d]", "input/gas [K]",
        "output/wind [m3/h]", "output/heat [K]", "output/load",
    ]  # fmt: skip
    pair = ForwardInverseModule.load_from_checkpoint(checkpoint).eval()
    points = polars.read_csv("points.csv").select("rate", "gas").to_torch()
    expected = pair.inverse(points).detach().numpy()
    np.testing.assert_allclose(table.select("^output/.*$").to_numpy(), expected, rtol=1e-5)


def test_the_summary_is_json_and_says_how_it_was_measured(checkpoint):
    summary = analyzed("--ckpt", checkpoint, "--data", "points.csv", "--maps", "forward")
    assert list(summary) == ["forward"]
    assert summary["forward"]["points"] == 200
    assert summary["forward"]["scale"] == "standardized"
    assert 0 <= summary["forward"]["full_rank_fraction"] <= 1


def test_a_data_module_gives_its_validation_points(checkpoint):
    summary = analyzed("--ckpt", checkpoint, "--data", "tests.projects:Smooth")
    assert summary["inverse"]["points"] == 40


@pytest.mark.parametrize("data", ["points.csv", "points.npy"])
def test_an_exported_program_is_analysed_like_the_module_it_was(data):
    net = export(dynamic_shapes=({0: torch.export.Dim("batch")},))
    points = polars.read_csv("points.csv").select(COLUMNS[:3])
    np.save("points.npy", points.to_numpy())
    columns = ["--inputs", "wind,heat,load"] if data.endswith("csv") else []
    analyzed("--export", "net.pt2", "--data", data, "--table", "csv", *columns)
    table = polars.read_csv("analysis/net.csv")
    expected = net(points.to_torch().float()).detach().numpy()
    np.testing.assert_allclose(table.select("^output/.*$").to_numpy(), expected, rtol=1e-5)


def test_a_compressed_table_is_read_like_a_plain_one(checkpoint, tmp_path):
    with open("points.csv", "rb") as plain, gzip.open("points.csv.gz", "wb") as packed:
        packed.write(plain.read())
    found = analyzed("--ckpt", checkpoint, "--data", "points.csv.gz", "--maps", "forward")
    (tmp_path / "analysis").rename(tmp_path / "packed")
    assert found == analyzed("--ckpt", checkpoint, "--data", "points.csv", "--maps", "forward")


def test_a_program_of_a_fixed_batch_is_refused_with_the_remedy():
    export()
    with pytest.raises(SystemExit, match=r"refused 2 points .* dynamic batch dimension"):
        analyzed("--export", "net.pt2", "--data", "points.csv", "--inputs", "wind,heat,load")


def test_a_function_in_the_current_folder_is_found(tmp_path):
    (tmp_path / "mine.py").write_text("def double(x):\n    return 2 * x[:, :2]\n")
    summary = analyzed(
        "--function", "mine:double", "--data", "points.csv", "--inputs", "wind,heat",
        "--outputs", "u,v",
    )  # fmt: skip
    assert summary["double"]["cond_median"] == pytest.approx(1)
    assert "output/u" in polars.read_parquet("analysis/double.parquet").columns


def test_an_infinite_condition_number_is_written_as_text(tmp_path):
    (tmp_path / "mine.py").write_text("def flat(x):\n    return x[:, [0, 0]]\n")
    summary = analyzed("--function", "mine:flat", "--data", "points.csv")
    assert float(summary["flat"]["cond_median"]) == np.inf


def test_an_existing_folder_is_not_touched(tmp_path, checkpoint):
    (tmp_path / "analysis").mkdir()
    main(["analyze", "--ckpt", checkpoint, "--data", "points.csv", "--figures", "false"])
    assert not list((tmp_path / "analysis").iterdir())
    assert (tmp_path / "analysis-1" / "summary.json").exists()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([], "exactly one of --ckpt, --export and --function, but got 0"),
        (["--ckpt", "a", "--export", "b"], "but got 2"),
        (["--ckpt", "nothing.ckpt"], "no file 'nothing.ckpt'"),
        (["--export", "nothing.pt2"], "no 'nothing.pt2'"),
        (["--function", "mine"], "package.module:name, but got 'mine'"),
        (["--function", "nothing:f"], "'nothing:f' to be importable"),
        (["--function", "sys:path"], "sys:path is of type list"),
        (["--function", "torch:sin", "--maps", "forward"], "--maps only with --ckpt"),
        (["--function", "torch:sin", "--inputs", "wnd"], "'wnd'.*Did you mean 'wind'"),
    ],
)
def test_says_what_is_wrong(args, words, tmp_path):
    with pytest.raises(SystemExit, match=words):
        main(["analyze", "--data", "points.csv", *args])
    assert not (tmp_path / "analysis").exists()


def test_an_unknown_map_is_named(checkpoint):
    with pytest.raises(SystemExit, match=r"forward,inverse,round_trip, but got \['backward'\]"):
        main(["analyze", "--ckpt", checkpoint, "--data", "points.csv", "--maps", "backward"])
