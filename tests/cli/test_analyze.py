import gzip
import json
import pickle
import re
import sys
from pathlib import Path

import numpy as np
import polars
import pytest
import torch

from lightning_invert import ForwardInverseModule
from lightning_invert.cli.main import main
from tests.cli.commands import refusal, save_pair
from tests.projects import Smooth

COLUMNS = ["wind", "heat", "load", "rate", "gas"]


@pytest.fixture(autouse=True)
def _points(_in_a_folder_of_its_own):
    polars.DataFrame(torch.cat(Smooth().load(), 1).numpy(), schema=COLUMNS).write_csv("points.csv")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_pair(
        tmp_path_factory.mktemp("fitted") / "pair.ckpt", ForwardInverseModule(), Smooth()
    )


def analyzed(*args):
    main(["analyze", "--figures", "false", *args])
    return json.loads(Path("analysis/summary.json").read_text())


@pytest.mark.slow
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
        *(f"{name}.csv" for name in maps),
        *(f"{name}_{figure}.png" for name in maps for figure in figures),
    }
    text = capsys.readouterr().out
    assert "forward (standardized): " in text
    assert "inverse, hardest to change: " in text
    table = polars.read_csv("analysis/inverse.csv")
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


def test_a_compressed_table_is_read_like_a_plain_one(checkpoint, tmp_path):
    Path("points.csv.gz").write_bytes(gzip.compress(Path("points.csv").read_bytes()))
    found = analyzed("--ckpt", checkpoint, "--data", "points.csv.gz", "--maps", "forward")
    (tmp_path / "analysis").rename(tmp_path / "packed")
    assert found == analyzed("--ckpt", checkpoint, "--data", "points.csv", "--maps", "forward")


def test_a_function_in_the_current_folder_is_found(tmp_path):
    (tmp_path / "mine.py").write_text("def double(x):\n    return 2 * x[:, :2]\n")
    summary = analyzed(
        "--function", "mine:double", "--data", "points.csv", "--inputs", "[wind, heat]",
        "--outputs", "[u, v]",
    )  # fmt: skip
    assert summary["double"]["cond_median"] == pytest.approx(1)
    assert "output/u" in polars.read_csv("analysis/double.csv").columns


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
        ([], "exactly one of --ckpt and --function"),
        (["--ckpt", "a", "--function", "b:c"], "exactly one of --ckpt and --function"),
        (["--ckpt", "nothing.ckpt"], "no file 'nothing.ckpt'"),
        (["--function", "mine"], "package.module:name, but got 'mine'"),
        (["--function", "nothing:f"], "'nothing:f' to be importable"),
        (["--function", "sys:path"], "sys:path is of type list"),
        (["--function", "torch:sin", "--maps", "forward"], "--maps only with --ckpt"),
        (["--function", "torch:sin", "--inputs", "wnd"], "'wnd'.*Did you mean 'wind'"),
        (["--ckpt", "points.csv"], r"'points\.csv' to be a checkpoint, but it cannot be read"),
        (["--function", "torch:sin", "--data", "none.npy"], r"no 'none\.npy'"),
    ],
)
def test_bad_input_ends_with_one_line(args, words, tmp_path):
    assert re.search(words, refusal("analyze", "--data", "points.csv", *args))
    assert not (tmp_path / "analysis").exists()


def test_an_unknown_map_is_named(checkpoint):
    with pytest.raises(SystemExit, match="forward, inverse, round_trip, but got 'backward'"):
        main(["analyze", "--ckpt", checkpoint, "--data", "points.csv", "--maps", "backward"])


@pytest.mark.parametrize("kind", ["objects", "text", "damaged", "archive"])
def test_an_array_of_anything_but_numbers_is_refused_and_never_unpickled(kind, capsys):
    with open("points.npy", "wb") as file:
        if kind == "objects":
            np.save(file, np.array([Mischief()], dtype=object), allow_pickle=True)
        elif kind == "text":
            np.save(file, np.array(["a"]))
        elif kind == "archive":
            np.savez(file, a=np.ones(3))
        else:
            file.write(pickle.dumps(Mischief()))
    line = refusal("analyze", "--function", "torch:sin", "--data", "points.npy")
    assert line.startswith("Expected 'points.npy' to hold an array")
    assert "allow_pickle" not in line
    assert "must not run" not in capsys.readouterr().out


class Mischief:
    def __reduce__(self):
        return print, ("this must not run",)


def test_a_pair_of_own_networks_is_analysed_where_they_are_allowed(own):
    given = ["--ckpt", own, "--data", "points.csv", "--maps", "forward"]
    assert re.match(r"own\.ckpt: .*--allow mine\.Net", refusal("analyze", *given))
    assert "mine" not in sys.modules
    assert analyzed(*given, "--allow", "mine")["forward"]["points"] == 200


def test_points_of_another_size_are_said_to_be_that(checkpoint):
    np.save("points.npy", np.ones((9, 4), dtype=np.float32))
    line = refusal("analyze", "--ckpt", checkpoint, "--data", "points.npy")
    assert "'points.npy' to hold points of the map 'forward'" in line


