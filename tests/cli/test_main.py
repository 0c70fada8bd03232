import inspect
import re
import sys
from pathlib import Path

import numpy as np
import polars
import pytest
import torch
import yaml
from torch import nn

from lightning_invert import ConstantAlpha, ForwardInverseModule, ResidualMLP, Thresholds
from lightning_invert.callbacks import (
    ConditioningEarlyStopping,
    InvertibilityCallback,
    PredictionWriter,
)
from lightning_invert.cli.checkpoint import folder_of_results
from lightning_invert.cli.main import main
from lightning_invert.pair.settings import AdamSettings
from tests.cli.commands import CONFIGS, FURNACE, QUIET, Unrun, edited, refusal, save_pair
from tests.strangers import crafted

ROOT = Path(__file__).parents[2]
CALLBACKS = "--trainer.callbacks"


def furnace(*options):
    return [
        "--config", str(FURNACE),
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


def test_fit_names_the_places_of_logs_figures_and_checkpoint(tmp_path, capsys, caplog):
    main(["fit", *furnace()])
    text = capsys.readouterr().out + caplog.text
    assert "right-invertible" in text
    for what in ("tensorboard --logdir", "Checkpoint:", "Figures:"):
        (line,) = re.findall(rf"{what}\s+(\S+)", text)
        assert Path(line).exists()
    assert list(tmp_path.rglob("events.out.tfevents*"))
    assert len(list(tmp_path.rglob("*.png"))) == 3  # of one look there is no evolution


def test_a_checkpoint_of_the_command_loads_alone(checkpoint):
    module = ForwardInverseModule.load_from_checkpoint(checkpoint)
    assert module.alpha == ConstantAlpha(0.8)
    assert module(torch.zeros(2, 7)).shape == (2, 4)
    assert module.inputs[0].name == "h2_injection"


class Watch(InvertibilityCallback):
    """A callback of the user's own."""


def callbacks(command, *options):
    args = [command, "--data", "ProblemDataModule", *QUIET, "--trainer.logger", "false"]
    return Unrun([*args, *options]).trainer.callbacks


def watching(*options):
    (callback,) = (c for c in callbacks("fit", *options) if isinstance(c, InvertibilityCallback))
    return callback


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict"])
def test_the_default_callback_watches_or_writes(command):
    kinds = [type(callback) for callback in callbacks(command)]
    watches, writes = (1, 0) if command != "predict" else (0, 1)
    assert kinds.count(InvertibilityCallback) == watches
    assert kinds.count(PredictionWriter) == writes


@pytest.mark.parametrize("kind", ["InvertibilityCallback", f"{__name__}.Watch"])
def test_a_named_callback_replaces_the_default(kind, monkeypatch):
    monkeypatch.setitem(sys.modules, __name__, sys.modules[Watch.__module__])
    callback = watching(CALLBACKS, kind, f"{CALLBACKS}.num_points", "17")
    assert callback.watcher.num_points == 17


def test_the_watching_callback_comes_before_one_that_acts():
    named = [CALLBACKS, "ConditioningEarlyStopping", f"{CALLBACKS}.map", "forward"]
    named += [f"{CALLBACKS}.divergence_threshold", "6"]
    kinds = [type(callback) for callback in callbacks("fit", *named)]
    assert kinds.index(InvertibilityCallback) < kinds.index(ConditioningEarlyStopping)


def test_fit_without_a_config_reports_what_it_found(tmp_path, caplog):
    main(["fit", "--data", "ProblemDataModule", "--data.num_points", "100", *QUIET])
    assert "right-invertible" in caplog.text


@pytest.mark.parametrize("command", ["validate", "test"])
@pytest.mark.slow
def test_a_checkpoint_is_judged(command, checkpoint, caplog):
    main([command, *furnace("--ckpt_path", str(checkpoint))])
    assert "right-invertible" in caplog.text


def test_predictions_are_written_to_the_run_of_the_checkpoint(tmp_path, checkpoint):
    run = checkpoint.parents[1]
    settings = (run / "config.yaml").read_text()
    main(["predict", *furnace("--ckpt_path", str(checkpoint))])
    assert [path.name for path in run.parent.iterdir()] == [run.name]
    assert not [*tmp_path.iterdir()]
    assert (run / "config.yaml").read_text() == settings
    (path,) = run.rglob("predictions*.csv")
    header = path.read_text().splitlines()[0]
    assert "predicted/hot_metal_temperature [" in header
    assert "inverse/wind_rate [" in header


@pytest.mark.parametrize("command", ["validate", "test", "predict"])
def test_untrained_networks_are_not_judged(command):
    with pytest.raises(SystemExit, match="--ckpt "):
        main([command, *furnace()])


def test_the_config_of_tables_takes_any_columns():
    given = ["--data.inputs", "speed, load", "--data.outputs", "heat", *QUIET]
    data = Unrun(["fit", "--config", "tabular", "--data.file", "t.csv", *given]).datamodule
    labels = [variable.label for variable in (*data.inputs, *data.outputs)]
    assert labels == ["speed", "load", "heat"]


def test_the_config_of_tables_keeps_and_stops_by_the_loss_of_f():
    command = Unrun(["fit", "--config", "tabular", "--data.file", "t.csv"])
    trainer, module = command.trainer, command.model
    stop = trainer.early_stopping_callback
    for callback in (trainer.checkpoint_callback, stop):
        assert (callback.monitor, callback.mode) == ("val/forward", "min")
    assert (trainer.max_epochs, trainer.max_steps, stop.patience) == (400, 8000, 100)
    kinds = [type(callback).__name__ for callback in trainer.callbacks]
    # Whoever comes before it looks at the averaged weights.
    assert kinds.index("InvertibilityCallback") < kinds.index("EMAWeightAveraging")
    expected = (ConstantAlpha(0.8), 3e-3, AdamSettings())
    assert (module.alpha, module.learning_rate, module.adam) == expected
    assert module.forward_net is module.inverse_net is command.datamodule.batch_size is None


@pytest.mark.slow
def test_a_table_is_fitted_from_the_command_line():
    table = ROOT / "configs" / "tabular.yaml"
    columns = yaml.safe_load(table.read_text())["data"]["init_args"]
    names = [*columns["inputs"], *columns["outputs"]]
    polars.DataFrame(np.random.default_rng(0).normal(size=(60, 5)), names).write_csv("table.csv")
    main(["fit", "--config", str(table), "--data.file", "table.csv", *QUIET])


def printed_config(capsys, *args):
    with pytest.raises(SystemExit, match="0"):
        main(["fit", *args, "--print_config"])
    return yaml.safe_load(capsys.readouterr().out)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_config_is_valid_and_names_only_what_exists(path, capsys):
    assert printed_config(capsys, "--config", str(path))["model"]["learning_rate"] > 0


@pytest.mark.parametrize("given", [["--config", "{}"], ["--config={}"], ["-c", "{}"]])
def test_a_packaged_config_is_found_by_its_name(given, capsys):
    args = [part.format("blast_furnace_reference") for part in given]
    assert printed_config(capsys, *args)["trainer"]["max_epochs"] == 1000


def test_the_arguments_of_the_process_are_read_alike(capsys, monkeypatch):
    args = ["fit", "--config", "blast_furnace_reference", "--print_config"]
    monkeypatch.setattr(sys, "argv", ["lightning-invert", *args])
    with pytest.raises(SystemExit, match="0"):
        main()
    assert yaml.safe_load(capsys.readouterr().out)["trainer"]["max_epochs"] == 1000


def test_a_file_of_that_name_goes_before_the_packaged_config(capsys):
    edited("max_epochs: 28", "max_epochs: 7").rename("blast_furnace")
    assert printed_config(capsys, "--config", "blast_furnace")["trainer"]["max_epochs"] == 7


def test_an_unknown_config_is_answered_with_the_packaged_ones():
    names = ", ".join(path.stem for path in CONFIGS)
    with pytest.raises(SystemExit, match=f"one of {names}, but got 'blast_furnce'"):
        main(["fit", "--config", "blast_furnce"])


@pytest.mark.parametrize("name", ["nothing.yaml", "./nothing"])
def test_a_path_that_leads_nowhere_is_left_to_the_parser(name):
    assert "does not exist" in refusal("fit", "--config", name)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--data.num_points", "0"], "Expected argument `num_points` to be a whole number of at "),
        ([CALLBACKS, "InvertibilityCallback", f"{CALLBACKS}.num_points", "0"], "Expected argument `num"),
        ([CALLBACKS, "ConditioningEarlyStopping", f"{CALLBACKS}.map", "f"], "Expected one of the arg"),
        (["--model.alpha", "LinearDecayAlpha", "--model.alpha.epochs", "0"], "Expected argument `epochs"),
        (["--model.learning_rate", "-1"], "Expected argument `learning_rate` to be a finite number "),
        (["--trainer.accelerator", "nonsense"], "You selected an invalid accelerator"),
        (["--config", "{model: {alpha: 1.5}}"], "Expected argument `alpha`"),
        (["--config", "{model: {forward_training: {start_from: none.ckpt}}}"], "Expected a checkpoint, "),
        (["--config", "{trainer: {max_epochs: -3}}"], "`max_epochs`"),
        (["--config", "{trainer: {val_check_interval: 7.5}}"], ""),
        (["--config", "{allow: a..b}"], "Expected argument `allow`"),
    ],
)  # fmt: skip
def test_a_value_out_of_range_ends_with_one_line(options, words):
    assert refusal("fit", *PLAIN, *options).startswith(words)


