import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_invert import condition_number, numerical_rank, singular_values
from lightning_invert.spectrum import effective_rank, resolvable_condition

SHAPES = [(4, 7), (7, 4), (3, 3), (1, 5), (5, 1)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_singular_values_equal_numpys_in_float64(shape, dtype):
    jacobian = torch.randn(20, *shape).to(dtype)
    expected = np.linalg.svd(jacobian.double().numpy(), compute_uv=False)
    np.testing.assert_allclose(singular_values(jacobian).numpy(), expected, rtol=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.sampled_from(SHAPES),
    decades=st.floats(0, 12),
    zeros=st.integers(0, 2),
    seed=st.integers(0, 2**16),
)
def test_of_a_matrix_built_from_known_singular_values_are_those(shape, decades, zeros, seed):
    generator = torch.Generator().manual_seed(seed)
    m, n = shape
    k = min(shape)
    sigma = torch.logspace(0, -decades, k, dtype=torch.float64)
    sigma[k - min(zeros, k - 1) :] = 0
    u = torch.linalg.qr(torch.randn(m, m, generator=generator, dtype=torch.float64)).Q[:, :k]
    v = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64)).Q[:, :k]
    found = singular_values((u * sigma) @ v.T)
    # An SVD is backward stable: absolute errors are of the order of eps * sigma_1.
    torch.testing.assert_close(found, sigma, rtol=0, atol=1e-14)


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


def test_a_single_row_has_condition_number_one():
    sigma = singular_values(torch.randn(10, 1, 6))
    assert (condition_number(sigma) == 1).all()


def test_condition_number_equals_numpys():
    jacobian = torch.randn(20, 4, 7, dtype=torch.float64)
    found = condition_number(singular_values(jacobian))
    np.testing.assert_allclose(found, np.linalg.cond(jacobian.numpy()), rtol=1e-10)


def test_one_matrix_with_a_nan_does_not_spoil_the_others():
    jacobian = torch.randn(3, 4, 7)
    clean = singular_values(jacobian)
    jacobian[1, 2, 3] = torch.nan
    sigma = singular_values(jacobian)
    assert sigma[1].isnan().all()
    torch.testing.assert_close(sigma[[0, 2]], clean[[0, 2]])
    assert numerical_rank(sigma)[1] == 0
    assert condition_number(sigma)[1].isnan()


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
    from scipy.stats import entropy

    sigma = torch.rand(20, 5, dtype=torch.float64)
    np.testing.assert_allclose(effective_rank(sigma), np.exp(entropy(sigma.numpy(), axis=1)))


def test_beyond_the_resolvable_condition_rounding_alone_makes_the_smallest_singular_value():
    exact = torch.randn(200, 4, 3, dtype=torch.float64) @ torch.randn(200, 3, 7).double()
    rounded = singular_values(exact.float())
    noise = condition_number(rounded)
    assert (noise > resolvable_condition(torch.float32, (4, 7))).all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: singular_values(torch.zeros(3)), r"`jacobian` .* \(3,\)"),
        (lambda: singular_values(torch.zeros(2, 0, 3)), r"`jacobian` .* \(2, 0, 3\)"),
        (lambda: numerical_rank(torch.ones(2), atol=-1.0), "`atol` .* -1.0"),
        (lambda: numerical_rank(torch.ones(2), rtol=-1.0), "`rtol` .* -1.0"),
        (lambda: condition_number(torch.ones(2), floor=-1.0), "`floor` .* -1.0"),
    ],
)
def test_names_the_argument_that_is_wrong(call, words):
    with pytest.raises(ValueError, match=words):
        call()
