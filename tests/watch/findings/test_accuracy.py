import numpy as np
import pytest
import torch
from torch import nn
from torchmetrics.functional import r2_score as torchmetrics_r2

from lightning_invert import ForwardInverseModule, InvertibilityCallback, analyze
from lightning_invert.report.words import report_table, verdict
from lightning_invert.watch.findings.accuracy import POOR, Accuracy
from lightning_invert.watch.maps import MapError
from lightning_invert.watch.observation import Observation
from lightning_invert.watch.watcher import Watcher
from tests.processes import gathering
from tests.projects import Smooth, quiet_trainer
from tests.watch.looks import look

GENERATOR = torch.Generator().manual_seed(0)
OFFSET, SPREAD = torch.tensor([1e6, 0.0, -3.0]), torch.tensor([1.0, 1e-6, 40.0])
Y = torch.randn(40, 3, generator=GENERATOR, dtype=torch.float64) * SPREAD + OFFSET
Y_HAT = Y + torch.randn(40, 3, generator=GENERATOR, dtype=torch.float64) * SPREAD * 0.2


def reference(y, y_hat):
    """R² of each column in NumPy's float64."""
    y, y_hat = (np.asarray(side.detach().double()).reshape(len(y), -1) for side in (y, y_hat))
    return 1 - ((y_hat - y) ** 2).sum(0) / ((y - y.mean(0)) ** 2).sum(0)


def observed(y_hat, targets, **options):
    sigma = torch.ones(len(targets), min(3, targets.shape[1]))
    finding = Accuracy(targets)
    return Observation.of(sigma, outputs=y_hat, findings=[finding], **options)


def r2_of(y_hat, targets):
    observation = observed(y_hat, targets)
    return observation.findings["accuracy"].r2(observation)


def test_r2_is_that_of_others_whatever_the_size_of_a_column(monkeypatch):
    # torchmetrics takes the difference of two large sums: it is right in standard units alone.
    scaled = [(side - OFFSET) / SPREAD for side in (Y_HAT, Y)]
    expected = torchmetrics_r2(*scaled, multioutput="raw_values")
    np.testing.assert_allclose(r2_of(*scaled), expected, rtol=1e-9)
    by_hand = reference(Y, Y_HAT)
    np.testing.assert_allclose(r2_of(Y_HAT, Y), by_hand, rtol=1e-12)
    scalars = observed(Y_HAT, Y).scalars
    assert scalars["r2_mean"] == pytest.approx(by_hand.mean(), rel=1e-12)
    assert scalars["r2_min"] == pytest.approx(by_hand.min(), rel=1e-12)
    monkeypatch.setattr("lightning_invert.watch.findings.accuracy.MAX_NUMBERS_AT_ONCE", 80)
    np.testing.assert_allclose(r2_of(Y_HAT, Y), by_hand, rtol=1e-12)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e9 / 3])
def test_a_column_without_variance_is_left_out(constant):
    targets = Y.clone()
    targets[:, 1] = constant  # whose mean is another number, by rounding
    r2 = r2_of(Y_HAT, targets)
    assert np.isnan(r2).tolist() == [False, True, False]
    observation = observed(Y_HAT, targets, output_names=["a", "b", "c"])
    assert observation.scalars["r2_min"] == np.nanmin(r2)
    assert " % of the variance of a, c at these points. " in verdict(observation)
    nothing = observed(Y_HAT, torch.full_like(Y, constant))
    assert np.isnan([nothing.scalars[name] for name in ("r2_mean", "r2_min")]).all()
    assert verdict(nothing).startswith("explains nothing yet: no outcome varies at these points. ")


def test_what_is_not_finite_is_left_out_and_no_finite_output_is_the_worst():
    y_hat, targets = Y_HAT.clone(), Y.clone()
    y_hat[3, 0], targets[7, 0], targets[9, 1] = torch.nan, torch.inf, torch.nan
    rest = [i for i in range(40) if i not in (3, 7)]
    r2 = r2_of(y_hat, targets)
    np.testing.assert_allclose(r2[:1], reference(Y[rest, :1], Y_HAT[rest, :1]), rtol=1e-9)
    np.testing.assert_allclose(r2[2:], reference(Y[:, 2:], Y_HAT[:, 2:]), rtol=1e-9)
    lost = observed(Y_HAT * torch.nan, Y)
    assert lost.scalars["r2_min"] == -np.inf
    assert POOR in verdict(lost)


def test_a_poor_model_is_called_one_before_its_condition_number():
    words = verdict(observed(Y_HAT, Y, output_names=["rate", "gas", "heat"]))
    shares = [f"{100 * value:.3g}" for value in reference(Y, Y_HAT)]
    assert words.startswith(f"explains {', '.join(shares)} % of the variance of rate, gas, heat at")
    assert POOR not in words
    untrained = verdict(
        observed(2 * SPREAD + Y.mean(0).expand(40, 3), Y, output_names=["rate", "gas", "heat"])
    )
    assert untrained.startswith(
        f"explains 0 % of the variance of each of rate, gas, heat at these points: {POOR}."
    )
    many = torch.randn(40, 9, generator=GENERATOR, dtype=torch.float64)
    off = many.clone()
    off[:, 4] += 1
    words = verdict(observed(off, many))
    assert "of the variance of the 9 outputs (mean; the worst is y4: " in words


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.layer = nn.Linear(3, 2)

    def forward(self, x):
        return self.layer(x)