@pytest.mark.parametrize(
    ("every", "due"), [("log", [0, 1, 2, 4, 8]), (3, [0, 3, 6]), ([7, 8], [0, 7, 8])]
)
def test_points_validations_and_thresholds_are_set_in_yaml(every, due):
    given = {"sampling": "fixed", "every_n_validations": every, "scalars": "all"}
    given["thresholds"] = {"rank_atol": 0.1, "bands": [10, 1000]}
    options = "".join(f"        {name}: {value}\n" for name, value in given.items())
    config = edited("        num_points: 1000\n        every_n_validations: 4\n", options)
    watch = watching("--config", str(config))
    assert watch.watcher.sampling == "fixed"
    assert [n for n in range(9) if watch._schedule.is_due(n)] == due
    assert watch.watcher.thresholds == Thresholds(rank_atol=0.1, bands=(10.0, 1000.0))


def test_maps_are_set_in_yaml_alone(tmp_path):
    maps = """
        num_points: 20
        maps:
          furnace: {module: forward_net, input: [0]}
          joint: {module: round_trip, input: [[1]], identity: true, output_names: [a, b, c, d]}
"""
    main(["fit", "--config", str(edited("        num_points: 1000\n", maps)), *furnace()[2:]])
    names = {path.name.removesuffix("_worst_points.csv") for path in tmp_path.rglob("*_points.csv")}
    assert names == {"furnace", "joint"}


