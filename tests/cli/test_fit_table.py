"""A table after ``fit`` is a whole command, and what it prints runs as it is printed."""

import re
import shlex
import shutil
from pathlib import Path

import polars
import pytest
import torch

from lightning_invert.cli.main import main
from lightning_invert.cli.words import words_of_parser
from tests.cli.commands import Unrun, refusal
from tests.projects import Smooth

NAMED = ["--inputs", "wind, heat,load", "--outputs=rate,gas"]
SHORT = [*NAMED, "--max_epochs", "2", "--enable_progress_bar", "false"]


@pytest.fixture(autouse=True)
def _table(_in_a_folder_of_its_own):
    rows = torch.cat(Smooth().load(), 1).tolist()
    lines = ["shift;wind;heat;load;rate;gas", ";m³/h;K;;t/d;K"]
    lines += [
        ";".join(["late", *(f"{cell:.4f}" for cell in row)]).replace(".", ",") for row in rows
    ]
    Path("plant 1.csv").write_text("\n".join(lines) + "\n", encoding="cp1252")


def printed(capsys, caplog):
    out, err = capsys.readouterr()
    said = caplog.text + out + err
    caplog.clear()
    assert "Tip" not in said
    assert "TPU" not in said
    return said


@pytest.mark.slow
def test_each_command_runs_as_the_one_before_prints_it(tmp_path, capsys, caplog):
    main(["fit", "plant 1.csv", *SHORT])
    said = printed(capsys, caplog)
    (run,) = (tmp_path / "runs").glob("*/*")
    assert run.parent.name == "plant_1"
    assert re.search(r"explains .* % of the variance of rate \[t/d\], gas \[K\]", said)
    assert "CUSTOM SCALARS" in said
    solve, page = re.findall(r"lightning-invert (.*)", said)
    assert shlex.split(page)[-1] == "page"
    main(shlex.split(solve))
    assert "lightning-invert export" in printed(capsys, caplog)
    assert len(polars.read_csv(next(run.glob("*/proposals.csv")))) == 1
    (ckpt,) = Path("runs").glob("*/*/checkpoints/*.ckpt")
    before = {*tmp_path.rglob("*")}
    for command in ("test", "validate", "predict"):
        main([command, "plant 1.csv", "--ckpt", str(ckpt), "--enable_progress_bar=false"])
        said = printed(capsys, caplog)
        assert shlex.split(solve) == shlex.split(re.findall(r"lightning-invert (.*)", said)[0])
        rows = re.findall(r"^(?:rate|gas) +\S+ +\S+ \S+$", said, re.MULTILINE)
        assert len(rows) == (2 if command != "predict" else 0)
        assert len(said.splitlines()) < 30
    new = {path.relative_to(run).parts[0] for path in {*tmp_path.rglob("*")} - before}
    assert {name.partition(".")[0] for name in new} <= {"events", "invertibility", "predictions"}
    shutil.copy(ckpt, "elsewhere.ckpt")
    Path("other.csv").write_text("a,b\n1,2\n")
    before = {*tmp_path.rglob("*")}
    assert "to have a column 'wind'" in refusal("test", "other.csv", "--ckpt", str(ckpt))
    assert "--ckpt to name the checkpoint" in refusal("test", "plant 1.csv")
    assert before == {*tmp_path.rglob("*")}
    main(["test", "plant 1.csv", "--ckpt", "elsewhere.ckpt", "--enable_progress_bar=false"])
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [run.parent.name]
    table = (run / "predictions.csv").read_text(encoding="utf-8").splitlines()
    given = [name.startswith("given/") for name in table[0].split(";")]
    for line in table[1:]:
        for is_given, cell in zip(given, line.split(";"), strict=True):
            digits = re.sub(r"e.*|[-,]", "", cell).strip("0")
            assert is_given or len(digits) <= 6 or re.search(r"^-?\d{7,}(,\d\d?)?$", cell)


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["plnt 1.csv", *NAMED], r"'plnt 1.csv' does not exist. Did you mean 'plant 1.csv'\?$"),
        (["plant 1.csv"], r"--inputs a,b and --outputs c .* shift,wind,heat,load,rate,gas$"),
        (["plant 1.csv", "--inputs", "wind"], r"The columns of plant 1.csv are shift,wind,heat,"),
        (["plant 1.csv", "--input", "wind"], r"The columns .*\. Did you mean '--inputs'\?$"),
        (["plant 1.csv", "--inputs", "wnd", "--outputs", "gas"], "Did you mean 'wind'"),
        (["plant 1.csv", "--inputs", "gas", "--outputs", "gas"], r"in common, but got \['gas'\]"),
        (["plant 1.csv", "--inputs", "shift", "--outputs", "gas"], r"numbers, .* 'shift' .*'late'"),
        (["plant 1.csv", *NAMED, "--max_epoch", "3"], "Did you mean '--max_epochs'"),
        (["plant 1.csv", *NAMED, "--units", "{wnd: bar}"], r"`units` .* got \['wnd'\]"),
        (["plant 1.csv", *NAMED, "--decimal", ";"], r"`decimal` .* got ';'"),
        (["plant 1.csv", *NAMED, "--config", "tabulr"], "tabular, but got 'tabulr'"),
        ([".", *NAMED], "'.' is a folder"),
        (NAMED, "^Expected a table, as in lightning-invert fit measurements.csv"),
        (["plant 1.csv", *NAMED, "--input", "a"], "Did you mean '--inputs'"),
        (["plant 1.csv", *NAMED, "--batch_sze", "8"], "Did you mean '--batch_size'"),
        (["plant 1.csv", "word", *NAMED], "unrecognized arguments: word. See"),
        (["plant 1.csv", *NAMED, "--on_missing", "dop"], "one of 'raise', 'drop', but got 'dop'"),
        (["plant 1.csv", "--inputs", "wind", "--outputs"], "`outputs` to name at least one column"),
    ],
)
def test_a_wrong_word_ends_with_one_line_and_makes_nothing(args, line, tmp_path):
    assert re.search(line, refusal("fit", *args))
    assert [path.name for path in tmp_path.iterdir()] == ["plant 1.csv"]


