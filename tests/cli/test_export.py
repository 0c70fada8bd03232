import json
import re
import sys
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from torch import nn

from lightning_invert import ForwardInverseModule, ResidualMLP
from lightning_invert.cli import export
from lightning_invert.cli.main import main
from lightning_invert.deploy import export_onnx
from tests.cli.commands import refusal, save_pair
from tests.deploy.pairs import off, points
from tests.projects import Smooth


@pytest.mark.slow
def test_a_checkpoint_becomes_onnx_files(tmp_path, capsys):
    pair = ForwardInverseModule(ResidualMLP(3, 2, width=8), nn.Linear(2, 3))
    save_pair(tmp_path / "pair.ckpt", pair, Smooth())
    capsys.readouterr()
    main(["export", "--ckpt", "pair.ckpt", "--to", "onnx"])
    out, err = capsys.readouterr()
    *files, step = out.splitlines()
    assert files == [
        f"{name}: exported/{name}.onnx" for name in ("forward", "inverse", "round_trip")
    ]
    names = {"onnxruntime": onnxruntime, "x": np.ones((5, 3))}
    _, jacobian = eval(step.removeprefix("Next:").partition("= ")[2], names)
    assert jacobian.shape == (5, 2, 3)
    assert not err
    x = points(pair, "round_trip", 9)
    session = onnxruntime.InferenceSession("exported/round_trip.onnx")
    assert off(pair, "round_trip", x, *session.run(None, {"y": x.numpy()})) < 2e-6


@pytest.mark.slow
def test_a_checkpoint_of_own_networks_becomes_files_where_they_are_allowed(own, monkeypatch):
    monkeypatch.setattr(export, "export_onnx", partial(export_onnx, maps="forward"))
    given = ["export", "--ckpt", own, "--to", "onnx", "--folder", "made/here"]
    assert re.match(r"own\.ckpt: .*--allow mine\.Net", refusal(*given))
    assert "mine" not in sys.modules
    main([*given, "--allow", "mine"])
    session = onnxruntime.InferenceSession("made/here/forward.onnx")
    y, jacobian = session.run(None, {"x": np.zeros((4, 3))})
    assert (y.shape, jacobian.shape) == ((4, 2), (4, 2, 3))


@pytest.mark.slow
def test_a_page_begins_with_prices_and_a_backtest(checkpoint, capsys):
    Path("prices.yaml").write_text("wind: 2.5\n")
    summary = {
        "rows": 7,
        "cheaper_share": 0.5,
        "spent_mean": 3.0,
        "proposed_mean": 2.0,
        "within": {},
    }
    Path("backtest.json").write_text(json.dumps({"data": "history.csv", **summary}))
    begun = ["export", checkpoint, "--to", "page", "--online", "true", "--cost", "prices.yaml"]
    main([*begun, "--backtest", "backtest.json", "--folder", "made"])
    page = Path("made/page.html").read_text(encoding="utf-8")
    metadata = json.loads(re.search(r'id="metadata">(.*?)</script>', page, re.DOTALL)[1])
    assert (metadata["prices"], metadata["backtest"]) == ({"wind": 2.5}, summary)


@pytest.mark.parametrize(
    ("to", "args", "words"),
    [
        ("page", ["--cost", "{wnd: 1}"], "--cost to name settings, some of wind, .*'wnd'.*'wind'"),
        ("page", ["--backtest", "none.json"], "--backtest .* no file 'none.json'"),
        ("page", ["--backtest", "bad.json"], "--backtest .* 'bad.json' is no JSON"),
        ("page", ["--backtest", "other.json"], "backtest.json, but got one without rows, cheaper"),
        ("onnx", ["--cost", "{wind: 1}"], "--cost only with --to page"),
        ("onnx", ["--backtest", "other.json"], "--backtest only with --to page"),
    ],
)
def test_wrong_prices_and_histories_are_refused_before_any_file(checkpoint, to, args, words):
    Path("bad.json").write_text("rows: 3")
    Path("other.json").write_text("{}")
    line = refusal("export", checkpoint, "--to", to, *args, "--folder", "made")
    assert re.search(words, line), line
    assert not Path("made").exists()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--ckpt", "none.ckpt", "--to", "onnx"], "there is no file 'none.ckpt'"),
        (["--ckpt", "bad.ckpt", "--to", "page"], "'bad.ckpt' to be a checkpoint"),
    ],
)
def test_bad_input_ends_with_one_line(args, words, tmp_path):
    (tmp_path / "bad.ckpt").write_text("nonsense")
    assert words in refusal("export", *args)


def test_help_lists_the_kinds_of_files(capsys):
    with pytest.raises(SystemExit):
        main(["export", "--help"])
    assert "{onnx,page}" in capsys.readouterr().out
