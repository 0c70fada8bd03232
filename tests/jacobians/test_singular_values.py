import math
from dataclasses import FrozenInstanceError

import mpmath
import numpy as np
import pytest
import torch
import zuko
from hypothesis import given, settings, strategies as st
from scipy.stats import entropy

from lightning_invert import (
    InvertibilityMetric,
    Thresholds,
    batched_jacobian,
    condition_number,
    numerical_rank,
    singular_values,
)
from lightning_invert.jacobians import singular_values as home
from lightning_invert.jacobians.singular_values import (
    distance_from_identity,
    effective_rank,
    log_volume,
    weakest_directions,
)
from lightning_invert.jacobians.thresholds import BAND_NAMES, condition_limit

SHAPES = [(4, 7), (7, 4), (3, 3), (1, 5), (5, 1)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_singular_values_equal_numpys_in_float64(shape, dtype):
    jacobian = torch.randn(20, *shape).to(dtype)
    expected = np.linalg.svd(jacobian.double().numpy(), compute_uv=False)
    found = singular_values(jacobian)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)
    cond = expected[:, 0] / expected[:, -1]
    np.testing.assert_allclose(condition_number(found), cond, rtol=1e-10)
    assert singular_values(jacobian[:0]).shape == (0, min(shape))


def rotated(sigma, m, n):
    """Matrices (3, m, n) with these singular values."""
    k = len(sigma)
    generator = torch.Generator().manual_seed(int(1e6 * sigma.sum()) + m + n)
    u = torch.linalg.qr(torch.randn(3, m, k, generator=generator, dtype=torch.float64)).Q
    v = torch.linalg.qr(torch.randn(3, n, k, generator=generator, dtype=torch.float64)).Q
    return (u * sigma) @ v.mT


def fifty_digits(jacobian):
    with mpmath.workdps(50):
        return [
            [float(s) for s in mpmath.svd_r(mpmath.matrix(matrix), compute_uv=False)]
            for matrix in jacobian.tolist()
        ]


@pytest.mark.parametrize("repeated", [False, True])
@pytest.mark.parametrize("shape", [(4, 7), (7, 4), (6, 6), (12, 9)])
@pytest.mark.parametrize("decades", [0, 2, 3.5, 4, 4.5, 6, 14])
def test_every_singular_value_is_good_to_a_millionth_by_fifty_digits(shape, decades, repeated):
    sigma = torch.logspace(0, -decades, min(shape), dtype=torch.float64)
    if repeated:
        sigma[1:3] = sigma[2]
    jacobian = rotated(sigma, *shape)
    # As promised, or within the rounding of an SVD: eps * sigma_1.
    expected = fifty_digits(jacobian)
    np.testing.assert_allclose(singular_values(jacobian), expected, rtol=1e-6, atol=4e-16)


@settings(max_examples=100, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    decades=st.floats(0, 7),
    scale=st.sampled_from([1e-200, 1e-9, 1.0, 1e9, 1e200]),
    seed=st.integers(0, 2**16),
)
def test_the_fast_way_is_never_further_from_an_svd_than_promised(shape, decades, scale, seed):
    generator = torch.Generator().manual_seed(seed)
    m, n = shape
    rows = torch.logspace(0, -decades, m, dtype=torch.float64)
    jacobian = scale * rows[:, None] * torch.randn(5, m, n, generator=generator).double()
    expected = np.linalg.svd(jacobian.numpy(), compute_uv=False)
    # The reference itself is good to eps * sigma_1 only.
    limit = 1e-6 * expected + 1e-15 * expected[:, :1]
    assert (np.abs(singular_values(jacobian).numpy() - expected) <= limit).all()


@pytest.fixture
def _two_threads():
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


@pytest.mark.usefixtures("_two_threads")
@pytest.mark.parametrize("decades", [2, 8])  # by the Gram matrix, and by an SVD
@pytest.mark.parametrize("shape", [(3000, 5, 7), (40, 60, 50)])
def test_threads_find_the_same_in_the_same_order(shape, decades, monkeypatch):
    rows = torch.logspace(0, -decades, shape[1], dtype=torch.float64)
    jacobian = torch.randn(shape, dtype=torch.float64) * rows[:, None]
    monkeypatch.setattr(home, "MIN_NUMBERS_FOR_THREADS", 1)
    shared = singular_values(jacobian)
    monkeypatch.setattr(home, "MIN_NUMBERS_FOR_THREADS", 2**60)
    torch.testing.assert_close(shared, singular_values(jacobian), rtol=2e-6, atol=1e-15)


