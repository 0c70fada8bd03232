"""A cast to float64 keeps the real part of a complex number: nothing may be told from that alone."""

import numpy as np
import pytest
import torch

from lightning_invert import (
    InvertibilityMetric,
    condition_number,
    numerical_rank,
    singular_values,
    weakest_directions,
)
from lightning_invert.jacobians.singular_values import (
    distance_from_identity,
    effective_rank,
    log_volume,
)

IMAGINARY = 1j * torch.eye(2, dtype=torch.float64).expand(3, 2, 2)


@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
@pytest.mark.parametrize("take", [singular_values, weakest_directions, distance_from_identity])
def test_a_complex_jacobian_is_refused_with_what_to_do(take, dtype, requires_grad):
    jacobian = IMAGINARY.to(dtype).clone().requires_grad_(requires_grad)
    with pytest.raises(TypeError, match=f"`jacobian` to be real, but got {dtype}.*view_as_real"):
        take(jacobian)


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
