import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from lightning_invert import Thresholds
from lightning_invert.report.figures import map_figures
from lightning_invert.watch.findings.truth import Truth
from lightning_invert.watch.maps import MapError
from lightning_invert.watch.observation import Observation, observe
from lightning_invert.watch.resolution import resolve_maps
from lightning_invert.watch.watcher import Watcher
from tests.watch.looks import look
from tests.watch.reference import jacobians_point_by_point

X = torch.randn(60, 3, generator=torch.Generator().manual_seed(1))


def net(m=2):
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, m))


def watched(module, truth, **known):
    (found,) = resolve_maps({"f": {"module": module, "truth": truth, **known}}, module)
    return found


def from_kappa(kappa, error=None):
    kappa = torch.tensor(kappa, dtype=torch.float64)
    error = torch.zeros(len(kappa)) if error is None else torch.tensor(error)
    return Truth(error, torch.stack([torch.ones(len(kappa)), 1 / kappa], dim=1))


def judged(kappa, truth, **options):
    sigma = torch.stack([torch.ones(len(kappa)), 1 / kappa], dim=1)
    return Observation.of(sigma, findings=[truth], **options)


@pytest.mark.parametrize("scale", ["physical", "standardized"])
def test_a_map_held_against_another_is_what_autograd_and_numpy_find(scale):
    one, other = net(), net().double()
    of_x, of_y = np.array([1.0, 2, 3]), np.array([5.0, 0.1])
    stds = {"input_std": torch.tensor(of_x), "output_std": torch.tensor(of_y)}
    found = observe(watched(one, other, **stds), X, scale=scale)
    one.eval(), other.eval()
    j, true = jacobians_point_by_point(one, X), jacobians_point_by_point(other, X.double())
    if scale == "standardized":
        j, true = (m * of_x / of_y[:, None] for m in (j, true))
    error = np.linalg.norm(j - true, axis=(1, 2)) / np.linalg.norm(true, axis=(1, 2))
    np.testing.assert_allclose(found.findings["truth"].error, error, rtol=1e-5)
    kappa, true_kappa = np.linalg.cond(j), np.linalg.cond(true)
    np.testing.assert_allclose(
        found.thresholds.condition(found.findings["truth"].singular_values), true_kappa, rtol=1e-9
    )
    assert found.scalars["jacobian_error_median"] == pytest.approx(np.median(error), rel=1e-5)
    assert found.scalars["jacobian_error_p95"] == pytest.approx(np.quantile(error, 0.95), rel=1e-5)
    rho = spearmanr(kappa, true_kappa).statistic
    assert found.scalars["cond_rank_correlation"] == pytest.approx(rho, abs=1e-3)


@pytest.mark.parametrize("module", [net(), nn.Linear(3, 2)], ids=["curved", "linear"])
def test_a_map_that_is_the_truth_is_true(module):
    # Of the linear map, rounding alone lets condition numbers vary: they do not count as varying.
    found = observe(watched(module, module), X)
    assert found.findings["truth"].error.max() < 1e-5
    assert found.scalars["cond_rank_correlation"] == pytest.approx(1, abs=1e-3)
    of_fragile = [found.scalars[f"fragile_{name}"] for name in ("precision", "recall")]
    assert np.isnan(of_fragile).all()  # no point is fragile


@pytest.mark.parametrize(
    ("reported", "true", "precision", "recall", "count"),
    [
        ([50, 200, 300, 60], [50, 200, 50, 400], 1 / 2, 1 / 2, (4, 2, 1, 1)),
        ([50, 60], [50, 60], math.nan, math.nan, (2, 0, 0, 0)),
        ([50, 60], [50, 100], math.nan, 0, (2, 1, 0, 0)),
        ([50, 100], [50, 60], 0, math.nan, (2, 0, 0, 1)),
        ([torch.inf, torch.nan, 200], [torch.inf, 200, torch.nan], 1, 1, (1, 1, 1, 0)),
        ([torch.nan], [3], math.nan, math.nan, (0, 0, 0, 0)),
    ],
    ids=["mixed", "none fragile", "none reported", "false alarm", "not finite", "nothing known"],
)
def test_fragile_points_are_counted(reported, true, precision, recall, count):
    kappa = torch.tensor(reported, dtype=torch.float64)
    truth = from_kappa(true)
    observation = judged(kappa, truth)
    assert truth.fragile(observation) == count
    shares = [observation.scalars[f"fragile_{name}"] for name in ("precision", "recall")]
    np.testing.assert_equal(shares, [precision, recall])


def test_the_edge_is_the_end_of_the_first_band():
    kappa, truth = torch.tensor([20.0]), from_kappa([20.0])
    assert truth.fragile(judged(kappa, truth, thresholds=Thresholds(bands=(10, 1e4)))).found == 1