def test_the_summary_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    def full(self, data):
        with self.open("wb") as file:
            file.write(data[:5])
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    monkeypatch.setattr(Path, "write_text", lambda self, text, **_: full(self, text.encode()))
    with pytest.raises(SystemExit, match="analyze: No space left"):
        analyzed("--function", "torch:sin", "--data", "points.csv")
    assert [path.name for path in (tmp_path / "analysis").iterdir()] == ["sin.csv"]


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    torch.manual_seed(7)
    return save_pair(
        tmp_path_factory.mktemp("other") / "other.ckpt", ForwardInverseModule(), Smooth()
    )


def jacobian(function, x):
    return torch.stack(
        [torch.autograd.functional.jacobian(lambda p: function(p[None])[0], p) for p in x]
    )


def test_the_maps_of_a_checkpoint_are_compared_with_the_process_itself(
    checkpoint, tmp_path, capsys
):
    code = "import torch\ndef process(x): return torch.stack([x[:, 0] * x[:, 1], x[:, 2].sin()], 1)"
    (tmp_path / "mine.py").write_text(code)
    summary = analyzed("--ckpt", checkpoint, "--data", "points.csv", "--truth", "mine:process")
    held = {name: one["truth"] for name, one in summary.items()}
    assert held == {"forward": "truth", "inverse": None, "round_trip": "truth"}
    pair = ForwardInverseModule.load_from_checkpoint(checkpoint).eval().double()
    points = polars.read_csv("points.csv").to_torch().double()
    x, y = points[:, :3], points[:, 3:]
    from mine import process

    for name, of_pair, true, at in (
        ("forward", pair, process, x),
        ("round_trip", pair.round_trip, lambda y: process(pair.inverse(y)), y),
    ):
        domain = pair.scale_x.std if name == "forward" else pair.scale_y.std
        scale = domain / pair.scale_y.std[:, None]
        j, j_true = (jacobian(f, at) * scale for f in (of_pair, true))
        error = (j - j_true).flatten(1).norm(dim=1) / j_true.flatten(1).norm(dim=1)
        table = polars.read_csv(f"analysis/{name}.csv")
        np.testing.assert_allclose(table["jacobian_error"], error, rtol=1e-3)
        np.testing.assert_allclose(
            table["true_condition_number"], np.linalg.cond(j_true), rtol=1e-3
        )
    assert "jacobian_error" not in polars.read_csv("analysis/inverse.csv").columns
    assert "forward, truth: Jacobian off by" in capsys.readouterr().out


def test_two_runs_are_compared_and_are_each_other_s_error_bar(checkpoint, other, capsys):
    summary = analyzed(
        "--ckpt", checkpoint, "--data", "points.csv", "--truth", other, "--runs", other
    )
    assert {one["truth"] for one in summary.values()} == {"other run"}
    assert all(one["log10_cond_spread_median"] > 0 for one in summary.values())
    text = capsys.readouterr().out
    assert "inverse, other run: Jacobian off by" in text
    assert "round_trip, over 2 runs: log10 κ spreads by" in text
    assert "other_condition_number" in polars.read_csv("analysis/forward.csv").columns


def test_a_function_is_compared_with_another(tmp_path):
    (tmp_path / "mine.py").write_text("def f(x): return x.sin()\ndef g(x): return 2 * x.sin()")
    functions = ["--function", "mine:f", "--truth", "mine:g", "--runs", "[mine:g, mine:f]"]
    summary = analyzed(*functions, "--data", "points.csv")
    assert summary["f"]["jacobian_error_median"] == pytest.approx(0.5)
    assert summary["f"]["log10_cond_spread_median"] == pytest.approx(0)


def test_what_is_no_run_of_the_same_map_is_named(checkpoint, tmp_path):
    (tmp_path / "mine.py").write_text("def f(x): return x.sin()")
    for args, words in (
        (f"--function mine:f --truth {checkpoint}", "name checkpoints with --ckpt, and package"),
        (f"--ckpt {checkpoint} --runs mine:f", "name checkpoints with --ckpt, and package"),
        (f"--ckpt {checkpoint} --truth none.ckpt", "there is no file 'none.ckpt'"),
    ):
        assert words in refusal("analyze", "--data", "points.csv", *args.split())


def test_a_known_process_is_named_as_a_truth(tmp_path):
    code = "import math, torch\nw = 3 * math.pi\n"
    code += "def wave(x): return (w * x[:, :1]).sin() + (w * x[:, 1:]).cos()"
    (tmp_path / "mine.py").write_text(code)
    np.save("points.npy", np.random.default_rng(0).uniform(-1, 1, size=(20, 2)))
    summary = analyzed("--function", "mine:wave", "--data", "points.npy", "--truth", "sine")
    assert summary["wave"]["truth"] == "truth"
    assert summary["wave"]["jacobian_error_median"] < 1e-12
