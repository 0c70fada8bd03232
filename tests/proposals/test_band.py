from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.stats import norm

from lightning_invert.proposals.band import LIKE_SHARE, MARGIN, Band
from lightning_invert.proposals.leverage import LENGTH, Leverage

ALLOWED = 1 - 0.1 * MARGIN


def normal(*shape, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def features(leverage, x):
    phase = x.numpy() @ leverage.frequencies.numpy()
    return np.concatenate([np.ones((len(x), 1)), x.numpy(), np.sin(phase), np.cos(phase)], 1)


def test_leverage_is_that_of_the_formula():
    x, fresh = normal(500, 3, seed=0), 3 * normal(40, 3, seed=1)
    leverage = Leverage.fit(x, 1e-4)
    known, at = features(leverage, x), features(leverage, fresh)
    gram = known.T @ known
    gram += 1e-4 * np.diag(gram).mean() * np.eye(len(gram))
    expected = np.einsum("ij,jk,ik->i", at, np.linalg.inv(gram), at)
    np.testing.assert_allclose(leverage.at(fresh), expected, rtol=1e-7)


def test_the_features_are_those_of_a_gaussian_kernel():
    x = normal(60, 2, seed=0)
    waves = features(Leverage.fit(x, 1e-4), x)[:, 3:]
    found = waves @ waves.T / (waves.shape[1] / 2)
    apart = np.linalg.norm(x.numpy()[:, None] - x.numpy()[None], axis=2)
    expected = np.exp(-(apart**2) / (2 * LENGTH**2 * 2))
    assert np.abs(found - expected).mean() < 0.06


def noise_band(num_judged, deviation, seed=0):
    m = len(deviation)
    errors = deviation * normal(num_judged, m, seed=seed)
    flat = deviation.expand(num_judged, m)  # what neighbours know: nothing
    jitter = 1 + 1e-3 * normal(num_judged, 1, seed=seed + 1)
    x = normal(num_judged + 400, 3, seed=seed + 2)
    return Band.fit(x[num_judged:], x[:num_judged], errors.square(), flat * jitter)


def test_of_normal_noise_the_bands_are_those_of_the_normal_law():
    deviation = torch.tensor([0.1, 3.0, 1.0], dtype=torch.float64)
    band = noise_band(8000, deviation)
    x, sigma = 0.5 * normal(40, 3, seed=9), deviation.expand(40, 3)
    for joint, share in ((True, ALLOWED ** (1 / 3)), (False, ALLOWED)):
        half, _ = band.at(x, sigma, 0.9, joint=joint)
        expected = norm.ppf((1 + share) / 2) * deviation
        # The larger of two quantiles, each of 400 points.
        np.testing.assert_allclose(half.mean(0), expected, rtol=0.12)
        assert (half.mean(0) > 0.97 * expected).all()


def test_half_the_width_is_that_of_the_formula():
    x, judged, fresh = normal(300, 2, seed=0), normal(500, 2, seed=1), 2 * normal(30, 2, seed=2)
    size = 0.1 + judged.norm(dim=1, keepdim=True) ** 2
    errors = size * normal(500, 2, seed=3)
    band = Band.fit(x, judged, errors.square(), size.expand(500, 2) * 0.7)
    own = (0.1 + fresh.norm(dim=1, keepdim=True) ** 2).expand(30, 2) * 0.7
    half, beyond = band.at(fresh, own, 0.9)

    def deviations(points):
        leverage = band.leverage.at(points).numpy()[:, None]
        return np.sqrt(band.weights[0].numpy() + band.weights[1].numpy() * leverage)

    ratios = np.abs(errors.numpy()) / deviations(judged)
    scale = np.sort(ratios, 0)[int(np.ceil(501 * 0.9)) - 1]
    scores = (ratios / scale).max(1)

    def places(points, sigma):
        leverage = band.leverage.at(points).numpy()
        return np.stack([np.log(np.linalg.norm(sigma.numpy(), axis=1)), np.log(leverage)], 1)

    known, at = places(judged, size.expand(500, 2) * 0.7), places(fresh, own)
    mean, std = known.mean(0), known.std(0, ddof=1)
    known, at = (known - mean) / std, (at - mean) / std
    factors = []
    for place in at:
        quantiles = []
        for axes in ([0, 1], [0]):
            near = np.argsort(np.linalg.norm((known - place)[:, axes], axis=1))[:40]
            quantiles.append(np.sort(scores[near])[int(np.ceil(41 * ALLOWED)) - 1])
        factors.append(max(quantiles))
    expected = np.array(factors)[:, None] * scale * deviations(fresh)
    np.testing.assert_allclose(half, expected, rtol=1e-9)
    np.testing.assert_allclose(beyond, at - np.quantile(known, LIKE_SHARE, axis=0), atol=1e-9)


@pytest.mark.parametrize("num_judged", [30, 60, 500])
def test_bands_hold_nine_of_ten_fresh_points_and_where_errors_grow_away_from_the_data(num_judged):
    held = {"like the data": [], "away from them": []}
    for seed in range(12):
        x = normal(1000 + num_judged, 3, seed=seed)

        def errors(points, seed):
            far = points.norm(dim=1, keepdim=True) / 3
            return (0.1 + far**2) * normal(len(points), 2, seed=seed)

        judged, size = x[:num_judged], errors(x[:num_judged], seed + 50)
        # What neighbours know is known but for a factor.
        own = 0.1 + (judged.norm(dim=1, keepdim=True) / 3) ** 2
        band = Band.fit(x[num_judged:], judged, size.square(), own.expand(-1, 2))
        for name, stretch in (("like the data", 1.0), ("away from them", 1.5)):
            fresh = stretch * normal(200, 3, seed=seed + 100)
            sigma = (0.1 + (fresh.norm(dim=1, keepdim=True) / 3) ** 2).expand(-1, 2)
            half, _ = band.at(fresh, sigma, 0.9)
            inside = (errors(fresh, seed + 200).abs() <= half).all(1)
            held[name].append(float(inside.double().mean()))
    assert np.mean(held["like the data"]) > 0.89
    assert np.mean(held["away from them"]) > 0.87


def test_more_coverage_is_never_a_narrower_band():
    band = noise_band(400, torch.ones(2, dtype=torch.float64))
    x, sigma = normal(50, 3, seed=3), torch.ones(50, 2, dtype=torch.float64)
    halves = [band.at(x, sigma, share)[0] for share in (0.01, 0.5, 0.8, 0.9, 0.95, 0.999)]
    for narrow, wide in pairwise(halves):
        assert (narrow <= wide).all()
    assert (halves[0] < halves[-1]).all()


def test_what_is_unlike_nearly_all_validation_points_passes_a_limit():
    x = normal(4000, 2, seed=0)
    sigma = normal(3000, 1, seed=1).exp()
    band = Band.fit(x[3000:], x[:3000], sigma.square(), sigma)
    fresh = torch.cat([normal(4000, 2, seed=3), torch.full((1, 2), 9.0)])
    _, beyond = band.at(fresh, normal(4001, 1, seed=4).exp(), 0.9)
    shares = (beyond > 0).double().mean(0)
    np.testing.assert_allclose(shares, 1 - LIKE_SHARE, atol=0.01)
    assert beyond[-1, 1] > 0
    _, beyond = band.at(fresh[:1], torch.full((1, 1), 1e3, dtype=torch.float64), 0.9)
    assert beyond[0, 0] > 0