PLAIN = [
    "--data", "ProblemDataModule", "--data.num_points", "60", *QUIET, "--trainer.logger", "false",
]  # fmt: skip


class Own(nn.Linear):
    """A network of a user's own."""


def plain_pair():
    return ForwardInverseModule(ResidualMLP(7, 4), ResidualMLP(4, 7))


def own_pair():
    return ForwardInverseModule(Own(7, 4), Own(4, 7))


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict"])
def test_nothing_that_a_checkpoint_names_is_imported(command, tmp_path, strangers):
    def edit(checkpoint):
        named = {"class_path": "stranger.Net", "init_args": {"n": 7}}
        checkpoint["hyper_parameters"] |= {
            "forward_net": named, "alpha": named, "allow": ["stranger"], "_class_path": "stranger.Net",
            "_instantiator": "lightning.pytorch.cli.instantiate_module",
        }  # fmt: skip
        checkpoint["lightning_invert"]["parts"]["inverse_net"] = crafted("stranger.Net", 7)

    pair = ForwardInverseModule(ResidualMLP(7, 4), Own(4, 7))
    save_pair(tmp_path / "pair.ckpt", pair, edit=edit)
    line = refusal(command, *PLAIN, "--ckpt_path", "pair.ckpt")
    assert line.startswith("pair.ckpt: Expected the checkpoint's ")
    assert "--allow stranger.Net" in line
    assert strangers == []


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict"])
def test_own_networks_of_a_checkpoint_are_allowed_by_name(command, tmp_path, capsys):
    save_pair(tmp_path / "own.ckpt", own_pair())
    given = [command, *PLAIN, "--ckpt_path", "own.ckpt"]
    if command == "fit":  # it has no state of an optimizer
        given[-2:] = ["--model.forward_training.start_from", "own.ckpt"]
    assert f"--allow {__name__}.Own" in refusal(*given)
    main([*given, "--allow", __name__])


def test_the_user_s_setting_goes_before_the_checkpoint_s(tmp_path):
    save_pair(tmp_path / "pair.ckpt", plain_pair())
    given = [*PLAIN, "--model.learning_rate", "0.5", "--ckpt_path", "pair.ckpt"]
    assert Unrun(["fit", *given]).model.learning_rate == 0.5


def test_a_checkpoint_does_not_tell_how_it_is_made(checkpoint):
    kept = torch.load(checkpoint, weights_only=True)["hyper_parameters"]
    assert set(kept) <= set(inspect.signature(ForwardInverseModule).parameters) - {"allow"}


