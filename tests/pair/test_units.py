import copy

import numpy as np
import polars
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from lightning_invert import ForwardInverseModule, InvertibilityCallback, SmoothMLP, Variable
from lightning_invert.analysis.analyze import analyze
from lightning_invert.cli.main import main
from lightning_invert.datamodules import PairDataModule
from lightning_invert.watch.resolution import resolve_maps
from tests.jacobians.reference import jacobians_by_autograd
from tests.projects import quiet_trainer


class InUnits(PairDataModule):
    """A process whose first setting and first outcome have any origin and unit."""

    inputs = (Variable("time", "s"), Variable("load"))
    outputs = (Variable("rate"), Variable("heat"))

    def __init__(self, x=(0.0, 1.0), y=(0.0, 1.0), rows=500):
        super().__init__(batch_size=32)
        self.x, self.y, self.rows = x, y, rows

    def load(self):
        generator = torch.Generator().manual_seed(0)
        u = torch.rand(self.rows, 2, generator=generator, dtype=torch.float64)
        v = torch.stack([torch.sin(3 * u[:, 0]) + u[:, 1], u[:, 0] - u[:, 1] ** 2], 1)
        x = torch.stack([self.x[0] + self.x[1] * u[:, 0], u[:, 1]], 1)
        return x, torch.stack([self.y[0] + self.y[1] * v[:, 0], v[:, 1]], 1)


UNITS = {
    "time stamps": {"x": (1.7e9, 60.0)},
    "outcomes like time stamps": {"y": (1.7e9, 60.0)},
    "huge": {"x": (0.0, 1e39), "y": (0.0, 1e39)},
    "tiny": {"x": (0.0, 1e-60), "y": (0.0, 1e-60)},
    "both": {"x": (0.0, 1e-60), "y": (0.0, 1e39)},
}


STAMPS = UNITS["time stamps"]


def nets():
    return SmoothMLP(2, 2, width=24, depth=2), SmoothMLP(2, 2, width=24, depth=2)


def trained(folder, data, *, epochs=15, **options):
    torch.manual_seed(0)
    pair = ForwardInverseModule(*nets(), learning_rate=0.02)
    watch = InvertibilityCallback(num_points=32)
    trainer = quiet_trainer(folder, max_epochs=epochs, callbacks=[watch], **options)
    trainer.fit(pair, datamodule=data)
    return pair.eval(), trainer, watch


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """What is found where float32 would hold everything."""
    _, trainer, _ = trained(tmp_path_factory.mktemp("plain"), InUnits())
    return {name: value.item() for name, value in trainer.callback_metrics.items()}


@pytest.fixture(scope="module")
def of_stamps(tmp_path_factory):
    """A pair that learned from time stamps, and its trainer."""
    return trained(tmp_path_factory.mktemp("stamps"), InUnits(**STAMPS))[:2]


@pytest.mark.slow
@pytest.mark.parametrize("units", ["time stamps", "both"])
def test_it_learns_and_is_watched_alike_in_whatever_units(units, plain, of_stamps, tmp_path):
    if units == "both":
        _, trainer, _ = trained(tmp_path, InUnits(**UNITS[units]))
    else:
        _, trainer = of_stamps
    assert trainer.callback_metrics["val/r2/rate"] > 0.98
    assert trainer.callback_metrics["val/r2/heat"] > 0.99
    compared = [name for name in plain if not name.startswith(("train/mae", "val/mae"))]
    assert any("log10_cond_p95" in name for name in compared)
    for name in compared:
        found = trainer.callback_metrics[name].item()
        assert found == pytest.approx(plain[name], rel=1e-2, abs=1e-3), name


@pytest.mark.parametrize("units", UNITS.values(), ids=UNITS)
def test_jacobians_in_standard_units_are_autograds_in_float64(units, tmp_path):
    data = InUnits(**units)
    pair, _, _ = trained(tmp_path, data, epochs=1)
    x, y = data.val_dataloader().dataset[:20]
    maps = {watched.name: watched for watched in resolve_maps(None, pair)}
    f, i = copy.deepcopy([pair.forward_net, pair.inverse_net])
    f.double(), i.double()
    for name, function, points, scale in (
        ("forward", f, x, pair.scale_x),
        ("inverse", i, y, pair.scale_y),
        ("round_trip", lambda v: f(i(v)), y, pair.scale_y),
    ):
        sigma = np.linalg.svd(jacobians_by_autograd(function, scale(points)), compute_uv=False)
        # A time stamp of 1.7e9 s is known to 2e-7 s in float64, and the Jacobian is not constant.
        for precision, tolerance in (("native", 1e-4), ("float64", 1e-6)):
            found = analyze(maps[name], points, precision=precision)
            np.testing.assert_allclose(found.singular_values, sigma, rtol=tolerance)


def test_float32_inside_is_not_taken_for_float64(tmp_path):
    pair, _, watch = trained(tmp_path, InUnits(rows=100), epochs=1)
    assert all(one.inputs.dtype == torch.float64 for one in watch.observations)
    assert all(one.condition_limit < 1e7 for one in watch.observations)
    (known, *_) = resolve_maps(None, pair)
    exact = analyze(known, InUnits().load()[0], precision="float64")
    assert exact.condition_limit > 1e14