@pytest.mark.parametrize("decades", [2, 8])
def test_chunks_find_the_same_in_the_same_order(decades, monkeypatch):
    rows = torch.logspace(0, -decades, 4, dtype=torch.float64)
    jacobian = torch.randn(50, 4, 7, dtype=torch.float64) * rows[:, None]
    jacobian[17] *= torch.nan
    whole = singular_values(jacobian)
    monkeypatch.setattr(home, "MAX_NUMBERS_AT_ONCE", 100)
    torch.testing.assert_close(singular_values(jacobian), whole, equal_nan=True)


def test_log_volume_of_a_square_matrix_is_the_logarithm_of_its_determinant():
    jacobian = torch.randn(20, 5, 5, dtype=torch.float64)
    expected = torch.linalg.slogdet(jacobian).logabsdet
    torch.testing.assert_close(log_volume(singular_values(jacobian)), expected)
    assert log_volume(singular_values(torch.zeros(3, 3))) == -torch.inf


@pytest.mark.parametrize("flow", ["MAF", "NSF", "RealNVP", "GF"])
def test_log_volume_of_a_normalising_flow_is_its_own_log_determinant(flow):
    transform = getattr(zuko.flows, flow)(features=4, transforms=2).double().eval()().transform
    x = torch.randn(20, 4, dtype=torch.float64)
    found = log_volume(singular_values(batched_jacobian(lambda x: transform(x), x)))
    torch.testing.assert_close(found, transform.call_and_ladj(x)[1])


@pytest.mark.parametrize("shape", SHAPES)
def test_weakest_directions_are_numpys_singular_vectors(shape):
    jacobian = torch.randn(20, *shape, dtype=torch.float64)
    weakest = weakest_directions(jacobian)
    u, sigma, vh = np.linalg.svd(jacobian.numpy(), full_matrices=False)
    np.testing.assert_allclose(weakest.sigma, sigma[:, -1])
    for found, expected in ((weakest.inputs, vh[:, -1]), (weakest.outputs, u[:, :, -1])):
        overlap = (found.numpy() * expected).sum(1)
        np.testing.assert_allclose(np.abs(overlap), 1)
    reached = (jacobian @ weakest.inputs[:, :, None])[:, :, 0]
    torch.testing.assert_close(reached, weakest.sigma[:, None] * weakest.outputs)
    assert (weakest.outputs.gather(1, weakest.outputs.abs().argmax(1, keepdim=True)) > 0).all()


def test_the_distance_from_the_identity_is_the_mean_square_of_a_columns_error():
    jacobian = torch.randn(2, 20, 4, 4, dtype=torch.float64)
    expected = np.square(np.linalg.norm(jacobian.numpy() - np.eye(4), axis=(2, 3))) / 4
    np.testing.assert_allclose(distance_from_identity(jacobian), expected)
    assert distance_from_identity(torch.eye(3).expand(5, 3, 3)).eq(0).all()
    with pytest.raises(ValueError, match=r"`jacobian` .* square .* \(4, 7\)"):
        distance_from_identity(torch.zeros(4, 7))


def test_singular_values_are_differentiable():
    jacobian = torch.randn(5, 4, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(singular_values, jacobian)


@pytest.mark.parametrize(
    ("diagonal", "rank", "cond"),
    [
        ([3.0, 2.0, 1.0], 3, 3.0),
        ([3.0, 1e-4, 1e-6], 2, 3e6),
        ([1.0, 1.0, 1e-13], 2, np.inf),
        ([0.0, 0.0, 0.0], 0, np.inf),
    ],
)
def test_of_a_diagonal_are_read_off(diagonal, rank, cond):
    sigma = singular_values(torch.diag(torch.tensor(diagonal, dtype=torch.float64)))
    np.testing.assert_allclose(sigma, diagonal, rtol=1e-12)
    assert numerical_rank(sigma) == rank
    np.testing.assert_allclose(condition_number(sigma), cond, rtol=1e-9)


@pytest.mark.parametrize("shape", [(4, 7), (7, 4), (4, 4)])
def test_a_rank_deficient_matrix_has_the_rank_it_was_built_with(shape):
    m, n = shape
    jacobian = torch.randn(10, m, 2, dtype=torch.float64) @ torch.randn(10, 2, n).double()
    sigma = singular_values(jacobian)
    assert (numerical_rank(sigma) == 2).all()
    expected = [np.linalg.matrix_rank(j, tol=1e-5) for j in jacobian.numpy()]
    assert numerical_rank(sigma).tolist() == expected
    assert condition_number(sigma).isinf().all()


def test_a_matrix_with_a_nan_is_nan_and_spoils_no_other():
    jacobian = torch.randn(3, 4, 7)
    clean = singular_values(jacobian), *weakest_directions(jacobian)
    jacobian[1, 2, 3] = torch.nan
    found = singular_values(jacobian), *weakest_directions(jacobian)
    for now, before in zip(found, clean, strict=True):
        assert now[1].isnan().all()
        torch.testing.assert_close(now[[0, 2]], before[[0, 2]])
    assert numerical_rank(found[0])[1] == 0
    assert condition_number(found[0])[1].isnan()


def test_relative_threshold_counts_from_the_largest():
    sigma = torch.tensor([[100.0, 1.0, 0.01]])
    assert numerical_rank(sigma, rtol=1e-3).item() == 2
    assert numerical_rank(sigma, atol=2.0, rtol=1e-3).item() == 1
    # A value at the threshold is not above it.
    assert numerical_rank(sigma, atol=1.0).item() == 1


@given(
    sigma=st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=8),
    factor=st.floats(1e-3, 1e3),
)
def test_condition_and_effective_rank_do_not_depend_on_the_unit(sigma, factor):
    values = torch.tensor(sorted(sigma, reverse=True), dtype=torch.float64)
    for measure in (condition_number, effective_rank):
        torch.testing.assert_close(measure(values), measure(factor * values))
    assert 1 - 1e-9 <= effective_rank(values) <= len(sigma) + 1e-9


