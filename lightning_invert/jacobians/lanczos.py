r"""The extreme singular values of Jacobians that are too large to be formed.

Golub-Kahan-Lanczos bidiagonalisation of A = J (or its transpose, whichever has fewer columns, k)
takes a random unit vector and products with J and its transpose, which autograd has without forming
J, to

.. math:: A V_s = U_s B_s, \qquad A^T U_s = V_s B_s^T + \beta_s v_{s+1} e_s^T

with orthonormal columns and an upper bidiagonal s x s matrix B. Its singular values
:math:`\theta_1 \ge \dots \ge \theta_s` never overshoot: :math:`\theta_i \le \sigma_i`, and
:math:`\theta_s \ge \sigma_k`. All points of a batch run at once; the basis is orthogonalised in full.
Source: G. H. Golub and W. Kahan, *Calculating the singular values and pseudo-inverse of a matrix*,
J. SIAM Numer. Anal. B 2 (1965); the bound on the error: B. N. Parlett, *The Symmetric Eigenvalue
Problem* (1980), theorem 4.5.1, for :math:`A^T A`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_invert.jacobians.contexts import differentiable
from lightning_invert.jacobians.evaluation import evaluate

__all__ = ["ExtremeSingularValues", "extreme_singular_values"]

MAX_NUMBERS_AT_ONCE = 2**26
"""Of the bases of the points that are taken together: 256 MiB in float32."""


class ExtremeSingularValues(NamedTuple):
    r"""What is known of the spectrum of a Jacobian that was never formed.

    Attributes:
        largest: :math:`\theta_1 \le \sigma_1`, shape (N,), float64.
        largest_error: There is a singular value this close to it. In practice it is
            :math:`\sigma_1`: a random start misses the largest with probability 0.
        smallest: :math:`\theta_s \ge \sigma_k`, shape (N,). An upper bound and no more, unless
            its error is small: in the middle of a spectrum there is much to be close to.
        smallest_error: There is a singular value this close to it.
        lower_bounds: :math:`\theta_i \le \sigma_i`, descending, shape (N, s): the rank is at least
            the number of them above a threshold.
        complete: Whether the space was exhausted (k <= steps): then ``lower_bounds`` are all
            singular values, and everything is exact to rounding.
        input_direction: v, unit vector in x, shape (N, n). For n <= m, J v is of length
            ``smallest``.
        output_direction: u, unit vector in y, shape (N, m). For n > m, :math:`J^T u` is of length
            ``smallest``. The pair are singular vectors as far as ``smallest_error`` is small.
    """

    largest: Tensor
    largest_error: Tensor
    smallest: Tensor
    smallest_error: Tensor
    lower_bounds: Tensor
    complete: bool
    input_direction: Tensor
    output_direction: Tensor


def extreme_singular_values(
    function: Callable[[Tensor], Tensor],
    inputs: Tensor,
    *,
    steps: int = 32,
    seed: int = 0,
) -> ExtremeSingularValues:
    r"""Estimate the largest and the smallest singular value of the Jacobian at each point.

    The largest converges within a few steps. The smallest does not, where the spectrum has many
    values near it: it is found from above, and the condition number from below.

    Args:
        function: Maps (N, \*) to (N, \*), each row by itself; it has to be differentiable twice.
        inputs: The points, shape (N, \*), floating.
        steps: Of the bidiagonalisation: each costs two products with J and its transpose, about as
            much as four backward passes, and its vectors stay in memory.
        seed: Of the start vectors. The global random stream is not touched.

    Returns:
        The estimates and their errors, in float64 (on the CPU where the device has none).

    Raises:
        TypeError: If ``inputs`` or what ``function`` returns is not a floating tensor.
        ValueError: If ``steps`` is not positive, or the shapes do not fit.

    Example:
        >>> scales = torch.linspace(1.0, 5.0, 3000)
        >>> found = extreme_singular_values(lambda x: x * scales, torch.zeros(2, 3000))
        >>> round(found.largest[0].item(), 1), found.complete
        (5.0, False)
    """
    if steps < 1:
        raise ValueError(f"Expected argument `steps` to be at least 1, but got {steps}.")
    with differentiable(inputs.device.type):
        with torch.no_grad():
            outputs = evaluate(function, inputs[:1].clone())
        numbers = min(steps, inputs[0].numel()) * (inputs[0].numel() + outputs[0].numel())
        parts = [
            _bidiagonalise(function, part, steps, seed + i)
            for i, part in enumerate(inputs.split(max(1, MAX_NUMBERS_AT_ONCE // numbers)))
        ]
    if len(parts) == 1:
        return parts[0]
    joined = {
        name: torch.cat([getattr(part, name) for part in parts])
        for name in ExtremeSingularValues._fields
        if name != "complete"
    }
    return ExtremeSingularValues(complete=parts[0].complete, **joined)


class _Operator:
    """Products with the Jacobians at a batch of points, (N, n) -> (N, m), and their transposes."""

    def __init__(self, function: Callable[[Tensor], Tensor], points: Tensor) -> None:
        self.x = points.detach().clone().requires_grad_()
        self.y = evaluate(function, self.x)
        # The product with the transpose is linear in its cotangent: its own derivative is J.
        self.cotangent = torch.zeros_like(self.y).requires_grad_()
        (self.pulled,) = torch.autograd.grad(
            self.y, self.x, self.cotangent, create_graph=True, materialize_grads=True
        )

    def push(self, v: Tensor) -> Tensor:
        return self._product(self.pulled, self.cotangent, v)

    def pull(self, u: Tensor) -> Tensor:
        return self._product(self.y, self.x, u)

    @staticmethod
    def _product(of: Tensor, by: Tensor, vector: Tensor) -> Tensor:
        if not of.requires_grad:
            return torch.zeros_like(by).flatten(1)
        (product,) = torch.autograd.grad(
            of, by, vector.reshape(of.shape), retain_graph=True, materialize_grads=True
        )
        return product.reshape(len(by), -1)


def _bidiagonalise(
    function: Callable[[Tensor], Tensor],
    points: Tensor,
    steps: int,
    seed: int,
) -> ExtremeSingularValues:
    operator = _Operator(function, points)
    n, m = operator.x[0].numel(), operator.y[0].numel()
    a, at = (operator.push, operator.pull) if n <= m else (operator.pull, operator.push)
    k, p = min(n, m), max(n, m)
    steps = min(steps, k)
    generator = torch.Generator().manual_seed(seed)
    left = points.new_zeros(len(points), steps, p)
    right = points.new_zeros(len(points), steps + 1, k)
    home = "cpu" if points.device.type == "mps" else points.device  # MPS has no float64
    b = torch.zeros(len(points), steps, steps + 1, dtype=torch.float64, device=home)
    right[:, 0] = _fresh(right[:, :0], generator)
    for j in range(steps):
        u, alpha = _normalised(a(right[:, j]), left[:, :j], generator)
        left[:, j], b[:, j, j] = u, alpha.to(home)
        if j + 1 < k:
            v, beta = _normalised(at(u), right[:, : j + 1], generator)
            right[:, j + 1], b[:, j, j + 1] = v, beta.to(home)
    finite = b.isfinite().all(-1).all(-1)[:, None, None]
    b = torch.where(finite, b, 0.0)  # LAPACK refuses the whole batch for one NaN
    u, theta, vh = torch.linalg.svd(b[:, :, :steps])
    theta = torch.where(finite[..., 0], theta, torch.nan)
    error = (b[:, -1, -1, None] * u[:, -1]).abs()
    long = (left.mT.to(home).double() @ u[:, :, -1:])[..., 0]
    short = (right[:, :steps].mT.to(home).double() @ vh[:, -1, :, None])[..., 0]
    return ExtremeSingularValues(
        theta[:, 0],
        error[:, 0],
        theta[:, -1],
        error[:, -1],
        theta,
        steps == k,
        *((short, long) if n <= m else (long, short)),
    )


def _normalised(w: Tensor, basis: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Make ``w`` orthogonal to the basis and of unit length; return its length too.

    Where nothing is left of it, a random vector takes its place, of length 0.
    """
    size = w.norm(dim=1)
    w = _orthogonal(w, basis)
    length = w.norm(dim=1)
    gone = length <= 10 * torch.finfo(w.dtype).eps * size
    if gone.any() and basis.shape[1] < basis.shape[2]:
        w = torch.where(gone[:, None], _fresh(basis, generator), w)
    norm = torch.where(gone, 1.0, length)
    return w / norm[:, None], torch.where(gone, 0.0, length)


def _fresh(basis: Tensor, generator: torch.Generator) -> Tensor:
    n, _, size = basis.shape
    w = torch.randn(n, size, generator=generator).to(basis)
    w = _orthogonal(w, basis)
    unit: Tensor = w / w.norm(dim=1, keepdim=True)
    return unit


def _orthogonal(w: Tensor, basis: Tensor) -> Tensor:
    for _ in range(2):  # once is not enough, twice is
        w = w - (basis.mT @ (basis @ w[..., None]))[..., 0]
    return w
