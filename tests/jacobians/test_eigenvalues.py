import mpmath
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from lightning_invert.jacobians import eigenvalues as home
from lightning_invert.jacobians.eigenvalues import eigenvalues_of_four_rows

EPS = np.finfo(np.float64).eps


def with_eigenvalues(values, rng, count=1):
    q = np.linalg.qr(rng.standard_normal((count, len(values), len(values)))).Q
    built = (q * np.asarray(values)) @ q.transpose(0, 2, 1)
    return (built + built.transpose(0, 2, 1)) / 2


@settings(max_examples=200, deadline=None)
@given(
    values=st.lists(
        st.sampled_from([0.0, 1.0, 1.0 + 1e-15, 1.0 + 1e-9, -1.0, 0.3, 1e-4, 1e-8, 1e-16]),
        min_size=4,
        max_size=4,
    ),
    scale=st.sampled_from([1e-200, 1.0, 1e200]),
    seed=st.integers(0, 2**16),
)
def test_equal_lapacks_to_rounding_whether_or_not_they_are_close(values, scale, seed):
    symmetric = scale * with_eigenvalues(values, np.random.default_rng(seed), 10)
    expected = np.linalg.eigvalsh(symmetric)
    limit = 20 * EPS * np.abs(expected).max(1, keepdims=True)
    assert (np.abs(eigenvalues_of_four_rows(symmetric) - expected) <= limit).all()


@pytest.mark.parametrize("decades", [0, 1, 4, 8])
def test_equal_thirty_digits_to_rounding(decades):
    symmetric = with_eigenvalues(np.logspace(0, -decades, 4), np.random.default_rng(decades), 8)
    found = eigenvalues_of_four_rows(symmetric)
    with mpmath.workdps(30):
        for matrix, values in zip(symmetric.tolist(), found.tolist(), strict=True):
            exact = mpmath.eigsy(mpmath.matrix(matrix), eigvals_only=True)
            np.testing.assert_allclose(values, sorted(map(float, exact)), rtol=0, atol=10 * EPS)


def test_none_of_usual_ones_are_left_to_lapack(monkeypatch):
    asked = []
    original = np.linalg.eigvalsh
    monkeypatch.setattr(np.linalg, "eigvalsh", lambda a: (asked.append(len(a)), original(a))[1])
    rows = np.random.default_rng(0).standard_normal((1000, 4, 7))
    symmetric = rows @ rows.transpose(0, 2, 1)
    np.testing.assert_allclose(eigenvalues_of_four_rows(symmetric), original(symmetric), rtol=1e-11)
    assert not asked


def test_those_that_are_not_good_enough_are_lapacks(monkeypatch):
    monkeypatch.setattr(home, "MAX_SWEEPS", 3)
    rng = np.random.default_rng(0)
    symmetric = with_eigenvalues([1.0, 0.9, 0.5, 0.2], rng, 500)
    symmetric[::2] *= np.eye(4)  # these are
    found = eigenvalues_of_four_rows(symmetric)
    np.testing.assert_allclose(found, np.linalg.eigvalsh(symmetric), rtol=0, atol=10 * EPS)


def test_diagonal_zero_and_no_matrices():
    symmetric = np.stack([np.diag([3.0, 1.0, 2.0, 0.0]), np.zeros((4, 4)), np.ones((4, 4))])
    found = eigenvalues_of_four_rows(symmetric)
    np.testing.assert_allclose(found, [[0, 1, 2, 3], [0] * 4, [0, 0, 0, 4]], atol=1e-15)
    assert eigenvalues_of_four_rows(np.zeros((0, 4, 4))).shape == (0, 4)


def test_chunks_find_the_same_in_the_same_order(monkeypatch):
    symmetric = with_eigenvalues([1.0, 0.4, 0.3, 1e-3], np.random.default_rng(0), 50)
    whole = eigenvalues_of_four_rows(symmetric)
    monkeypatch.setattr(home, "MAX_MATRICES_AT_ONCE", 7)
    np.testing.assert_allclose(eigenvalues_of_four_rows(symmetric), whole, rtol=1e-12)