@pytest.mark.parametrize("command", ["fit", "predict"])
@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("none.ckpt", "Expected a checkpoint, but there is no file 'none.ckpt'."),
        ("cut.ckpt", "Expected 'cut.ckpt' to be a checkpoint, but it cannot be read"),
        ("other.ckpt", "Expected 'other.ckpt' to be a checkpoint that a Trainer saved"),
        ("foreign.ckpt", "foreign.ckpt: Expected a checkpoint of a ForwardInverseModule"),
        (".", "Expected '.' to be a checkpoint"),
    ],
)
def test_a_file_that_is_no_checkpoint_ends_with_one_line(command, file, words, tmp_path):
    if file == "cut.ckpt":
        save_pair(tmp_path / file, plain_pair())
        Path(file).write_bytes(Path(file).read_bytes()[:-500])
    elif file == "other.ckpt":
        torch.save({"state_dict": {}}, file)
    elif file == "foreign.ckpt":
        save_pair(tmp_path / file, own_pair(), edit=lambda held: held.pop("lightning_invert"))
    assert refusal(command, *PLAIN, "--ckpt_path", file).startswith(words)


def test_weights_alone_do_not_resume_a_fit(tmp_path):
    def edit(checkpoint):
        del checkpoint["optimizer_states"], checkpoint["lr_schedulers"]

    save_pair(tmp_path / "pair.ckpt", plain_pair(), edit=edit)
    line = refusal("fit", *PLAIN, "--ckpt_path", "pair.ckpt")
    assert line.startswith("pair.ckpt: Trying to restore optimizer state")


def test_a_network_of_another_size_ends_with_one_line(tmp_path):
    save_pair(tmp_path / "pair.ckpt", own_pair())
    other = ["--model.forward_net", "ResidualMLP", "--model.forward_net.in_features", "7"]
    other += ["--model.forward_net.out_features", "4", "--allow", __name__]
    line = refusal("test", *PLAIN, "--ckpt_path", "pair.ckpt", *other)
    assert line.startswith("pair.ckpt: Error(s) in loading state_dict")
    assert len(line) < 300


@pytest.mark.parametrize(
    ("name", "words"),
    [("none.csv", "'none.csv' does not exist"), ("text.csv", "--missing '[\"x\"]'")],
)
def test_a_table_that_cannot_be_read_ends_with_one_line(name, words):
    Path("text.csv").write_text("a,b\n1,2\n3,x\n")
    data = ["--data", "TabularDataModule", "--data.file", name]
    assert words in refusal("fit", *data, "--data.inputs", "[a]", "--data.outputs", "[b]", *QUIET)


def test_a_fault_of_the_program_is_not_hidden(monkeypatch):
    monkeypatch.setattr(ForwardInverseModule, "training_step", lambda *_: {}["missing"])
    with pytest.raises(KeyError):
        main(["fit", *PLAIN, "--trainer.num_sanity_val_steps", "0"])


TABLE = ["--data", "TabularDataModule", "--data.inputs", "a", "--data.outputs", "b", *QUIET]
LOGGER = "--trainer.logger=TensorBoardLogger"


@pytest.mark.parametrize("logger", [[], [LOGGER, "--trainer.logger.save_dir=runs/mine"]])
@pytest.mark.parametrize(
    "options",
    [
        ["--data.file", "none.csv"],
        ["--data.file", "two.csv", "--data.inputs", "c"],
        ["--data.file", "two.csv", "--data.missing", "[1, 2, 3]"],
        ["--data.file", "two.csv", "--trainer.accelerator", "nonsense"],
        ["--data.file", "two.csv", "--model.forward_net", "SmoothMLP",
         "--model.forward_net.in_features", "5", "--model.forward_net.out_features", "1"],
    ],
)  # fmt: skip
def test_a_failed_start_leaves_no_folder(logger, options, tmp_path):
    Path("two.csv").write_text("a,b\n" + "".join(f"{i},{i * i % 7}\n" for i in range(20)))
    assert refusal("fit", *TABLE, *logger, *options)
    assert [path.name for path in tmp_path.iterdir()] == ["two.csv"]


def test_a_failed_start_removes_nothing_that_was_there(tmp_path):
    Path("runs").mkdir()
    options = [LOGGER, "--trainer.logger.save_dir=.", "--trainer.logger.name=runs"]
    assert refusal("fit", *TABLE, "--data.file", "none.csv", *options)
    assert [path.name for path in tmp_path.rglob("*")] == ["runs"]


@pytest.mark.parametrize(
    ("given", "ckpt", "place"),
    [
        (None, "elsewhere/pair.ckpt", "made"),
        (None, "runs/mine/version_3/checkpoints/best.ckpt", "runs/mine/version_3/made"),
        (None, "runs/mine/checkpoints/val/forward=1.ckpt", "runs/mine/made"),
        ("here", "runs/mine/version_3/checkpoints/best.ckpt", "here"),
    ],
)
def test_results_lie_in_the_run_of_their_checkpoint(given, ckpt, place):
    assert folder_of_results(given, ckpt, "made") == Path(place)
