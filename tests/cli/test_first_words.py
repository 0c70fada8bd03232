"""What somebody types first: help, a version, a misspelt word, the demo."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import lightning_invert
from lightning_invert.cli.main import main
from lightning_invert.cli.words import short_options
from tests.cli.commands import CONFIGS, QUIET, Unrun, edited, refusal


def help_of(capsys, *command):
    with pytest.raises(SystemExit, match="0"):
        main([*command, "--help"])
    return capsys.readouterr().out


@pytest.mark.parametrize("command", ["demo", "fit", "validate", "test", "predict"])
def test_help_fits_on_two_screens_and_names_only_what_exists(command, capsys):
    text = help_of(capsys, command)
    assert text.count("\n") <= 60
    assert max(map(len, text.splitlines())) <= 100
    assert ("InvertibilityCallback watches" in text) == (command != "predict")
    named = set(re.findall(r"--([a-z_]+)", text)) - {"help", "print_config", "data", "trainer"}
    assert {"inputs", "separator", "max_epochs"} <= named <= {"config", *short_options()}
    assert all(path.stem in text for path in CONFIGS)


def test_all_options_are_listed_on_demand(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["fit", "--help", "all"])
    assert "--trainer.gradient_clip_val" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["--help"], ["fit", "--help"], ["solve", "--help"]])
def test_a_reader_of_the_help_may_stop_early(words):
    read, write = os.pipe()
    os.close(read)  # as `| head` does
    command = [sys.executable, "-m", "lightning_invert", *words]
    run = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert run.stderr == ""


NO_TORCH = """
import sys
from lightning_invert.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit:
    print(sorted({"torch", "lightning", "polars"} & set(sys.modules)))
"""


@pytest.mark.parametrize(
    "words",
    [
        "",
        "--help",
        "--version",
        "solv",
        "fit --help",
        "demo -h",
        "solve -h",
        "analyze -h",
        "export -h",
    ],
)
def test_help_loads_neither_torch_nor_lightning(words):
    command = [sys.executable, "-c", NO_TORCH, *words.split()]
    assert subprocess.check_output(command, text=True, timeout=120).endswith("[]\n")


@pytest.mark.parametrize(
    ("words", "near"),
    [
        ("fit --modl.alpha 1", "--model.alpha"),
        ("fit --config tabular --data.fiel x", "file"),
        ("fit --config tabular --data.batch_sze 8", "batch_size"),
        ("fit --data TabularDataModule --data.seprator x", "separator"),
        ("fit --config edited.yaml", "--trainer.max_epochs"),
        ("fit --config misspelt.yaml", "num_points"),
        ("analyze --input a", "--inputs"),
        ("fit --model.alpha LinearDecayAlpha --model.alpha.epoch 3", "epochs"),
        ("solve --targts x", "--targets"),
        ("analyze --dta x", "--data"),
    ],
)
def test_a_misspelt_option_names_the_near_one(words, near):
    edited("num_points: 1000", "num_point: 1000").rename("misspelt.yaml")
    edited("max_epochs", "max_epoch")
    assert refusal(*words.split()).endswith(f"Did you mean {near!r}?")


def test_what_is_wrong_without_a_near_option_names_the_help():
    assert refusal("fit", "--zzz", "1").endswith("See lightning-invert fit --help.")


def test_columns_are_written_with_commas():
    given = ["--data", "TabularDataModule", "--data.file", "t.csv", *QUIET, "--data.outputs=c"]
    data = Unrun(["fit", *given, "--data.inputs", "a [t/h], b"]).datamodule
    assert [variable.label for variable in (*data.inputs, *data.outputs)] == ["a [t/h]", "b", "c"]


def test_the_demo_is_the_fit_of_the_reference_problem(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["demo", "--trainer.max_epochs", "3", "--print_config"])
    config = yaml.safe_load(capsys.readouterr().out)
    assert config["data"]["init_args"]["problem"] == "blast_furnace"
    assert config["trainer"]["max_epochs"] == 3


COMMANDS = ("demo", "fit", "validate", "test", "predict", "analyze", "solve", "observe", "export")


@pytest.mark.parametrize(
    ("args", "code"), [([], 2), (["--help"], 0), (["-h"], 0), (["--version"], 0)]
)
def test_the_command_alone_lists_all_commands(args, code, capsys):
    with pytest.raises(SystemExit) as ended:
        main(args)
    text = capsys.readouterr().out
    assert ended.value.code == code
    if args == ["--version"]:
        assert text == f"lightning-invert {lightning_invert.__version__}\n"
    else:
        assert all(f"\n  {command} " in text for command in COMMANDS)


def test_a_misspelt_command_is_named():
    with pytest.raises(SystemExit, match=r"one of .*, but got 'analyse'\. Did you mean 'analyze'"):
        main(["analyse", "--ckpt", "pair.ckpt"])


@pytest.mark.slow
def test_the_installed_command_runs():
    for command in (
        [Path(sys.executable).with_name("lightning-invert")],
        [sys.executable, "-m", "lightning_invert"],
    ):
        assert "fit" in subprocess.check_output([*command, "--help"], text=True, timeout=120)
