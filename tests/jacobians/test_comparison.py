import numpy as np
import pytest
import torch
from torch import nn

from lightning_invert.jacobians.spectrum import Effort, compare_jacobians, measure_spectrum

A = np.random.default_rng(0).normal(size=(3, 5))
B = A + 0.1 * np.random.default_rng(1).normal(size=(3, 5))
X = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))


def linear(matrix):
    return lambda x: x @ torch.as_tensor(matrix).to(x.dtype).T


@pytest.mark.parametrize("standardised", [False, True])
def test_the_error_and_the_spectrum_are_those_of_the_matrices(standardised):
    stds = torch.arange(1.0, 6), torch.tensor([0.1, 1.0, 10.0])
    of_x, of_y = (std.double().numpy() for std in stds)
    a, b = (m * of_x / of_y[:, None] if standardised else m for m in (A, B))
    found = measure_spectrum(
        linear(B), X, stds=stds if standardised else None, reference=linear(A)
    ).comparison
    error = np.linalg.norm(b - a) / np.linalg.norm(a)
    np.testing.assert_allclose(found.error, np.full(40, error), rtol=1e-5)
    sigma = np.linalg.svd(a, compute_uv=False)
    np.testing.assert_allclose(found.singular_values, np.tile(sigma, (40, 1)), rtol=1e-12)


def test_the_reference_is_given_float64():
    seen = set()

    def truth(x):
        seen.add(x.dtype)
        return x.sin()

    found = measure_spectrum(torch.sin, X, reference=truth).comparison
    assert seen == {torch.float64}
    assert 0 < found.error.max() < 1e-6


@pytest.mark.parametrize("context", [True, False])
def test_pieces_change_nothing(context, monkeypatch):
    net, true = (nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)) for _ in range(2))
    true.double()
    rows = [torch.arange(1.0, 41.0)[:, None]] if context else []

    def of(module):
        return (lambda x, scale: module(scale * x)) if context else module

    whole = measure_spectrum(of(net), X, context=rows, reference=of(true)).comparison
    monkeypatch.setattr("lightning_invert.jacobians.spectrum.MAX_ENTRIES", 15 * 7)
    pieces = measure_spectrum(of(net), X, context=rows, reference=of(true)).comparison
    torch.testing.assert_close(pieces.error, whole.error, rtol=1e-5, atol=0)
    torch.testing.assert_close(pieces.singular_values, whole.singular_values)


def test_points_without_a_number_are_known_as_such_and_zero_is_zero():
    j = torch.zeros(5, 1, 2)
    j[1], j[2], j[4] = 1, torch.nan, torch.inf
    slope = torch.tensor([0, 0, 1, torch.nan, 1])[:, None]
    found = compare_jacobians(
        j, lambda x, slope: (slope * x).sum(1, keepdim=True), torch.ones(5, 2), context=[slope]
    )
    assert found.error.tolist() == pytest.approx(
        [0, torch.inf, torch.nan, torch.nan, torch.nan], nan_ok=True
    )
    assert found.singular_values[:, 0].isnan().tolist() == [False, False, False, True, False]


def test_another_number_of_outputs_is_named():
    with pytest.raises(ValueError, match="reference to have 3 outputs, as the map has, but it has"):
        measure_spectrum(linear(B), X, reference=torch.sin)


def test_what_is_not_formed_is_not_compared():
    found = measure_spectrum(linear(B), X, reference=linear(A), effort=Effort(formed=False))
    assert found.comparison is None
