import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.stats import norm

from lightning_invert.proposals.reliability import Reliability

QUANTILE = norm.ppf(0.95)  # of |error|, where 90 % are within


def normal(*shape, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def fitted(x, errors, spread=None, num_judged=None):
    return Reliability.fit(
        x, errors, num_judged=num_judged or len(x) // 2, outcomes=errors, spread=spread
    )


def smooth_errors(x):
    """An error that varies slowly, and has another size in each output."""
    return torch.stack([0.3 * torch.sin(x[:, 0]), 0.02 * torch.cos(x[:, 1]) + 0.03], 1)


def test_of_noise_alone_a_constant_is_kept():
    deviation = torch.tensor([0.1, 3.0], dtype=torch.float64)
    found = fitted(normal(8000, 3, seed=0), deviation * normal(8000, 2, seed=1))
    assert (found.weights[1:3] == 0).all()
    np.testing.assert_allclose(found.weights[0].sqrt(), deviation, rtol=0.04)


def test_what_noise_hides_still_orders_the_points_by_members_and_distance():
    x, spread = normal(4000, 3, seed=0), normal(4000, 2, seed=1).abs()
    found = fitted(x, 0.1 * normal(4000, 2, seed=2), spread)
    assert (found.weights[2:] > 0).all()
    assert (found.weights[2:].sum(0) < 0.1 * found.weights[0]).all()
    away = torch.tensor([[0.1, 0, 0], [2.0, 0, 0], [6.0, 0, 0]], dtype=torch.float64)
    for sigma in (
        found.sigma(away, torch.ones(3, 2)),
        found.sigma(away[[1, 1, 1]], torch.tensor([[0.1], [1.0], [5.0]]).expand(3, 2)),
    ):
        assert (sigma.diff(dim=0) > 0).all()


def test_where_data_have_no_noise_the_neighbours_tell_the_error():
    x, fresh = normal(6000, 2, seed=0), 0.5 * normal(500, 2, seed=1)
    found = fitted(x, smooth_errors(x))
    assert (found.weights[1] > 0).all()
    sigma = found.sigma(fresh)
    logs = [part.clamp(min=1e-4).log().T.numpy() for part in (sigma, smooth_errors(fresh).abs())]
    for one, other in zip(*logs, strict=True):
        assert np.corrcoef(one, other)[0, 1] > 0.95


def test_the_members_tell_the_error_where_neighbours_do_not():
    x, spread = normal(4000, 2, seed=0), normal(4000, 1, seed=1).abs()
    distance = ((x - x.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(x.T.cov())).T).norm(dim=1)
    errors = spread * distance[:, None].sqrt() * normal(4000, 1, seed=2)
    found = fitted(x, errors, spread)
    assert float(found.weights[2]) == pytest.approx(1.0, rel=0.1)
    assert float(found.weights[1]) < 0.05


def reference_sigma(found, x, errors, spread, at, at_spread):
    """The formula in NumPy: c0 + c1 e5² + c2 s² d + c3 d⁴."""
    x, errors, at = x.numpy(), errors.numpy(), at.numpy()
    apart = np.linalg.norm(at[:, None] - x[None], axis=2)
    near = np.argsort(apart, 1)[:, :5]
    distances = np.take_along_axis(apart, near, 1)
    share = 1 / distances / (1 / distances).sum(1, keepdims=True)
    local = (share[:, :, None] * errors[near] ** 2).sum(1)
    away = at - x.mean(0)
    d = np.sqrt(np.einsum("ij,jk,ik->i", away, np.linalg.inv(np.cov(x.T)), away))[:, None]
    members = (at_spread.numpy() ** 2).mean(1, keepdims=True) * d
    terms = np.stack([np.ones_like(local), local, members + 0 * local, d**4 + 0 * local])
    return np.sqrt((terms * found.weights.numpy()[:, None]).sum(0))


def test_sigma_is_that_of_the_formula():
    x = normal(300, 3, seed=0) @ normal(3, 3, seed=1) + 5.0
    errors, spread = smooth_errors(x), normal(300, 2, seed=2).abs()
    found = fitted(x, errors + 0.01 * spread * normal(300, 2, seed=5), spread)
    errors = found.squared_errors.sqrt()
    at, at_spread = x[:40] + 0.1 * normal(40, 3, seed=3), normal(40, 2, seed=4).abs()
    expected = reference_sigma(found, x, errors, spread, at, at_spread)
    np.testing.assert_allclose(found.sigma(at, at_spread), expected, rtol=1e-6)


def test_a_validation_point_is_judged_without_itself():
    x, errors = normal(200, 2, seed=0), normal(200, 1, seed=1)
    errors[:100] *= 100  # of validation points alone, which know nothing of each other
    found = fitted(x, errors)
    half, _ = found.half_width(x[:100], found.sigma(x[:100]))
    assert float((errors[:100].abs() <= half).double().mean()) > 0.85


def test_where_zero_is_makes_no_difference():
    x, errors = normal(300, 2, seed=0), normal(300, 2, seed=1)
    fresh, shift = normal(50, 2, seed=2), torch.tensor([1.7e9, -1e6]) / 60
    sigma = fitted(x, errors).sigma(fresh)
    moved = fitted(x + shift, errors).sigma(fresh + shift)
    np.testing.assert_allclose(moved, sigma, rtol=1e-5)


def test_weights_are_those_of_greatest_likelihood():
    x, spread = normal(2000, 2, seed=0), normal(2000, 1, seed=1).abs()
    errors = (0.2 + spread.square()).sqrt() * normal(2000, 1, seed=2)
    found = fitted(x, errors, spread)
    used = (found.weights[:, 0] > 0).numpy()
    away = x[:1000].numpy() - x.numpy().mean(0)
    d = np.sqrt(np.einsum("ij,jk,ik->i", away, np.linalg.inv(np.cov(x.numpy().T)), away))
    terms = np.stack([np.ones(1000), np.zeros(1000), spread[:1000, 0].numpy() ** 2 * d, d**4])
    squares = errors[:1000, 0].numpy() ** 2

    def loss(logs):
        variance = np.exp(logs) @ terms[used]
        return (np.log(variance) + squares / variance).mean()

    expected = minimize(loss, np.full(used.sum(), -2.0), method="Nelder-Mead")
    # Of the neighbours, which tell nothing here, nothing; of the distance the least there is.
    assert used.tolist() == [True, False, True, True]
    assert loss(np.log(found.weights[used, 0].numpy())) < expected.fun + 0.02


def test_expected_error_is_the_median():
    x, errors = normal(6000, 2, seed=0), normal(6000, 2, seed=1)
    found = fitted(x, errors)
    sigma = found.sigma(normal(1, 2, seed=2))
    wanted = torch.tensor([[True, True]])
    expected = found.expected_error(sigma, torch.zeros(1).double(), wanted)
    median = math.sqrt(2 * math.log(2))  # of the length of two normal numbers
    assert float(expected) == pytest.approx(median, rel=0.15)
    alone = found.expected_error(sigma, torch.zeros(1).double(), torch.tensor([[True, False]]))
    assert float(alone / expected) == pytest.approx(1 / math.sqrt(2), rel=0.05)


def test_trust_lies_between_0_and_1_falls_with_residual_and_sigma_and_is_that_of_the_formula():
    found = fitted(normal(400, 2, seed=0), normal(400, 2, seed=1))
    wanted = torch.ones(9, 2, dtype=torch.bool)
    some = torch.tensor([0.0, 1e-9, 1e-3, 0.1, 1.0, 3.0, 10.0, 1e3, torch.inf]).double()
    for sigma, residual in (
        (torch.full((9, 2), 0.5).double(), some),
        (some[:, None].expand(9, 2), torch.full((9,), 1e-4).double()),
    ):
        trust = found.trust(found.expected_error(sigma, residual, wanted), wanted)
        assert ((trust >= 0) & (trust <= 1)).all()
        assert (trust.diff() <= 0).all()
        assert trust[0] > 0.5
        assert trust[-1] == 0
    error = torch.logspace(0, 8, 9, dtype=torch.float64)
    ratio = float(found.accuracy.norm()) / error.numpy()
    expected = norm.cdf(np.log(ratio) / found.log_std)
    np.testing.assert_allclose(found.trust(error, wanted), expected, rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_trust_is_the_share_that_is_as_accurate_where_errors_are_log_normal(seed):
    size = (0.8 * normal(8000, 1, seed=seed)).exp()
    angle = normal(8000, 2, seed=seed + 10)
    errors = size * angle / angle.norm(dim=1, keepdim=True)
    found = fitted(normal(8000, 3, seed=seed + 20), errors)
    fresh = torch.tensor([[0.0, 0.0, 0.0]], dtype=torch.float64)
    sigma = found.sigma(fresh)
    wanted = torch.tensor([[True, True]])
    trust = found.trust(found.expected_error(sigma, torch.zeros(1).double(), wanted), wanted)
    assert float(trust) == pytest.approx(0.9, abs=0.015)


CONSTANT = torch.full((100, 1), 2.0).double()


@pytest.mark.parametrize(
    ("x", "errors"),
    [
        (normal(100, 2, seed=0), torch.zeros(100, 2)),
        (normal(100, 2, seed=0), torch.full((100, 2), 1e-3)),
        (normal(100, 2, seed=0), torch.eye(2).repeat(50, 1)),
        (torch.cat([normal(100, 2, seed=0), CONSTANT], 1), normal(100, 2, seed=1)),
    ],
    ids=["no errors", "one error", "errors of one output at a time", "a constant setting"],
)
def test_what_never_varies_makes_nothing_nan(x, errors):
    found = fitted(x, errors.double())
    sigma = found.sigma(x)
    wanted = torch.ones(100, 2, dtype=torch.bool)
    trust = found.trust(found.expected_error(sigma, torch.zeros(100).double(), wanted), wanted)
    half, _ = found.half_width(x, sigma)
    for values in (half, trust):
        assert values.isfinite().all()