def test_effective_rank_equals_the_exponential_of_scipys_entropy():
    sigma = torch.rand(20, 5, dtype=torch.float64)
    np.testing.assert_allclose(effective_rank(sigma), np.exp(entropy(sigma.numpy(), axis=1)))


def test_beyond_the_resolvable_condition_rounding_alone_makes_the_smallest_singular_value():
    exact = torch.randn(200, 4, 3, dtype=torch.float64) @ torch.randn(200, 3, 7).double()
    rounded = singular_values(exact.float())
    noise = condition_number(rounded)
    assert (noise > condition_limit(torch.float32, (4, 7))).all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: singular_values(torch.zeros(3)), r"`jacobian` .* \(3,\)"),
        (lambda: singular_values(torch.zeros(2, 0, 3)), r"`jacobian` .* \(2, 0, 3\)"),
        (lambda: weakest_directions(torch.zeros(3)), r"`jacobian` .* \(3,\)"),
        (lambda: numerical_rank(torch.ones(2), atol=-1.0), "`atol` .* -1.0"),
        (lambda: numerical_rank(torch.ones(2), rtol=-1.0), "`rtol` .* -1.0"),
        (lambda: condition_number(torch.ones(2), floor=-1.0), "`floor` .* -1.0"),
    ],
)
def test_names_the_argument_that_is_wrong(call, words):
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.parametrize("take", [singular_values, weakest_directions, distance_from_identity])
def test_a_complex_jacobian_is_refused_with_what_to_do(take):
    # A cast to float64 would keep the real part alone.
    with pytest.raises(TypeError, match=r"`jacobian` to be real, but got .*64.*view_as_real"):
        take(torch.ones(3, 2, 2, dtype=torch.complex64))


@pytest.mark.parametrize(
    "take",
    [numerical_rank, condition_number, effective_rank, log_volume, InvertibilityMetric().update],
)
def test_complex_singular_values_are_refused(take):
    with pytest.raises(TypeError, match=r"`singular_values` to be real, but got torch\.complex64"):
        take(torch.ones(3, 2, dtype=torch.complex64))


def test_the_real_map_that_is_advised_has_each_singular_value_of_the_complex_one_twice():
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(3, 4, dtype=torch.complex128, generator=generator)
    real = torch.cat([torch.cat([a.real, -a.imag], 1), torch.cat([a.imag, a.real], 1)], 0)
    expected = np.linalg.svd(a.numpy(), compute_uv=False).repeat(2)
    np.testing.assert_allclose(singular_values(real[None])[0], expected)


SIGMA = torch.tensor(
    [[3.0, 1e-3, 2e-5], [3.0, 1e-3, 5e-6], [3.0, 2.0, 1e-13], [3.0, 0.0, 0.0]], dtype=torch.float64
)


def test_the_default_thresholds_are_those_of_the_reference():
    sigma = SIGMA.numpy()
    assert Thresholds().rank(SIGMA).tolist() == (sigma > 1e-5).sum(1).tolist()
    cond = Thresholds().condition(SIGMA).numpy()
    np.testing.assert_allclose(cond[:2], sigma[:2, 0] / sigma[:2, 2])
    assert np.isinf(cond[2:]).all()
    kappa = torch.tensor([99.9, 100.0, 1e4, 10001.0, math.inf, math.nan])
    names = ["stable", "moderate", "moderate", "ill-conditioned", "singular", "nonfinite"]
    assert [BAND_NAMES[i] for i in Thresholds().band(kappa)] == names


def test_thresholds_cannot_be_changed_and_are_equal_by_value():
    assert Thresholds(bands=[10.0, 20.0]) == Thresholds(bands=(10.0, 20.0))
    assert hash(Thresholds(bands=[10.0, 20.0])) == hash(Thresholds(bands=(10.0, 20.0)))
    with pytest.raises(FrozenInstanceError):
        Thresholds().rank_atol = 1.0
