"""Singular values of many small matrices, their weakest directions and summaries."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor

from lightning_invert.jacobians.thresholds import check_real

__all__ = [
    "WeakestDirections",
    "distance_from_identity",
    "effective_rank",
    "log_volume",
    "singular_values",
    "weakest_directions",
]

MAX_ERROR = 1e-6
"""Largest relative error of a singular value. Beyond it an SVD is taken."""

MIN_SIZE = 1e-100
"""Matrices with a norm below it, or above its inverse, take an SVD: squares might be lost."""

MAX_GRAM_SIZE = 512
"""Larger matrices take an SVD."""

MAX_NUMBERS_AT_ONCE = 2**21
"""Numbers of a chunk of matrices, 16 MiB in float64: larger blocks of memory are given back to the
system, and fetched again, at every use."""

MIN_NUMBERS_FOR_THREADS = 2**20
"""Fewer numbers are done while PyTorch's own threads still occupy the processors: they wait for work
in a loop for some milliseconds."""


def singular_values(jacobian: Tensor) -> Tensor:
    r"""Return the singular values of each matrix of a batch.

    Where the eigenvalues of the float64 Gram matrix give each singular value to 1e-6 (condition numbers up
    to about 1e4, k up to 512), it takes their square roots. Elsewhere, and if ``jacobian`` requires a
    gradient, it takes a float64 SVD.

    Args:
        jacobian: Shape (\*, m, n), floating.

    Returns:
        The singular values in descending order, shape (\*, k) with k = min(m, n), in float64
        (on the CPU where the device has no float64). NaN for a matrix with a non-finite entry.

    Raises:
        ValueError: If ``jacobian`` is not a batch of non-empty matrices.
        TypeError: If it is complex.

    Example:
        >>> sigma = singular_values(torch.tensor([[[0.0, 3.0, 0.0], [2.0, 0.0, 0.0]]]))
        >>> sigma.round(decimals=9)
        tensor([[3., 2.]], dtype=torch.float64)
    """
    jacobian = _checked(jacobian)
    batch = jacobian.reshape(-1, *jacobian.shape[-2:])
    k = min(batch.shape[1:])
    if jacobian.requires_grad and torch.is_grad_enabled():
        sigma: Tensor = torch.linalg.svdvals(batch.double())
    else:
        sigma = _by_gram_or_svd(batch)
    return sigma.reshape(*jacobian.shape[:-2], k)


def _by_gram_or_svd(batch: Tensor) -> Tensor:
    size = max(1, MAX_NUMBERS_AT_ONCE // max(1, batch[:1].numel()))
    if min(batch.shape[1:]) > MAX_GRAM_SIZE:
        return torch.cat([_by_svd(part.double()) for part in batch.split(size)])
    parts = [_by_gram(part.double()) for part in batch.split(size)]
    sigma, good = parts[0] if len(parts) == 1 else map(torch.cat, zip(*parts, strict=True))
    if not good.all():
        sigma[~good] = torch.cat([_by_svd(part.double()) for part in batch[~good].split(size)])
    return sigma


def _by_gram(batch: Tensor) -> tuple[Tensor, Tensor]:
    """Return the square roots of the Gram matrix's eigenvalues, (N, k), and which are good, (N,).

    The Gram matrix squares the condition number: the relative error of sigma_k is about
    eps * kappa^2. Rounding errors that are independent of each other add up like the square root of
    their number (N. J. Higham and T. Mary, SIAM J. Sci. Comput. 41, 2019), hence the factor.
    """
    m, n = batch.shape[1:]
    gram = batch @ batch.mT if m <= n else batch.mT @ batch
    size = torch.linalg.vector_norm(batch, dim=(1, 2))
    least, most = size.aminmax() if len(size) else (size.sum(), size.sum())
    usable = None
    if not (least > MIN_SIZE and most < 1.0 / MIN_SIZE):  # so also for NaN
        usable = (size > MIN_SIZE) & (size < 1.0 / MIN_SIZE)
        gram[~usable] = 0.0
    squares = _shared(torch.linalg.eigvalsh, np.linalg.eigvalsh, gram).flip(-1)
    error = 4.0 * math.sqrt(max(m, n)) * torch.finfo(squares.dtype).eps
    # The square root halves a relative error.
    good = squares[:, 0] * (error / (2.0 * MAX_ERROR)) <= squares[:, -1]
    return squares.clamp_(min=0.0).sqrt_(), good if usable is None else good & usable


def _by_svd(batch: Tensor) -> Tensor:
    finite = batch.isfinite().all(-1).all(-1)
    # LAPACK refuses the whole batch for one NaN.
    batch = torch.where(finite[:, None, None], batch, 0.0)
    sigma = _shared(torch.linalg.svdvals, partial(np.linalg.svd, compute_uv=False), batch)
    return torch.where(finite[:, None], sigma, torch.nan)


def _shared(
    by_torch: Callable[[Tensor], Tensor], by_numpy: Callable[[Any], Any], batch: Tensor
) -> Tensor:
    """Decompose each matrix of a batch, in several threads if that is faster.

    LAPACK takes one matrix after the other, and gains little from threads within one. The threads
    go through NumPy: PyTorch's operations would start a team of OpenMP threads in each of them, and
    more teams than processors slow the whole process down from then on.
    """
    threads = min(torch.get_num_threads(), len(batch))
    if batch.device.type != "cpu" or threads < 2 or batch.numel() < MIN_NUMBERS_FOR_THREADS:
        return by_torch(batch)
    parts = np.array_split(batch.detach().numpy(), threads)
    with _blas().limit(limits=1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        return torch.from_numpy(np.concatenate(list(pool.map(by_numpy, parts))))


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


def effective_rank(singular_values: Tensor) -> Tensor:
    r"""Return the exponential of the entropy of the normalised singular values.

    .. math:: \exp\Big(-\sum_i p_i \ln p_i\Big), \qquad p_i = \sigma_i / \sum_j \sigma_j

    It runs from 1 (one direction dominates) to k (all are equal) without a threshold.
    Source: O. Roy and M. Vetterli, *The effective rank: a measure of effective dimensionality*,
    EUSIPCO 2007. Shape (\*, k) -> (\*,); 0 for a zero matrix.
    """
    check_real("singular_values", singular_values)
    total = singular_values.sum(-1, keepdim=True)
    share = singular_values / torch.where(total == 0, 1.0, total)
    entropy = torch.special.entr(share).sum(-1)
    return torch.where(total[..., 0] == 0, 0.0, entropy.exp())


def log_volume(singular_values: Tensor) -> Tensor:
    r"""Return :math:`\sum_i \ln \sigma_i`.

    The map changes volumes by its exponential. For a square Jacobian it is :math:`\ln |\det J|`, the
    log-determinant of normalising flows. Shape (\*, k) -> (\*,); -inf where a singular value is 0.
    """
    check_real("singular_values", singular_values)
    return singular_values.log().sum(-1)


def distance_from_identity(jacobian: Tensor) -> Tensor:
    r"""Return :math:`\lVert J - 1 \rVert_F^2 / m`, (\*, m, m) -> (\*,), with a graph if J has one."""
    check_real("jacobian", jacobian)
    m = jacobian.shape[-1] if jacobian.ndim else 0
    if jacobian.ndim < 2 or jacobian.shape[-2] != m or m == 0:
        raise ValueError(
            "Expected argument `jacobian` to be a batch of square matrices, but got shape "
            f"{tuple(jacobian.shape)}."
        )
    off = jacobian - torch.eye(m, dtype=jacobian.dtype, device=jacobian.device)
    return off.square().sum((-2, -1)) / m


class WeakestDirections(NamedTuple):
    r"""The singular vectors of the smallest singular value.

    Attributes:
        sigma: :math:`\sigma_k`, shape (\*,).
        inputs: v, unit vectors in x, shape (\*, n). Along v the outputs move least; for n > m there
            are other directions, along which they do not move at all.
        outputs: u, unit vectors in y, shape (\*, m): the direction that is the most expensive to
            reach. A step along it takes a step of :math:`1 / \sigma_k` along v.
    """

    sigma: Tensor
    inputs: Tensor
    outputs: Tensor


def weakest_directions(jacobian: Tensor) -> WeakestDirections:
    r"""Return the direction in y that is hardest to reach, and the direction in x that reaches it.

    They are the singular vectors of the smallest singular value :math:`\sigma_k`, from a float64 SVD:
    :math:`J v = \sigma_k u`, with the largest component of u positive. If several directions share
    :math:`\sigma_k`, or it is zero, these are one choice among many.

    Args:
        jacobian: Shape (\*, m, n), floating.

    Returns:
        The smallest singular value and its vectors, in float64 (on the CPU where the device has no
        float64). NaN for a matrix with a non-finite entry.

    Raises:
        ValueError: If ``jacobian`` is not a batch of non-empty matrices.
        TypeError: If it is complex.

    Example:
        >>> weakest = weakest_directions(torch.tensor([[3.0, 0.0, 0.0], [0.0, 0.0, 0.5]]))
        >>> weakest.sigma.item(), weakest.outputs.tolist(), weakest.inputs.abs().tolist()
        (0.5, [0.0, 1.0], [0.0, 0.0, 1.0])
    """
    jacobian = _checked(jacobian).double()
    finite = jacobian.isfinite().all(-1, keepdim=True).all(-2, keepdim=True)
    u, sigma, vh = torch.linalg.svd(torch.where(finite, jacobian, 0.0), full_matrices=False)
    y, x, finite = u[..., -1], vh[..., -1, :], finite[..., 0]
    largest = y.gather(-1, y.abs().argmax(-1, keepdim=True))
    sign = torch.where(finite, largest.sign(), torch.nan)
    return WeakestDirections(sigma[..., -1] * sign[..., 0].abs(), x * sign, y * sign)


def _checked(jacobian: Tensor) -> Tensor:
    check_real("jacobian", jacobian)
    if jacobian.ndim < 2 or 0 in jacobian.shape[-2:]:
        raise ValueError(
            "Expected argument `jacobian` to be of shape (*, m, n) with m, n > 0, but got "
            f"{tuple(jacobian.shape)}."
        )
    # MPS has neither float64 nor an SVD of its own.
    return jacobian.cpu() if jacobian.device.type == "mps" else jacobian
