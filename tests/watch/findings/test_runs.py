import numpy as np
import pytest
import torch
from scipy.stats import spearmanr, t
from torch import nn

from lightning_invert import analyze
from lightning_invert.watch.findings.runs import Runs
from lightning_invert.watch.findings.truth import Truth
from lightning_invert.watch.observation import Observation
from tests.watch.reference import jacobians_point_by_point

X = torch.randn(50, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def diagonal(weak):
    return lambda x: torch.stack([x[:, 0], weak * x[:, 1]], dim=1)


def truth_of(log10):
    sigma = torch.stack([torch.ones(len(log10)), 10 ** -torch.as_tensor(log10)], dim=1).double()
    return Truth(torch.zeros(len(log10)), sigma)


def judged(*findings):
    sigma = torch.ones(len(findings[0].rows()["mean"]), 2)
    return Observation.of(sigma, findings=findings).scalars


def test_the_spread_is_that_of_known_maps():
    weak = [1e-1, 1e-2, 1e-3, 1e-5]
    found = analyze(diagonal(weak[0]), X, runs=[diagonal(w) for w in weak[1:]])
    log10 = -np.log10(weak)
    np.testing.assert_allclose(found.findings["runs"].mean, np.full(50, log10.mean()))
    np.testing.assert_allclose(found.findings["runs"].std, np.full(50, log10.std(ddof=1)))
    assert found.findings["runs"].count == 4
    assert found.scalars["log10_cond_spread_median"] == pytest.approx(log10.std(ddof=1))
    assert "over 4 runs: log10 κ spreads by 1.7" in str(found)


def test_runs_are_looked_at_in_the_scale_of_the_map():
    net, other = (nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)) for _ in range(2))
    net.double(), other.double()
    found = analyze(net, X, runs=[other], scale="standardized")
    of_x, of_y = X.std(0), net(X).std(0)
    of_x, of_y = of_x.numpy(), of_y.detach().numpy()[:, None]
    j = np.stack([jacobians_point_by_point(module, X) for module in (net, other)])
    log10 = np.log10(np.linalg.cond(j * of_x / of_y))
    np.testing.assert_allclose(found.findings["runs"].mean, log10.mean(0))
    np.testing.assert_allclose(found.findings["runs"].std, log10.std(0, ddof=1), rtol=1e-6)


@pytest.mark.parametrize("count", [2, 3, 5, 20])
def test_the_error_bar_holds_nine_of_ten_further_draws(count):
    rng = np.random.default_rng(count)
    draws, further = rng.normal(3, 0.5, size=(count, 40_000)), rng.normal(3, 0.5, size=40_000)
    mean, std = draws.mean(0), draws.std(0, ddof=1)
    runs = Runs(torch.as_tensor(mean), torch.as_tensor(std), count)
    half = t.ppf(0.95, count - 1) * std * np.sqrt(1 + 1 / count)
    np.testing.assert_allclose(runs.half_width, half)
    scalars = judged(runs, truth_of(further))
    assert scalars["log10_cond_coverage"] == pytest.approx(0.9, abs=0.005)
    rho = spearmanr(std, np.abs(mean - further)).statistic
    assert scalars["spread_error_correlation"] == pytest.approx(rho, abs=1e-6)


def test_points_without_a_number_are_left_out():
    runs = Runs(torch.tensor([1.0, torch.nan]), torch.tensor([0.1, torch.nan]), 3)
    scalars = judged(runs, truth_of([1.05, 2.0]))
    assert scalars["log10_cond_spread_median"] == pytest.approx(0.1)
    assert scalars["log10_cond_coverage"] == 1
    assert np.isnan(scalars["spread_error_correlation"])  # of one point


def test_infinite_condition_numbers_are_capped():
    found = analyze(diagonal(0.0), X, runs=[diagonal(1.0)])
    assert found.findings["runs"].mean[0] == 8


def test_another_map_is_no_other_run():
    with pytest.raises(ValueError, match=r"same map 3 → 2 .* 'run 1': 3 → 3"):
        analyze(diagonal(1.0), X, runs=[lambda x: x.sin()])
    with pytest.raises(TypeError, match="`runs` to be a module or a function, but got 3"):
        analyze(diagonal(1.0), X, runs=[3])


def test_runs_are_looked_at_in_the_precision_of_the_map():
    torch.manual_seed(0)
    net, other = (nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)) for _ in range(2))
    found = analyze(net, X.float(), runs=[other], precision="float64")
    x = X.float().double()
    j = [jacobians_point_by_point(module.double(), x) for module in (net, other)]
    log10 = np.log10(np.linalg.cond(j)).mean(0)
    np.testing.assert_allclose(found.findings["runs"].mean, log10, rtol=1e-12)
