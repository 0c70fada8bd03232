import math

import numpy as np
import pytest
import torch
from scipy.linalg import cho_factor, cho_solve
from scipy.stats import multivariate_normal

from lightning_invert.proposals import correction as module
from lightning_invert.proposals.correction import LENGTHS, NOISES, Correction


def rows(count, inputs=2, noise=0.0, seed=0):
    """Points with a bias in the first output, and none in the second."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(count, inputs, generator=generator, dtype=torch.float64)
    errors = bias(points) + noise * torch.randn(count, 2, generator=generator, dtype=torch.float64)
    return points, errors


def bias(points):
    first = 0.5 + 0.3 * torch.sin(1.5 * points[:, 0])
    return torch.stack([first, torch.zeros_like(first)], 1)


def kernel(a, b, length):
    squares = ((a[:, None] - b[None]) ** 2).sum(-1)
    return np.exp(-squares / (2 * length**2))


def reference(points, errors, others=None):
    """The greatest likelihood over the same grid, by SciPy's normal law and Cholesky factors."""
    x, r = points.numpy(), errors.numpy()[:, 0]
    best = None
    for length in np.array(LENGTHS) * math.sqrt(x.shape[1]):
        for noise in NOISES.numpy():
            if noise < 1e-7:  # too near to singular for a Cholesky factor
                continue
            matrix = kernel(x, x, length) + noise * np.eye(len(x))
            variance = r @ np.linalg.solve(matrix, r) / len(r)
            loss = -2 * multivariate_normal.logpdf(r, cov=variance * matrix)
            if others is not None:
                left = others[1].numpy()[:, 0] - kernel(
                    others[0].numpy(), x, length
                ) @ np.linalg.solve(matrix, r)
                loss += len(left) * np.log((left**2).mean())
            if best is None or loss < best[0]:
                best = loss, length, noise, variance, matrix
    return best


@pytest.mark.parametrize("judged", [None, rows(300, noise=0.1, seed=9)])
def test_mean_doubt_and_rows_left_out_are_those_of_a_gaussian_process(judged):
    points, errors = rows(40, noise=0.1)
    errors[:, 1] = 0  # else it has its say about the common length
    judged = None if judged is None else (judged[0], judged[1] * torch.tensor([1.0, 0.0]))
    found = Correction.fit(points, errors, judged)
    _, length, _, variance, matrix = reference(points, errors, judged)
    assert found.length == pytest.approx(length)
    assert float(found.variance[0]) == pytest.approx(variance, rel=1e-8)
    x, r, at = points.numpy(), errors.numpy()[:, 0], rows(50, seed=5)[0]
    across = kernel(at.numpy(), x, length)
    factor = cho_factor(matrix)
    np.testing.assert_allclose(found.at(at)[:, 0], across @ cho_solve(factor, r), atol=1e-9)
    left = 1 - np.einsum("ij,ji->i", across, cho_solve(factor, across.T))
    np.testing.assert_allclose(found.doubt(at)[:, 0], np.sqrt(variance * left), rtol=1e-6)
    for row in (0, 7, 39):
        rest = np.arange(40) != row
        weights = np.linalg.solve(matrix[np.ix_(rest, rest)], r[rest])
        alone = r[row] - kernel(x[[row]], x[rest], length) @ weights
        assert float(found.left_out[row, 0]) == pytest.approx(alone.item(), rel=1e-7)
    assert found.corrected.tolist() == [True, False]
    assert not found.at(at)[:, 1].any()
    assert not found.doubt(at)[:, 1].any()


@pytest.mark.parametrize(
    ("noise", "inputs", "count", "limit"),
    [(0.0, 2, 60, 2e-3), (0.0, 1, 40, 1e-6), (0.1, 2, 60, 0.06), (0.3, 2, 60, 0.2)],
)
def test_without_noise_it_is_exact_and_noise_is_not_fitted(noise, inputs, count, limit):
    found = Correction.fit(*rows(count, inputs, noise))
    points, _ = rows(300, inputs, seed=3)
    within = points[points.abs().amax(1) < 1.5]
    assert (found.at(within) - bias(within))[:, 0].square().mean().sqrt() < limit


def test_errors_that_are_noise_are_not_corrected():
    corrected = []
    for seed in range(40):
        points, errors = rows(30, 7, noise=1.0, seed=seed)
        corrected.append(Correction.fit(points, errors - bias(points)) is not None)
    assert sum(corrected) <= 4
    points, errors = rows(30)
    assert Correction.fit(points, 0 * errors) is None
    for few in (0, 1):
        assert Correction.fit(points[:few], errors[:few]) is None


def test_it_vanishes_where_no_row_is_near_and_validation_rows_keep_it_from_places_where_f_is_right():
    points, errors = rows(30, noise=0.02)
    far = points + 40
    assert Correction.fit(points, errors).at(far).abs().max() < 1e-100
    # All tried rows lie in one corner, and have a constant bias there: it may reach anywhere.
    corner, here = 0.2 * points + 1.5, torch.full((30, 1), 0.5).double() + errors[:, 1:]
    generator = torch.Generator().manual_seed(4)
    known = torch.randn(400, 2, generator=generator, dtype=torch.float64)
    known = known[(known - 1.5).norm(dim=1) > 1.5]
    noise = 0.02 * torch.randn(len(known), 1, generator=generator, dtype=torch.float64)
    anywhere, held = Correction.fit(corner, here), Correction.fit(corner, here, (known, noise))
    assert anywhere.at(known).square().mean().sqrt() > 0.1
    assert held.at(known).square().mean().sqrt() < 0.02
    assert (held.at(corner) - 0.5).abs().max() < 0.05


def test_it_can_be_differentiated_and_moved():
    found = Correction.fit(*rows(40, noise=0.1))
    points = rows(5, seed=8)[0].requires_grad_()
    assert torch.autograd.gradcheck(found.at, points)
    moved = found.to(torch.device("cpu"))
    assert torch.equal(moved.at(points), found.at(points))
    assert module.MAX_ROWS >= 100
