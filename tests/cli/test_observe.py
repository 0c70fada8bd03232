import re
import shlex
from pathlib import Path

import polars
import pytest
import torch

from lightning_invert import ForwardInverseModule, SmoothMLP
from lightning_invert.cli.main import main
from tests.cli.commands import refusal, save_pair
from tests.projects import Smooth

NAMES = ["wind", "heat", "load", "rate", "gas"]


@pytest.fixture
def here(checkpoint):
    """A copy of the checkpoint in the test's own folder."""
    Path("pair.ckpt").write_bytes(Path(checkpoint).read_bytes())
    return "pair.ckpt"


def trials(count=12, shift=0.0):
    """Rows of the process, all outcomes moved by a share of their spread."""
    x, y = (part[:count] for part in Smooth().load())
    return x, y + shift * torch.tensor([5000.0, 20.0])


def write(file, x, y, **more):
    table = {
        name: column.numpy() for name, column in zip(NAMES, torch.cat([x, y], 1).T, strict=True)
    }
    polars.DataFrame(table | more).write_csv(file)


def loaded(file):
    return ForwardInverseModule.load_from_checkpoint(file).eval()


@pytest.mark.slow
def test_a_new_checkpoint_knows_the_rows_and_the_words_are_those_of_python(here, capsys):
    old, (x, y) = Path(here).read_bytes(), trials(shift=1.0)
    write("tried.csv", x, y, shift=["night"] * 12)
    main(["observe", "tried.csv", "--ckpt", here])
    told = capsys.readouterr().out
    pair = loaded(here)
    words = str(pair.observe(x, y))
    assert told.startswith(words)
    assert "ALARM" in words
    assert Path(here).read_bytes() == old
    assert "Checkpoint: pair_observed.ckpt" in told
    other = loaded("pair_observed.ckpt")
    torch.testing.assert_close(other.evidence.rows("tried"), (x, y))
    for name, column in pair.propose(y[:3], progress=False).columns().items():
        assert torch.equal(column, other.propose(y[:3], progress=False).columns()[name])
    step = re.search(r"Next: +lightning-invert (.*)", told)[1]
    main([*shlex.split(step), "--figures", "false"])
    main(["observe", "--data", "tried.csv", "--ckpt", "pair_observed.ckpt"])
    assert "24 so far" in capsys.readouterr().out
    assert len(loaded("pair_observed-1.ckpt").evidence.missed) == 24


def test_a_file_is_replaced_only_if_it_is_named(here):
    write("tried.csv", *trials(shift=1.0))
    main(["observe", "--data", "tried.csv", "--ckpt", here, "--out", "runs/new.ckpt"])
    assert loaded("runs/new.ckpt").evidence.rows("tried") is not None
    assert loaded(here).evidence.rows("tried") is None
    main(["observe", "--data", "tried.csv", "--ckpt", here, "--out", here])
    assert loaded(here).evidence.rows("tried") is not None
    assert not [*Path().glob("*observed*")]


GOOD = "wind,heat,load,rate,gas\n1000,300,0.5,9000,420\n1010,301,0.51,9100,421\n"


@pytest.mark.parametrize(
    ("table", "args", "words"),
    [
        (GOOD.replace("gas", "gass"), (), r"'?gas'?.*tried\.csv|tried\.csv.*'?gas'?"),
        (GOOD.replace("9100", ""), (), r"column 'rate' of 'tried\.csv' .* line 3 .*not measured"),
        (GOOD.replace("9100", "nan"), (), r"column 'rate' of 'tried\.csv' .* line 3 has none"),
        (GOOD.replace("0.51", "half"), (), r"tried\.csv.*half.*line 3|line 3.*half"),
        ("wind,heat,load,rate,gas\n", (), r"tried\.csv"),
        (None, (), r"tried\.csv"),
        (
            GOOD,
            ("--out", "."),
            "--out to name a file, like pair_observed.ckpt, but '.' is a folder",
        ),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(here, table, args, words):
    if table is not None:
        Path("tried.csv").write_text(table)
    line = refusal("observe", "--data", "tried.csv", "--ckpt", here, *args)
    assert re.search(words, line), line
    assert [*Path().glob("*.ckpt")] == [Path(here)]


def test_predictions_are_not_taken_for_measurements(here):
    Path("targets.csv").write_text("rate,gas\n8000,400\n9500,410\n")
    main(["solve", "--ckpt", here, "--targets", "targets.csv", "--figures", "false"])
    line = refusal("observe", "--data", "proposals/proposals.csv", "--ckpt", here)
    assert "all its outcomes are those that the pair predicts" in line


def test_a_pair_that_keeps_no_rows_is_named(tmp_path):
    pair = ForwardInverseModule(SmoothMLP(3, 2, width=4), SmoothMLP(2, 3, width=4), keep_points=0)
    save_pair(tmp_path / "none.ckpt", pair, Smooth(), max_epochs=1)
    write("tried.csv", *trials(shift=1.0))
    assert "`keep_points` above 0" in refusal("observe", "tried.csv", "--ckpt", "none.ckpt")
