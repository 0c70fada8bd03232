import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from lightning_invert import ForwardInverseModule, LinearDecayAlpha
from lightning_invert.callbacks import (
    ConditioningEarlyStopping,
    InvertibilityCallback,
    PredictionWriter,
)
from lightning_invert.cli.main import InvertCLI, main

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
QUIET = ["--trainer.max_epochs", "1", "--trainer.enable_progress_bar", "false"]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lightning-invert"])


def furnace(*options):
    return [
        "--config", str(ROOT / "configs" / "blast_furnace.yaml"),
        *QUIET, "--data.num_points", "200", *options,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fitted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["lightning-invert"])
        main(["fit", *furnace("--trainer.logger.init_args.save_dir", str(folder))])
    (path,) = folder.rglob("*.ckpt")
    return path


def test_fit_says_where_logs_figures_and_checkpoint_are(tmp_path, capsys):
    main(["fit", *furnace()])
    text = capsys.readouterr().out
    assert "right-invertible" in text
    for what in ("tensorboard --logdir", "Checkpoint:", "Figures:"):
        (line,) = re.findall(rf"{what}\s+(\S+)", text)
        assert Path(line).exists()
    assert list(tmp_path.rglob("events.out.tfevents*"))
    assert len(list(tmp_path.rglob("*.png"))) == 3 * 6


def test_a_checkpoint_of_the_command_loads_alone(checkpoint):
    module = ForwardInverseModule.load_from_checkpoint(checkpoint)
    assert module.alpha == LinearDecayAlpha(0.1, epochs=60)
    assert module(torch.zeros(2, 7)).shape == (2, 4)
    assert module.input_names[0] == "h2_injection"


class Watch(InvertibilityCallback):
    """A callback of the user's own."""


class Unrun(InvertCLI):
    """Up to where the trainer would run."""

    def _run_subcommand(self, subcommand):
        pass


def callbacks(command, *options):
    args = [command, "--data", "BlastFurnaceDataModule", *QUIET, "--trainer.logger", "false"]
    return Unrun([*args, *options]).trainer.callbacks


@pytest.mark.parametrize("command", ["fit", "validate", "test"])
def test_it_watches_without_being_told(command):
    found = callbacks(command)
    assert sum(isinstance(one, InvertibilityCallback) for one in found) == 1
    assert not any(isinstance(one, PredictionWriter) for one in found)


def test_predict_writes_and_does_not_watch():
    found = callbacks("predict")
    assert sum(isinstance(one, PredictionWriter) for one in found) == 1
    assert not any(isinstance(one, InvertibilityCallback) for one in found)


@pytest.mark.parametrize("kind", ["InvertibilityCallback", f"{__name__}.Watch"])
def test_one_that_is_named_is_the_only_one(kind, monkeypatch):
    monkeypatch.setitem(sys.modules, __name__, sys.modules[Watch.__module__])
    named = ["--trainer.callbacks", kind, "--trainer.callbacks.num_points", "17"]
    (one,) = (one for one in callbacks("fit", *named) if isinstance(one, InvertibilityCallback))
    assert one.num_points == 17


def test_it_watches_before_what_acts_on_what_is_seen():
    named = ["--trainer.callbacks", "ConditioningEarlyStopping", "--trainer.callbacks.map"]
    named += ["forward", "--trainer.callbacks.divergence_threshold", "6"]
    kinds = [type(one) for one in callbacks("fit", *named)]
    assert kinds.index(InvertibilityCallback) < kinds.index(ConditioningEarlyStopping)


def test_fit_without_a_config_sums_up_what_it_saw(tmp_path, capsys):
    main(["fit", "--data", "BlastFurnaceDataModule", "--data.num_points", "100", *QUIET])
    assert "right-invertible" in capsys.readouterr().out


@pytest.mark.parametrize("command", [[], ["fit"]])
def test_help_says_that_it_watches(command, capsys):
    with pytest.raises(SystemExit):
        main([*command, "--help"])
    assert "InvertibilityCallback" in capsys.readouterr().out.split("ptions:")[0]


MOVED = pytest.mark.filterwarnings("ignore:The dirpath has changed:UserWarning")


@MOVED
@pytest.mark.parametrize("command", ["validate", "test"])
def test_a_checkpoint_is_judged(command, checkpoint, capsys):
    main([command, *furnace("--ckpt_path", str(checkpoint))])
    assert "right-invertible" in capsys.readouterr().out


@MOVED
def test_predictions_are_written(tmp_path, checkpoint):
    main(["predict", *furnace("--ckpt_path", str(checkpoint))])
    (path,) = tmp_path.rglob("predictions*.csv")
    header = path.read_text().splitlines()[0]
    assert "y_hat/hot_metal_temperature" in header
    assert "x_hat/wind_rate" in header


@pytest.mark.parametrize("command", ["validate", "test", "predict"])
def test_untrained_networks_are_not_judged(command):
    with pytest.raises(SystemExit, match="--ckpt_path"):
        main([command, *furnace()])


def test_a_table_is_fitted_from_the_command_line(tmp_path):
    table = ROOT / "configs" / "tabular.yaml"
    x = torch.randn(60, 3)
    rows = torch.cat([x, x.square()[:, :2]], dim=1)
    columns = yaml.safe_load(table.read_text())["data"]["init_args"]
    names = [*columns["inputs"], *columns["outputs"]]
    assert len(names) == 5
    lines = [",".join(names), *(",".join(map(str, row)) for row in rows.tolist())]
    (tmp_path / "table.csv").write_text("\n".join(lines))
    main([
        "fit", "--config", str(table), "--data.file", str(tmp_path / "table.csv"),
        "--trainer.max_epochs", "1", "--trainer.enable_progress_bar", "false",
    ])  # fmt: skip


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_config_is_valid_and_names_only_what_exists(path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["fit", "--config", str(path), "--print_config"])
    assert ended.value.code == 0
    assert yaml.safe_load(capsys.readouterr().out)["model"]["learning_rate"] > 0