X = torch.randn(60, 3, generator=GENERATOR)


def known(x):
    """What a batch holds of its rows: it tells if rows are mixed up on the way."""
    return torch.stack([x[:, 0] - x[:, 1], x[:, 2] ** 2], dim=1)


MAPS = {"f": {"module": "layer", "input": "x", "target": "y"}}
BATCHES = [{"x": x, "y": known(x)} for x in X.split(13)]


def expected_at(observation, net):
    x = observation.inputs
    return reference(known(x), net(x))


@pytest.mark.parametrize("num_points", [20, 256])
@pytest.mark.parametrize(
    "part", ["y", ["y"], lambda batch: batch["y"]], ids=["key", "path", "callable"]
)
def test_a_map_with_a_target_is_compared_with_it_point_by_point(num_points, part):
    net = Net()
    maps = {"f": {**MAPS["f"], "target": part}}
    (found,) = look(Watcher(maps, num_points=num_points), net, BATCHES)
    expected = expected_at(found, net)
    np.testing.assert_allclose(found.findings["accuracy"].r2(found), expected, rtol=1e-5)
    assert found.scalars["r2_mean"] == pytest.approx(expected.mean(), rel=1e-5)
    (double,) = look(Watcher(maps, num_points=num_points, precision="float64"), net, BATCHES)
    assert double.scalars["r2_min"] == pytest.approx(expected.min(), rel=1e-5)


def test_one_outcome_may_have_no_axis_and_be_of_whole_numbers():
    net = nn.Linear(3, 1)
    batches = [(x, (10 * x[:, 0]).long()) for x in X.split(20)]
    (found,) = look(Watcher({"f": {"module": "", "input": 0, "target": 1}}), net, batches)
    y = (10 * found.inputs[:, 0]).long()
    (expected,) = reference(y, net(found.inputs))
    assert found.scalars["r2_mean"] == pytest.approx(expected, rel=1e-5)


def test_processes_have_the_r2_of_all_points():
    net, found = Net(), {}
    watchers = [Watcher(MAPS, num_points=40) for _ in range(2)]
    looks = [w.begin(Net(), process=rank) for rank, w in enumerate(watchers)]

    def read(rank, gather):
        looks[rank].gather = gather
        found[rank] = looks[rank].read()

    for rank, batches in enumerate((BATCHES[:1], BATCHES[1:])):
        for batch in batches:
            looks[rank].offer(batch)
    gathering(2, read)
    (one,), (other,) = found[0], found[1]
    assert one.num_points == 40
    assert one.scalars["r2_min"] == other.scalars["r2_min"]
    assert one.scalars["r2_min"] == pytest.approx(expected_at(one, net).min(), rel=1e-5)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("z", "because of its target: .*'target'.* got 'z'"),
        (lambda batch: 3.0, "target: expected a tensor with a row for each point, but got a float"),
        (lambda batch: batch["y"][1:], r"target: expected 60 rows, one for each point"),
        (lambda batch: batch["y"][:, :1], "target: expected the 2 numbers for each point"),
    ],
)
def test_a_target_that_does_not_fit_is_named(target, words):
    watcher = Watcher({"f": {**MAPS["f"], "target": target}}, on_error="raise")
    with pytest.raises(MapError, match=words):
        look(watcher, Net(), [{"x": X, "y": known(X)}])


def test_a_target_that_is_no_part_is_refused_at_once():
    with pytest.raises(TypeError, match=r"`maps\['f'\]\['target'\]` to be an index, a key"):
        Watcher({"f": {**MAPS["f"], "target": 2.5}})


def test_a_look_at_a_pair_begins_with_its_accuracy(tmp_path):
    watch = InvertibilityCallback()
    pair, data = ForwardInverseModule(), Smooth()
    trainer = quiet_trainer(tmp_path, max_epochs=1, callbacks=[watch])
    trainer.fit(pair, datamodule=data)
    metrics = trainer.callback_metrics
    expected = [metrics[f"val/r2/{name}"].item() for name in ("rate", "gas")]
    forward, inverse, trip = watch.observations
    np.testing.assert_allclose(forward.findings["accuracy"].r2(forward), expected, rtol=1e-4)
    assert metrics["invertibility/forward/r2_min"] == pytest.approx(min(expected), rel=1e-4)
    lines = report_table(watch.observations).splitlines()
    (line,) = (line for line in lines if line.startswith("forward (standardized): explains "))
    assert f"% of the variance of rate [t/d], gas [K] at these points: {POOR}. " in line
    assert verdict(inverse).startswith("every change of the inputs shows")
    (line,) = (line for line in lines if line.startswith("inverse (standardized): "))
    y, scale = inverse.inputs, pair.scale_y.std
    back = ((pair.eval().forward(inverse.outputs) - y) / scale).square().mean().sqrt().item()
    assert (
        f": leads back to within {back:.3g} standard units (round_trip); it has no R² of its"
        in line
    )
    assert "\ninverse (standardized): every change" in report_table([inverse])
    assert verdict(trip).startswith("comes back to within ")
    assert f"standard units (root mean square): {POOR}. " in verdict(trip)
    found = analyze(pair, data.val_dataloader())
    assert found.scalars["r2_min"] == pytest.approx(min(expected), rel=1e-4)
    x = next(iter(data.val_dataloader()))[0]
    assert "accuracy" not in analyze(pair, x).findings  # nothing is known of the outcomes