def test_points_without_a_number_are_left_out_with_their_truth():
    truth = from_kappa([1.0, 2.0, 3.0], [0.5, 0.1, torch.nan])
    observation = judged(torch.tensor([1.0, 2.0, torch.nan]), truth)
    assert observation.scalars["jacobian_error_median"] == pytest.approx(0.3)
    assert observation.finite().findings["truth"].error.tolist() == pytest.approx([0.5, 0.1])


@pytest.mark.parametrize("points", [1, 2, 3, 4])
def test_so_few_points_are_in_no_order_that_says_anything(points):
    kappa = torch.linspace(2, 9, points)
    found = judged(kappa, from_kappa(kappa.flip(0).tolist()), inputs=torch.rand(points, 2))
    assert np.isnan(found.scalars["cond_rank_correlation"])
    assert "rank correlation" not in str(found)
    assert map_figures(found, names=["truth"])


class Insisting(nn.Module):
    def forward(self, x):
        return torch.stack([x.float()[:, 0].sin(), x.float()[:, 1]], dim=1)


FACTOR = torch.tensor([[1.0, 0, 0], [0, 0.5, 0]])


@pytest.mark.parametrize(
    "truth", [Insisting(), lambda x: x @ FACTOR.T], ids=["casts", "float32 within"]
)
def test_a_truth_that_does_not_follow_into_float64_serves_in_its_own_precision(truth):
    found = observe(watched(net(), truth), X)
    reference = observe(watched(net(), None), X)
    assert found.findings["truth"].error.isfinite().all()
    assert found.findings["truth"].singular_values.shape == reference.singular_values.shape


def test_a_truth_is_a_path_a_module_or_a_callable_and_sees_the_context():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.known = nn.Linear(3, 2), nn.Linear(3, 2)

        def process(self, x, shift):
            return self.known(x) * shift

        def forward(self, x, shift):
            return self.net(x) * shift

    root, shift = Both(), torch.rand(60, 1) + 1
    for truth in ("process", root.process, lambda x, shift: root.known(x) * shift):
        spec = {"module": "", "input": 0, "context": 1, "truth": truth}
        (one,) = resolve_maps({"f": spec}, root)
        found = observe(one, one.take((X, shift)))
        true = root.known.weight.detach().double() * shift.double()[:, None]
        torch.testing.assert_close(
            found.findings["truth"].singular_values, torch.linalg.svdvals(true)
        )


def test_no_truth_is_what_is_neither():
    with pytest.raises(TypeError, match=r"maps\['f'\]\['truth'\]` to be a path to a submodule"):
        Watcher({"f": {"module": "", "truth": 3}})
    with pytest.raises(ValueError, match=r"maps\['f'\]\['truth'\]` to be the path of a submodule"):
        resolve_maps({"f": {"module": "", "truth": "nowhere"}}, net())


def broken(x):
    raise ZeroDivisionError("a pole")


def test_a_truth_that_fails_is_named():
    with pytest.raises(MapError, match="because of its truth: ZeroDivisionError: a pole"):
        observe(watched(net(), broken), X)
    watcher = Watcher({"f": {"module": "", "truth": broken}})
    with pytest.raises(MapError, match="'f' cannot be watched, because of its truth"):
        look(watcher, net(), [X], raises="all")


def test_it_is_said_once_that_what_is_not_formed_is_not_compared(caplog):
    module = net()
    watcher = Watcher({"f": {"module": "", "truth": module}}, max_work=1e3)
    with caplog.at_level("INFO"):
        (first,), (second,) = look(watcher, module, [X]), look(watcher, module, [X])
    assert not first.formed
    assert "truth" not in first.findings.keys() | second.findings.keys()
    assert caplog.text.count("not compared with its truth") == 1


def test_a_truth_leaves_no_trace_either():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(3)
            self.calls = 0

        def forward(self, x):
            self.calls += 1
            torch.rand(1)
            return self.norm(x)[:, :2] * x.new_ones(2)

    truth, module = Counting(), net()
    truth.norm.momentum = 1.0
    state, stream = truth.norm.running_mean.clone(), torch.get_rng_state()
    (found,) = look(Watcher({"f": {"module": "", "truth": truth}}), module, [X])
    assert "truth" in found.findings
    assert (truth.calls, truth.training) == (0, True)
    assert torch.equal(truth.norm.running_mean, state)
    assert torch.equal(torch.get_rng_state(), stream)


def test_a_formula_is_not_paid_for_with_a_copy_of_the_project(monkeypatch):
    one = watched(net(), lambda x: x[:, :2].sin())
    monkeypatch.setattr("lightning_invert.watch.findings.truth.MAX_NUMBERS_CAST", 10)
    monkeypatch.setattr(type(one), "in_float64", None)
    found = observe(one, X)
    true = torch.linalg.svdvals(torch.diag_embed(X[:, :2].double().cos()))
    torch.testing.assert_close(found.findings["truth"].singular_values, true)