@pytest.mark.parametrize("given", [["--config", "{}"], ["--config={}"], ["-c", "{}"]])
def test_a_packaged_config_is_found_by_its_name(given, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["fit", *(part.format("blast_furnace_full") for part in given), "--print_config"])
    assert ended.value.code == 0
    assert yaml.safe_load(capsys.readouterr().out)["trainer"]["max_epochs"] == 1000


def test_the_process_s_own_arguments_are_read_likewise(monkeypatch, capsys):
    given = ["lightning-invert", "fit", "--config", "blast_furnace_full", "--print_config"]
    monkeypatch.setattr(sys, "argv", given)
    with pytest.raises(SystemExit):
        main()
    assert yaml.safe_load(capsys.readouterr().out)["trainer"]["max_epochs"] == 1000


def test_a_file_of_that_name_goes_before_the_packaged_config(tmp_path, capsys):
    text = (ROOT / "configs" / "blast_furnace.yaml").read_text()
    (tmp_path / "blast_furnace").write_text(text.replace("max_epochs: 120", "max_epochs: 7"))
    with pytest.raises(SystemExit):
        main(["fit", "--config", "blast_furnace", "--print_config"])
    assert yaml.safe_load(capsys.readouterr().out)["trainer"]["max_epochs"] == 7


@pytest.mark.parametrize("given", [["--config", "blast_furnce"], ["--config=blast_furnce"]])
def test_an_unknown_name_is_answered_with_those_there_are(given):
    names = ", ".join(path.stem for path in CONFIGS)
    with pytest.raises(SystemExit, match=f"one of {names}, but got 'blast_furnce'"):
        main(["fit", *given])


@pytest.mark.parametrize("name", ["nothing.yaml", "./nothing"])
def test_a_path_that_leads_nowhere_is_left_to_the_parser(name, capsys):
    with pytest.raises(SystemExit):
        main(["fit", "--config", name])
    assert "does not exist" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ["--data.num_points", "0"],
            "Expected argument `num_points` to be a whole number of at least 1, but got 0 (int).",
        ),
        (
            ["--trainer.callbacks", "InvertibilityCallback", "--trainer.callbacks.num_points", "0"],
            "Expected argument `num_points` to be ",
        ),
        (
            ["--model.alpha", "LinearDecayAlpha", "--model.alpha.epochs", "0"],
            "Expected argument `epochs` to be at least 1, but got 0.",
        ),
        (
            [
                "--trainer.callbacks",
                "ConditioningEarlyStopping",
                "--trainer.callbacks.map",
                "forward",
            ],
            "Expected one of the arguments `stopping_threshold`, ",
        ),
        (["--model.learning_rate", "-1"], "Expected argument `learning_rate` to be positive"),
        (["--trainer.accelerator", "nonsense"], "You selected an invalid accelerator"),
    ],
)
def test_a_value_out_of_range_is_said_in_one_line(options, words):
    with pytest.raises(SystemExit) as ended:
        main(["fit", "--data", "BlastFurnaceDataModule", *QUIET, *options])
    said = str(ended.value)
    assert said.startswith(f"lightning-invert fit: {words}")
    assert "\n" not in said


def test_a_misspelt_key_is_named(tmp_path, capsys):
    text = (ROOT / "configs" / "blast_furnace.yaml").read_text()
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(text.replace("num_points: 256", "num_point: 256"))
    with pytest.raises(SystemExit):
        main(["fit", "--config", str(wrong)])
    assert "num_point" in capsys.readouterr().err


def test_help_shows_every_argument_of_the_module(capsys):
    with pytest.raises(SystemExit):
        main(["fit", "--help"])
    text = capsys.readouterr().out
    for name in [
        "forward_net",
        "inverse_net",
        "alpha",
        "consistency_trains_forward",
        "forward_warmup_epochs",
        "freeze_forward",
        "forward_from",
        "learning_rate",
        "standardize",
    ]:
        assert f"--model.{name}" in text
    assert "Weight of the consistency term" in text


def test_the_installed_command_runs():
    command = Path(sys.executable).parent / "lightning-invert"
    done = subprocess.run(
        [command, "--help"], capture_output=True, text=True, check=True, timeout=120
    )
    assert "fit" in done.stdout


def test_which_points_and_epochs_are_watched_can_be_said_in_yaml(tmp_path):
    given = {"sampling": "fixed", "epochs": "log", "max_overhead": 0.5, "worst_points": 3}
    options = "".join(f"        {name}: {value}\n" for name, value in given.items())
    text = (ROOT / "configs" / "blast_furnace.yaml").read_text()
    config = tmp_path / "mine.yaml"
    config.write_text(text.replace("        num_points: 256\n", options))
    main(["fit", "--config", str(config), *furnace()[2:]])
    (table,) = tmp_path.rglob("forward_worst_points.csv")
    assert len(table.read_text().splitlines()) == 4


def test_maps_can_be_said_in_yaml_alone(tmp_path):
    maps = """
        num_points: 20
        maps:
          furnace: {module: forward_net, input: [0]}
          joint: {module: round_trip, input: [[1]], identity: true, output_names: [a, b, c, d]}
"""
    text = (ROOT / "configs" / "blast_furnace.yaml").read_text()
    config = tmp_path / "mine.yaml"
    config.write_text(text.replace("        num_points: 256\n", maps))
    main(["fit", "--config", str(config), *furnace()[2:]])
    names = {path.name.removesuffix("_worst_points.csv") for path in tmp_path.rglob("*_points.csv")}
    assert names == {"furnace", "joint"}
