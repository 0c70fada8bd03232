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
HISTORY = torch.cat(Smooth().load(), 1)[:30].double().numpy()


@pytest.mark.parametrize("command", ["solve", "backtest"])
def test_no_written_setting_is_less_like_the_data_than_is_asked(command, checkpoint, capsys):
    polars.DataFrame(dict(zip(NAMES, HISTORY.T, strict=True))).write_csv("history.csv")
    data = {
        "solve": ["--targets", "targets.csv"],
        "backtest": ["history.csv", "--include_known", "true"],
    }
    Path("targets.csv").write_text("rate\n8000\n8500\n9000\n")
    rest = ["--cost", "{wind: 1, load: -900}", "--figures", "false", "--folder", "found"]
    rest += ["--constraints", "{most: {wind: 1, high: 1400}}"]
    known = (
        ForwardInverseModule.load_from_checkpoint(checkpoint)
        .evidence.rows("train")[0]
        .double()
        .numpy()
    )
    inverse = np.linalg.inv(np.cov(known.T))

    def farthest(rows):
        away = rows - known.mean(0)
        return np.einsum("ij,jk,ik->i", away, inverse, away)

    limit, ends = np.quantile(farthest(known), 0.5), {}
    for like in ([], ["--like_data", "0.5"]):
        main([command, *data[command], "--ckpt", checkpoint, *rest, *like])
        hinted = (
            "'far': the settings are far from all in the data; --like_data 0.9"
            in capsys.readouterr().out
        )
        assert hinted == (command == "solve" and not like)
        (file,) = Path().glob(f"found{'-1' * bool(like)}/*.csv")
        found = polars.read_csv(file)
        reached = (
            found.filter(~polars.col("unconverged")) if "unconverged" in found.columns else found
        )
        names = [
            next(head for head in found.columns if head.split(" [")[0] == name)
            for name in NAMES[:3]
        ]
        settings = reached.select(names).to_numpy()
        assert len(settings) > 0
        assert (settings[:, 0] <= 1400 * (1 + 1e-5)).all()
        ends[bool(like)] = farthest(settings).max()
    assert ends[True] <= 1.01 * limit < ends[False]


@pytest.mark.parametrize(
    ("share", "words"), [("0", "above 0"), ("2", "at most 1"), ("most", "a float")]
)
def test_a_share_that_is_none_is_named(share, words, checkpoint):
    Path("targets.csv").write_text("rate\n8000\n")
    given = ["--ckpt", checkpoint, "--targets", "targets.csv", "--like_data", share]
    told = refusal("solve", *given)
    assert "--like_data" in told
    assert words in told
