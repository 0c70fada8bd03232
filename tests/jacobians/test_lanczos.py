import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lightning_invert import batched_jacobian, numerical_rank
from lightning_invert.jacobians.lanczos import extreme_singular_values


def orthonormal(rows, columns, generator):
    a = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    return torch.linalg.qr(a).Q


def built(sigma, m, n, seed=0):
    """A linear map with known singular values, and its matrix."""
    generator = torch.Generator().manual_seed(seed)
    k = min(m, n)
    a = (orthonormal(m, k, generator) * sigma) @ orthonormal(n, k, generator).T
    return (lambda x: x @ a.T), a


def zeros(points, n):
    return torch.zeros(points, n, dtype=torch.float64)


SHAPES = [(12, 20), (20, 12), (15, 15), (1, 6), (6, 1)]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_space_that_is_exhausted_gives_the_spectrum_s_ends_exactly(shape):
    m, n = shape
    net = nn.Sequential(nn.Linear(n, 30), nn.Tanh(), nn.Linear(30, m)).double()
    x = torch.randn(7, n, dtype=torch.float64)
    found = extreme_singular_values(net, x)
    u, sigma, vh = np.linalg.svd(batched_jacobian(net, x).detach().numpy(), full_matrices=False)
    assert found.complete
    np.testing.assert_allclose(found.largest, sigma[:, 0])
    np.testing.assert_allclose(found.smallest, sigma[:, -1])
    np.testing.assert_allclose(found.lower_bounds, sigma)
    for direction, expected in (
        (found.input_direction, vh[:, -1]),
        (found.output_direction, u[:, :, -1]),
    ):
        np.testing.assert_allclose(np.abs((direction.numpy() * expected).sum(1)), 1)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    decades=st.floats(0, 8),
    zero=st.integers(0, 5),
    steps=st.integers(1, 20),
    seed=st.integers(0, 2**16),
)
def test_what_is_promised_of_the_estimates_holds(shape, decades, zero, steps, seed):
    k = min(shape)
    sigma = torch.logspace(0, -decades, k, dtype=torch.float64)
    sigma[k - min(zero, k - 1) :] = 0
    function, a = built(sigma, *shape, seed)
    found = extreme_singular_values(function, zeros(2, shape[1]), steps=steps)
    rounding = 1e-13
    assert (found.largest <= sigma[0] + rounding).all()
    assert (found.smallest >= sigma[-1] - rounding).all()
    bounds = found.lower_bounds
    assert (bounds <= sigma[: bounds.shape[1]] + rounding).all()
    for value, error in (
        (found.largest, found.largest_error),
        (found.smallest, found.smallest_error),
    ):
        nearest = (sigma[None] - value[:, None]).abs().amin(1)
        assert (nearest <= error + rounding).all()
    assert found.complete == (steps >= k)
    if shape[1] <= shape[0]:
        stretched = (a @ found.input_direction.mT).norm(dim=0)
    else:
        stretched = (a.T @ found.output_direction.mT).norm(dim=0)
    torch.testing.assert_close(stretched, found.smallest, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("shape", [(300, 400), (400, 300)])
def test_the_largest_converges_and_the_smallest_is_bounded_as_scipy_finds(shape):
    from scipy.sparse.linalg import svds

    sigma = torch.logspace(0, -3, 300, dtype=torch.float64)
    function, a = built(sigma, *shape)
    found = extreme_singular_values(function, zeros(1, shape[1]), steps=60)
    (largest,) = svds(a.numpy(), k=1, return_singular_vectors=False)
    np.testing.assert_allclose(found.largest, largest, rtol=1e-9)
    assert found.largest_error < 1e-6
    assert 1e-3 <= found.smallest <= 0.1


@pytest.mark.parametrize("value", [1.0, 0.0])
def test_repeated_singular_values_do_not_stop_it(value):
    sigma = torch.full((40,), value, dtype=torch.float64)
    sigma[0] = 2.0
    function, _ = built(sigma, 40, 40)
    found = extreme_singular_values(function, zeros(3, 40), steps=10)
    np.testing.assert_allclose(found.largest, 2.0)
    np.testing.assert_allclose(found.smallest, value, atol=1e-12)
    assert (numerical_rank(found.lower_bounds) == (10 if value else 1)).all()


def test_a_map_that_ignores_its_input_has_none():
    found = extreme_singular_values(lambda x: 0 * x, torch.randn(3, 50))
    assert (found.largest == 0).all()
    assert (numerical_rank(found.lower_bounds) == 0).all()


def test_a_point_with_a_nan_spoils_no_others():
    net = nn.Sequential(nn.Linear(30, 40), nn.Tanh(), nn.Linear(40, 30))
    x = torch.randn(3, 30)
    clean = extreme_singular_values(net, x)
    x[1, 4] = torch.nan
    found = extreme_singular_values(net, x)
    assert found.largest[1].isnan()
    assert found.smallest[1].isnan()
    torch.testing.assert_close(found.largest[[0, 2]], clean.largest[[0, 2]])


def test_images_in_and_out_are_flattened_and_chunks_change_nothing(monkeypatch):
    net = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.Tanh(), nn.Conv2d(3, 2, 3, padding=1))
    net, x = net.double(), torch.randn(4, 2, 6, 6, dtype=torch.float64)
    with torch.no_grad():
        found = extreme_singular_values(net, x, steps=100)
    sigma = np.linalg.svd(batched_jacobian(net, x).numpy(), compute_uv=False)
    np.testing.assert_allclose(found.largest, sigma[:, 0])
    np.testing.assert_allclose(found.smallest, sigma[:, -1], rtol=1e-6)
    monkeypatch.setattr("lightning_invert.jacobians.lanczos.MAX_NUMBERS_AT_ONCE", 2 * 72 * 2 * 72)
    again = extreme_singular_values(net, x, steps=100)
    torch.testing.assert_close(again.smallest, found.smallest)
    assert again.input_direction.shape == (4, 72)


def test_leaves_random_stream_and_gradients_alone():
    net = nn.Linear(50, 60)
    state = torch.get_rng_state()
    extreme_singular_values(net, torch.zeros(3, 50))
    assert torch.equal(torch.get_rng_state(), state)
    assert net.weight.grad is None


def test_names_the_argument_that_is_wrong():
    with pytest.raises(ValueError, match=r"`steps` .* 0"):
        extreme_singular_values(torch.sin, torch.zeros(3, 5), steps=0)
    with pytest.raises(ValueError, match="one row for each"):
        extreme_singular_values(torch.sum, torch.zeros(3, 5))