def test_bounds_of_a_jacobian_that_is_not_formed_know_float32_inside(tmp_path, monkeypatch):
    pair, _, _ = trained(tmp_path, InUnits(**STAMPS), epochs=1)
    with torch.no_grad():  # one direction is lost but for rounding
        pair.forward_net.head.weight[1] = pair.forward_net.head.weight[0] * (1 + 1e-9)
    x = InUnits(**STAMPS).load()[0][:9]
    monkeypatch.setattr("lightning_invert.jacobians.spectrum.MAX_SINGULAR_VALUES", 1)
    (known, *_) = resolve_maps(None, pair)
    found = analyze(known, x)
    assert not found.formed
    sharp = analyze(known, x, precision="float64")
    largest = [o.findings["probes"].probes.sigma_max for o in (found, sharp)]
    np.testing.assert_allclose(*largest, rtol=1e-4)
    assert found.condition_limit < 1e7


def test_predictions_keep_every_digit_of_what_came_and_the_content_of_what_is_found(
    of_stamps, tmp_path
):
    pair, data = of_stamps[0], InUnits(**STAMPS)
    batches = quiet_trainer(tmp_path).predict(pair, datamodule=data)
    found = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
    x, y = data.load()
    assert torch.equal(found["x"], x)
    error = (pair(found["x_hat"]) - y)[:, 0].std() / y[:, 0].std()
    assert error < 0.5  # 1.4 for settings drawn at random
    assert len(found["x_hat"][:, 0].unique()) > 450


def test_a_checkpoint_is_analysed_at_the_points_of_a_table_as_they_are_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = InUnits(**STAMPS)
    pair, trainer, _ = trained(tmp_path, data, epochs=1)
    trainer.save_checkpoint("pair.ckpt")
    x, y = data.load()
    columns = ["time", "load", "rate", "heat"]
    polars.DataFrame(torch.cat([x, y], 1).numpy(), schema=columns).write_csv("points.csv")
    options = ["--figures", "false", "--table", "parquet"]
    main(["analyze", "--ckpt", "pair.ckpt", "--data", "points.csv", *options])
    table = polars.read_parquet("analysis/forward.parquet")
    assert torch.equal(table["input/time [s]"].to_torch(), x[:, 0])
    np.testing.assert_allclose(table["output/rate"], pair(x)[:, 0].detach(), rtol=1e-12)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*bfloat16 support:UserWarning")
@pytest.mark.parametrize("precision", ["bf16-mixed", "64-true"])
def test_other_precisions_learn_from_time_stamps_too(precision, tmp_path):
    _, trainer, _ = trained(tmp_path, InUnits(**STAMPS), precision=precision)
    assert trainer.callback_metrics["val/r2/rate"] > 0.97


def test_a_precision_that_rounds_the_data_first_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"column 'time' to come in float64: bfloat16 rounds"):
        trained(tmp_path, InUnits(**STAMPS), precision="bf16-true", epochs=1)


def of_loader(data, dtype, **options):
    x, y = data.load()
    return DataLoader(TensorDataset(x.to(dtype), y.to(dtype)), batch_size=16, **options)


@pytest.mark.slow
def test_a_plain_loader_of_float64_serves_as_well(tmp_path):
    torch.manual_seed(0)
    train, val = (of_loader(InUnits(**STAMPS), torch.float64, shuffle=s) for s in (True, False))
    trainer = quiet_trainer(tmp_path, max_epochs=15)
    trainer.fit(ForwardInverseModule(*nets(), learning_rate=0.02), train, val)
    assert trainer.callback_metrics["val/r2/0"] > 0.99


@pytest.mark.parametrize(
    ("units", "words"),
    [
        (
            "time stamps",
            r"'x0' of the training loader to vary, but it is 1\.7e\+09 in all 500 rows",
        ),
        ("outcomes like time stamps", "'y0' to come in float64: float32 rounds it by 101"),
        ("huge", "'x0' of the training loader to hold finite"),
        ("tiny", "'x0' of the training loader to vary, but it is 0 in all"),
    ],
)
def test_a_plain_loader_of_float32_that_lost_its_content_is_refused(units, words, tmp_path):
    loader = of_loader(InUnits(**UNITS[units]), torch.float32)
    with pytest.raises(ValueError, match=words):
        quiet_trainer(tmp_path).fit(ForwardInverseModule(*nets()), loader, loader)


def test_float32_batches_of_a_pair_that_was_trained_in_float64_are_refused(tmp_path):
    pair, _, _ = trained(tmp_path, InUnits(**STAMPS), epochs=1)
    loader = of_loader(InUnits(**STAMPS), torch.float32)
    trainer = quiet_trainer(tmp_path)
    for run in (trainer.validate, trainer.predict):
        with pytest.raises(ValueError, match="column 'time' to come in float64"):
            run(pair, loader)
    assert quiet_trainer(tmp_path).predict(pair, of_loader(InUnits(rows=20), torch.float64))


def test_a_device_without_float64_is_given_float32(monkeypatch):
    moved = []
    monkeypatch.setattr(
        "lightning.pytorch.LightningDataModule.transfer_batch_to_device",
        lambda self, batch, *_: moved.extend(batch),
    )
    batch = next(iter(InUnits().val_dataloader()))
    InUnits().transfer_batch_to_device(batch, torch.device("mps"), 0)
    assert [part.dtype for part in moved] == [torch.float32] * 2
