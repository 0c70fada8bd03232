import json
import re
from pathlib import Path

import numpy as np
import polars
import pytest
import torch

from lightning_invert import ForwardInverseModule
from lightning_invert.cli.main import main
from tests.cli.commands import refusal
from tests.projects import Smooth

NAMES = ["wind", "heat", "load", "rate", "gas"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_the_command_says_what_python_says_and_writes_table_and_figure(checkpoint, kind, capsys):
    x, y = Smooth().load()
    table = {n: c.numpy() for n, c in zip(NAMES, torch.cat([x, y], 1).T, strict=True)}
    polars.DataFrame(table | {"shift": ["night"] * len(x)}).write_csv(
        "history.csv", float_precision=8
    )
    Path("prices.yaml").write_text("wind: 0.01\nload: 2\n")
    args = ["--cost", "prices.yaml", "--folder", "results", "--table", kind]
    args += ["--constraints", "{sum: {wind: 1, high: 1400}}"]
    main(["backtest", "history.csv", "--ckpt", checkpoint, *args])
    told = capsys.readouterr().out
    pair = ForwardInverseModule.load_from_checkpoint(checkpoint).eval()
    known = len(pair.evidence.rows("train")[0])
    assert f"Back-test of {200 - known} rows: {known} that the pair knows" in told
    written = getattr(polars, f"read_{kind}")(f"results/backtest.{kind}")
    assert len(written) == 200 - known > 0
    lines = written["history/line"].to_numpy()
    assert lines.min() >= 2  # as in the file, whose first line holds the names
    at_wind = written["history/wind [m3/h]"].to_numpy()
    np.testing.assert_allclose(table["wind"][lines - 2], at_wind, rtol=1e-5)
    spent = written["history/wind [m3/h]"] * 0.01 + written["history/load"] * 2
    torch.testing.assert_close(
        spent.to_torch(), written["history/spent"].to_torch(), rtol=1e-4, atol=1e-4
    )
    assert Path("results/backtest.png").stat().st_size > 5000
    summary = json.loads(Path("results/backtest.json").read_text())
    assert f"Summary: {Path('results/backtest.json')}" in told
    step = "--to page --cost '{wind: 0.01, load: 2.0}' --backtest results/backtest.json"
    assert step in told.splitlines()[-1]
    assert (summary["rows"], summary["known_rows"]) == (len(written), known)
    reached = written.filter(~polars.col("unconverged"))
    assert summary["spent_mean"] == pytest.approx(reached["history/spent"].mean(), rel=1e-4)
    assert summary["proposed_mean"] == pytest.approx(reached["cost"].mean(), rel=1e-4)
    cheaper = (written["history/saved"].fill_nan(0) > 0).mean()
    assert summary["cheaper_share"] == pytest.approx(cheaper)
    assert (summary["cost"], summary["data"]) == ({"wind": 0.01, "load": 2}, "history.csv")


GOOD = "wind,heat,load,rate,gas\n1000,300,0.5,9000,420\n1010,301,0.51,9100,421\n"


@pytest.mark.parametrize(
    ("table", "args", "words"),
    [
        (GOOD, (), "cost"),
        (GOOD, ("--cost", "{wnd: 1}"), "--cost to name settings.*'wnd'.*wind"),
        (GOOD, ("--cost", "{wind: 1}", "--fixed", "{wnd: 1}"), "--fixed to name settings.*'wnd'"),
        (GOOD.replace(",rate,gas", ",a,b"), ("--cost", "{wind: 1}"), "history.csv.*'rate'|'rate'.*history.csv"),
        (GOOD.replace("9100", ""), ("--cost", "{wind: 1}"), "'rate' of 'history.csv'.*line 3 has none"),
        (None, ("--cost", "{wind: 1}"), "history.csv"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_nothing_is_written(checkpoint, table, args, words):
    if table is not None:
        Path("history.csv").write_text(table)
    line = refusal("backtest", "history.csv", "--ckpt", checkpoint, *args)
    assert re.search(words, line), line
    assert not Path("backtest").exists()


def test_a_history_of_known_rows_alone_is_refused(checkpoint):
    pair = ForwardInverseModule.load_from_checkpoint(checkpoint)
    rows = torch.cat(pair.evidence.rows("train"), 1)[:5]
    polars.DataFrame(dict(zip(NAMES, rows.T.numpy(), strict=True))).write_csv("history.csv")
    line = refusal("backtest", "history.csv", "--ckpt", checkpoint, "--cost", "{wind: 1}")
    assert "all 5 are" in line
