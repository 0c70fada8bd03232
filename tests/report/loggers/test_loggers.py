import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, MLFlowLogger, TensorBoardLogger, WandbLogger
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams import plugin_data_pb2

from lightning_invert import ForwardInverseModule
from lightning_invert.callbacks import InvertibilityCallback
from lightning_invert.report.loggers import Guard, count
from lightning_invert.report.loggers.tensorboard import TensorBoardGallery
from lightning_invert.watch.scalars import SCALARS, scalar_names
from lightning_invert.watch.voice import Voice
from tests.events import events_of
from tests.projects import Foreign, Smooth, fit_project, loader, quiet_trainer

FULL_RANK = "invertibility/forward/full_rank_fraction"


def fit(folder, logger, *, epochs=2, module=None, callback=None, **options):
    callback = callback or InvertibilityCallback(num_points=32)
    options |= {"max_epochs": epochs, "logger": logger}
    data = (loader(), loader()) if module is None else (Smooth(),)
    return fit_project(folder, callback, module=module, data=data, **options)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_wandb_gets_scalars_histograms_figures_and_the_worst_points(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    logger = WandbLogger(save_dir=tmp_path, offline=True, project="p")
    fit(tmp_path, logger)
    summary = dict(logger.experiment.summary)
    logger.experiment.finish()
    assert 0 <= summary[FULL_RANK] <= 1
    assert summary["trainer/global_step"] == 7  # 4 steps an epoch, counted from 0
    assert summary["invertibility_histograms/forward/log10_cond"]["_type"] == "histogram"
    assert summary["invertibility_figures/forward/fragile_zones"]["_type"] == "images/separated"
    assert summary["invertibility/forward/worst_points"]["_type"] == "table-file"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_mlflow_gets_scalars_at_their_steps_figures_and_the_worst_points(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    logger = MLFlowLogger(experiment_name="e", tracking_uri=f"file:{tmp_path / 'mlruns'}")
    fit(tmp_path, logger)
    client, run = logger.experiment, logger.run_id
    history = client.get_metric_history(run, FULL_RANK)
    assert [metric.step for metric in history] == [3, 7]
    shown = "invertibility_figures/forward/fragile_zones"
    files = {file.path for file in client.list_artifacts(run, shown)}
    assert files == {f"{shown}/step_7.png"}
    shown = "invertibility/forward"
    assert f"{shown}/worst_points.csv" in {f.path for f in client.list_artifacts(run, shown)}


@pytest.fixture(scope="module")
def pair_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    loggers = [TensorBoardLogger(folder, "tb", version=""), CSVLogger(folder, "csv", version="")]
    watch = InvertibilityCallback(num_points=32, figures=False)
    trainer = fit(folder, loggers, module=ForwardInverseModule(), callback=watch)
    return trainer, folder / "tb", rows_of(folder / "csv" / "metrics.csv")


def rows_of(file):
    with file.open() as table:
        return list(csv.DictReader(table))


def test_several_loggers_get_the_same_essential_scalars_and_the_trainer_all(pair_run):
    trainer, folder, rows = pair_run
    every = {tag for tag in trainer.callback_metrics if tag.startswith("invertibility/")}
    essential = {row.name for row in SCALARS.values() if row.essential}
    chosen = {tag for tag in every if tag.rpartition("/")[2] in essential}
    assert len(every) == 3 * 22 + 4
    assert len(chosen) == 3 * 6 + 4
    for logged in (events_of(folder).Tags()["scalars"], rows[0], trainer.logged_metrics):
        of_maps = {tag for tag in logged if tag.startswith("invertibility/") and "/0_" not in tag}
        assert of_maps == chosen
    rows = [row for row in rows if row[FULL_RANK]]
    found = events_of(folder).Scalars(FULL_RANK)
    assert [int(row["step"]) for row in rows] == [event.step for event in found] == [9, 19]
    assert [float(row[FULL_RANK]) for row in rows] == pytest.approx([e.value for e in found])


def test_custom_scalars_open_on_the_charts_of_every_map(pair_run):
    _, folder, _ = pair_run
    categories, tags = layout(folder), events_of(folder).Tags()["scalars"]
    assert [category.title for category in categories] == [
        f"invertibility: {name}" for name in ("forward", "inverse", "round_trip")
    ]
    for category, charts in zip(categories, (5, 4, 6), strict=True):
        assert len(category.chart) == charts
        for chart in category.chart:
            # TensorBoard shows charts of another kind elsewhere; and curves of a run in one colour.
            assert chart.WhichOneof("content") == "multiline"
            assert 1 <= len(chart.multiline.tag) <= 2
            assert set(chart.multiline.tag) <= set(tags)


def test_the_table_of_hyperparameters_has_no_columns_of_one_run_alone(pair_run):
    # Where no run declares metrics, TensorBoard takes the scalars of all, by their last values.
    trainer, folder, _ = pair_run
    metrics, params = declared(folder)
    assert metrics == set()
    assert params["learning_rate"].number_value == trainer.lightning_module.hparams.learning_rate
    assert params["standardize"].string_value == "true"
    assert "hp_metric" not in events_of(folder).Tags()["scalars"]
    assert trainer.loggers[0]._default_hp_metric  # as it was


def test_runs_of_other_maps_share_the_columns_that_the_table_of_runs_shows(pair_run, tmp_path):
    watch = InvertibilityCallback(maps={"A": {"module": ""}, "b": {"module": ""}}, num_points=16)
    fit(tmp_path, TensorBoardLogger(tmp_path, "", version=""), epochs=1, callback=watch)
    other, events = events_of(tmp_path), events_of(pair_run[1])
    # TensorBoard ticks the first five by name.
    columns = [sorted(e.Tags()["scalars"])[:4] for e in (other, events)]
    assert columns[0] == columns[1]
    for tag in columns[1][1:]:
        name = tag.rpartition("/")[2]
        of_maps = [
            events.Scalars(f"invertibility/{m}/{name}")[-1].value
            for m in ("forward", "inverse", "round_trip")
        ]
        assert events.Scalars(tag)[-1].value == max(of_maps)  # of each, smaller is better


def test_tensorboard_opens_on_what_is_0_while_all_is_well(pair_run):
    tags = events_of(pair_run[1]).Tags()
    groups = sorted({tag.partition("/")[0] for tag in tags["scalars"]})
    assert groups[:2] == ["epoch", "invertibility"]  # the two that are opened
    cards = sorted(tag for kind in ("scalars", "images", "histograms") for tag in tags[kind])
    cards = [tag for tag in cards if tag.startswith("invertibility/")]
    for name in ("forward", "inverse", "round_trip"):
        of_map = [tag.rpartition("/")[2] for tag in cards if f"/{name}/" in tag]
        of_map = [card for card in of_map if card in scalar_names("spectrum")]
        assert of_map[:2] == ["deficient_fraction", "fragile_fraction"]
    for category in layout(pair_run[1]):
        first = [chart.multiline.tag[0].rpartition("/")[2] for chart in category.chart[:2]]
        assert first == ["deficient_fraction", "fragile_fraction"]


def test_the_worst_points_are_a_table_beside_the_logs(pair_run):
    rows = rows_of(Path(pair_run[0].log_dir) / "invertibility" / "forward_worst_points.csv")
    cond = [float(row["condition_number"]) for row in rows]
    assert len(rows) == 20
    assert cond == sorted(cond, reverse=True)
    assert {"rank", "band", "sigma_1"} <= set(rows[0])
    assert any(name.startswith("input/") for name in rows[0])


@pytest.mark.parametrize("fast", [False, True])
def test_no_logger_and_a_fast_development_run_are_no_hindrance(tmp_path, caplog, fast):
    trainer = fit(tmp_path, TensorBoardLogger(tmp_path) if fast else False, fast_dev_run=fast)
    assert FULL_RANK in trainer.callback_metrics
    assert "cannot show" not in caplog.text
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("figures", "missing"), [(True, ["histograms or figures"]), (False, [])])
def test_a_logger_says_once_what_it_cannot_show_of_what_is_asked_for(
    tmp_path, caplog, figures, missing
):
    watch = InvertibilityCallback(num_points=32, figures=figures)
    trainer = fit(tmp_path, CSVLogger(tmp_path), callback=watch)
    trainer.test(Foreign(), loader(), verbose=False)
    assert [r.message for r in caplog.records if "cannot show" in r.message] == [
        f"InvertibilityCallback: CSVLogger gets the scalars, but cannot show {what}."
        for what in missing
    ]


@pytest.mark.slow
def test_a_prefix_is_before_every_tag_and_a_test_leaves_the_charts_of_the_fit(tmp_path):
    trainer = fit(tmp_path, TensorBoardLogger(tmp_path, "", version="", prefix="run"))
    trainer.test(Foreign(), loader(), verbose=False)
    tags = events_of(tmp_path).Tags()
    for kind, tag in (("scalars", FULL_RANK), ("histograms", "invertibility_histograms/forward/rank"),
                      ("images", "invertibility_figures/forward/fragile_zones")):  # fmt: skip
        assert f"run-{tag}" in tags[kind]
    assert f"run-test/{FULL_RANK}" in tags["scalars"]
    (category,) = layout(tmp_path)
    assert category.chart[0].multiline.tag == ["run-invertibility/forward/deficient_fraction"]


def layout(folder):
    event = events_of(folder).Tensors("custom_scalars__config__")[-1]
    return Layout.FromString(event.tensor_proto.string_val[0]).category


def declared(folder):
    metadata = events_of(folder).PluginTagToContent("hparams")
    experiment = metadata.get("_hparams_/experiment", b"")
    data = plugin_data_pb2.HParamsPluginData.FromString(experiment)
    start = plugin_data_pb2.HParamsPluginData.FromString(metadata["_hparams_/session_start_info"])
    metrics = {info.name.tag for info in data.experiment.metric_infos}
    return metrics, dict(start.session_start_info.hparams)


def test_metrics_that_a_project_declares_itself_are_not_shadowed(tmp_path):
    class Declares(ForwardInverseModule):
        def on_train_start(self):
            self.logger.log_hyperparams(self.hparams, {"my/metric": 0.0})

    logger = TensorBoardLogger(tmp_path, "", version="", default_hp_metric=False)
    watch = InvertibilityCallback(num_points=16, figures=False)
    fit(tmp_path, logger, module=Declares(), callback=watch, epochs=1)
    assert declared(tmp_path)[0] == {"my/metric"}


def test_counts_are_numpys():
    values = torch.randn(1000, dtype=torch.float64)
    found = count(values, -5.0, 5.0, bins=20)
    expected, edges = np.histogram(values.numpy(), 20, (-5, 5))
    np.testing.assert_array_equal(found.counts, expected)
    np.testing.assert_allclose(found.edges, edges)
    assert (found.least, found.most) == (values.min(), values.max())
    assert found.squares == pytest.approx((values**2).sum().item())


def test_private_names_of_tensorboard_and_its_logger_are_as_they_are_used():
    """If one of these goes, the loggers fall back; this says so before a user wonders why."""
    from lightning.fabric.utilities.logger import _convert_params, _flatten_dict
    from torch.utils.tensorboard import SummaryWriter

    used = SummaryWriter._get_file_writer, TensorBoardLogger._sanitize_params
    assert all(map(callable, (*used, _convert_params, _flatten_dict)))


def test_without_torch_s_file_writer_the_scalars_go_the_logger_s_own_way(tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr(
        "lightning.pytorch.loggers.TensorBoardLogger.log_metrics",
        lambda self, metrics, step=None: seen.update(metrics),
    )
    logger = TensorBoardLogger(tmp_path, "", version="", default_hp_metric=False)
    monkeypatch.delattr(type(logger.experiment), "_get_file_writer")
    TensorBoardGallery(logger, Guard(Voice("test"))).scalars({FULL_RANK: 1.0}, 3)
    assert seen == {FULL_RANK: 1.0}


def test_without_lightning_s_private_functions_there_is_no_table_of_runs(tmp_path, monkeypatch):
    monkeypatch.delattr("lightning.fabric.utilities.logger._flatten_dict")
    logger = TensorBoardLogger(tmp_path, "", version="")
    module = ForwardInverseModule()
    trainer = quiet_trainer(tmp_path, logger=logger)
    trainer.datamodule = Smooth()
    TensorBoardGallery(logger, Guard(Voice("test"))).show("declare", trainer, module)
    logger.experiment.flush()
    assert "hparams" not in events_of(tmp_path).summary_metadata