def test_options_go_without_their_group_and_a_config_replaces_what_a_table_sets():
    Path("mine.yaml").write_text("trainer: {max_epochs: 7, logger: false}\n")
    words = ["--batch_size=8", "--alpha", "0.5", "--adam.schedule=constant", "--seed", "3"]
    made = Unrun(["fit", "plant 1.csv", *NAMED, "-c", "mine.yaml", *words])
    assert made.datamodule.batch_size == 8
    assert made.model.adam.schedule == "constant"
    assert float(made.model.alpha(0)) == 0.5
    assert made.trainer.max_epochs == 7
    assert made.config.fit.seed_everything == 3
    assert made.trainer.logger is None


@pytest.mark.parametrize(
    "words",
    [
        "--inputs wind,heat --outputs rate plant.csv",
        "--inputs=wind,heat plant.csv --outputs rate",
        "--inputs wind, heat --outputs rate plant.csv",
        "--outputs rate --inputs wind heat plant.csv",
        "plant.csv --inputs wind , heat --outputs=rate",
    ],
)
def test_a_table_and_its_columns_stand_where_people_write_them(words):
    shutil.copy("plant 1.csv", "plant.csv")
    read = words_of_parser(["fit", *words.split()])
    expected = words_of_parser(
        ["fit", *["plant.csv", "--inputs", "wind,heat", "--outputs", "rate"]]
    )
    assert read[0] == "fit"
    assert sorted(" ".join(read).replace("=", " ").split(" --")) == sorted(
        " ".join(expected).replace("=", " ").split(" --")
    )


def test_a_name_with_a_comma_stands_in_quotes_as_it_is_printed():
    Path("odd.csv").write_text('a,"head, low"\n1,2\n')
    assert "are 'a,\"head, low\"'" in refusal("fit", "odd.csv")
    read = words_of_parser(["fit", "odd.csv", "--inputs", '"head, low", a', "--outputs", "a"])
    assert '["head, low", "a"]' in read


def test_a_yaml_file_is_a_config():
    assert words_of_parser(["fit", "mine.yaml"]) == ["fit", "--config", "mine.yaml"]


def test_other_words_are_left_as_they_are():
    words = [
        "fit",
        "--config",
        "x.yaml",
        "--trainer.callbacks+",
        "A",
        "--print_config=skip_null",
        "-h",
    ]
    assert words_of_parser(words) == words
    assert words_of_parser(["fit", "--callbacks+", "A"])[1] == "--trainer.callbacks+"
    assert words_of_parser([]) == []
    assert words_of_parser(["fit", "--optimizer.lr", "-1"]) == ["fit", "--optimizer.lr", "-1"]
