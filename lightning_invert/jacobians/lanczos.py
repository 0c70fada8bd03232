r"""Bounds and estimates for Jacobians that are too large to be formed.

Golub-Kahan-Lanczos bidiagonalisation of A = J (or its transpose, whichever has fewer columns, k)
starts from a random unit vector. It needs only products with J and its transpose, which autograd
computes without forming J, and finds

.. math:: A V_s = U_s B_s, \qquad A^T U_s = V_s B_s^T + \beta_s v_{s+1} e_s^T

with orthonormal columns and an upper bidiagonal s x s matrix B. Its singular values
:math:`\theta_1 \ge \dots \ge \theta_s` never overshoot: :math:`\theta_i \le \sigma_i`, and
:math:`\theta_s \ge \sigma_k`. All points of a batch run at once; the basis is orthogonalised in full.
Source: G. H. Golub and W. Kahan, *Calculating the singular values and pseudo-inverse of a matrix*,
J. SIAM Numer. Anal. B 2 (1965); the bound on the error: B. N. Parlett, *The Symmetric Eigenvalue
Problem* (1980), theorem 4.5.1, for :math:`A^T A`.

Few steps from each of several random starts say more than many steps from one, because a random
vector also estimates sums over the whole spectrum. For w uniform on the unit sphere of R^k and any k x k matrix
C, :math:`\mathrm{tr}\, C = k\, \mathrm{E}\, w^T C w`. With :math:`G = A^T A` these are
:math:`\lVert J \rVert_F^2 = \mathrm{tr}\, G` and :math:`\mathrm{tr}\, G^2`. Most of their variance comes from
the few largest singular values, which another start has found: in the span of its
:math:`Q = V_s` the traces follow from B,

.. math:: \mathrm{tr}\, Q^T G Q = \lVert B \rVert_F^2, \qquad
    \mathrm{tr}\, Q^T G^2 Q = \lVert (B, \beta_s e_s)^T B \rVert_F^2,

and w, which is independent of Q, estimates the rest. The runs have all of this in memory: it costs
no further product with J.
Source: A. Girard, *A fast Monte-Carlo cross-validation procedure*, Numer. Math. 56 (1989);
M. F. Hutchinson, *A stochastic estimator of the trace of the influence matrix*, Commun. Stat. 19
(1990); S. Ubaru, J. Chen and Y. Saad, *Fast estimation of tr(f(A)) via stochastic Lanczos
quadrature*, SIAM J. Matrix Anal. Appl. 38 (2017); deflation by a known subspace: R. A. Meyer, C. Musco,
C. Musco and D. P. Woodruff, *Hutch++*, SOSA (2021), T. Chen and E. Hallman, *Krylov-aware
stochastic trace estimation*, SIAM J. Matrix Anal. Appl. 44 (2023).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lightning_invert.arguments import check_integer
from lightning_invert.jacobians.contexts import differentiable, twice_differentiable
from lightning_invert.jacobians.evaluation import evaluate, with_context
from lightning_invert.jacobians.work import numbers_saved

__all__ = ["Probes", "probe_jacobians"]

MAX_NUMBERS_AT_ONCE = 2**26
"""Numbers in the bases and graphs of the points of a chunk: 256 MiB in float32."""

MIN_PROBES = 3
"""With fewer, the estimate from one start is not independent of the estimate from the next."""

ROUNDING = 10
"""A product of at most this many times eps of its size counts as rounding alone."""

GRAPH = 3
"""A graph takes this many times what an evaluation saves: its backward pass has a graph, too."""


class Probes(NamedTuple):
    """Bounds and estimates from short runs at random starts, (N,), float64; NaN if not finite.

    Bounds hold up to :func:`~lightning_invert.jacobians.thresholds.condition_limit`. Standard errors come
    from the spread over the probes: with four probes, the truth is within three standard errors at nine
    points of ten. Stable rank and participation ratio are 0 for a zero matrix, else from 1 to the rank.
    """

    sigma_max: Tensor  # lower bound of sigma_1; equal to it in practice where it stands out
    sigma_max_error: Tensor  # some singular value is this close to sigma_max
    sigma_min_bound: Tensor  # upper bound of sigma_k; 0 where a run met a null vector
    cond_lower_bound: Tensor  # lower bound of kappa
    frobenius: Tensor  # estimate of the Frobenius norm
    frobenius_error: Tensor  # its relative standard error
    stable_rank: Tensor  # estimate of (sum of sigma^2) / sigma_1^2
    stable_rank_error: Tensor  # its standard error, with that of sigma_max
    participation_ratio: Tensor  # estimate of (sum of sigma^2)^2 / (sum of sigma^4)
    participation_ratio_error: Tensor  # its standard error
    complete: bool  # whether each run exhausted the space (k <= steps): all is exact to rounding

    def at(self, points: Tensor) -> Probes:
        """Return the probes of the points that a mask or indices select."""
        columns: list[Any] = [v[points] if isinstance(v, Tensor) else v for v in self]
        return Probes(*columns)


def probe_jacobians(
    function: Callable[..., Tensor],
    inputs: Tensor,
    *,
    context: Sequence[Tensor] = (),
    probes: int = 4,
    steps: int = 8,
    seed: int = 0,
) -> Probes:
    """Probe the Jacobian at each of N >= 1 points; ``function`` must be differentiable twice.

    A step from one start costs two backward passes. The global random stream is not touched.
    """
    check_integer("probes", probes, low=MIN_PROBES)
    check_integer("steps", steps, low=1)
    check_integer("seed", seed, low=0)
    if len(inputs) == 0:
        raise ValueError("Expected argument `inputs` to have at least one point, but got none.")
    with differentiable(inputs.device.type), twice_differentiable():
        saved, m = numbers_saved(with_context(function, [rows[:1] for rows in context]), inputs)
        n = inputs[0].numel()
        k = min(m, n)
        steps = min(steps, k)
        numbers = probes * (GRAPH * saved + (steps + 1) * (m + n + 2 * k))
        # One after the other, so that a point's starts do not depend on the chunks.
        generator, spare = (torch.Generator().manual_seed(_mixed(seed, i)) for i in range(2))
        chunks: list[Probes] = []
        size = max(1, MAX_NUMBERS_AT_ONCE // numbers)
        for points, *rows in zip(*(part.split(size) for part in (inputs, *context)), strict=True):
            drawn = [torch.randn(probes, k, generator=generator) for _ in range(len(points))]
            starts = nn.functional.normalize(torch.stack(drawn).to(points), dim=-1)
            chunks.append(_probe(with_context(function, rows), points, starts, steps, spare))
    *columns, _ = zip(*chunks, strict=True)
    fields: list[Any] = [*map(torch.cat, columns), steps == k]
    return Probes(*fields)


class _Operator:
    """Products with A, (N, k) -> (N, p), and its transpose: the narrower of J and J's transpose."""

    def __init__(self, function: Callable[[Tensor], Tensor], points: Tensor) -> None:
        self.x = points.detach().clone().requires_grad_()
        self.y = evaluate(function, self.x)
        # The product with the transpose is linear in its cotangent: its own derivative is J.
        self.cotangent = torch.zeros_like(self.y).requires_grad_()
        (self.pulled,) = torch.autograd.grad(
            self.y, self.x, self.cotangent, create_graph=True, materialize_grads=True
        )
        n, m = self.x[0].numel(), self.y[0].numel()
        self.k, self.p = min(n, m), max(n, m)
        self.wide = n > m

    def apply(self, v: Tensor) -> Tensor:
        return self._product(v, transposed=self.wide)

    def transpose(self, u: Tensor) -> Tensor:
        return self._product(u, transposed=not self.wide)

    def _product(self, vector: Tensor, *, transposed: bool) -> Tensor:
        """Return the product of a vector with J, or with its transpose."""
        outputs, inputs = (self.y, self.x) if transposed else (self.pulled, self.cotangent)
        if not outputs.requires_grad:
            return torch.zeros_like(inputs).flatten(1)
        vector = vector.reshape(outputs.shape)
        (product,) = torch.autograd.grad(
            outputs, inputs, vector, retain_graph=True, materialize_grads=True
        )
        return product.reshape(len(inputs), -1)


def _bidiagonalise(
    operator: _Operator, starts: Tensor, steps: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Return V, (N, s + 1, k), the matrices (B, beta e), (N, s, s + 1), and which are finite, (N,)."""
    count = len(starts)
    # MPS has no float64.
    device = torch.device("cpu") if starts.device.type == "mps" else starts.device
    left = starts.new_zeros(count, steps, operator.p)
    right = starts.new_zeros(count, steps + 1, operator.k)
    b = torch.zeros(count, steps, steps + 1, dtype=torch.float64, device=device)
    right[:, 0] = starts
    scale = starts.new_zeros(count)
    for j in range(steps):
        product = operator.apply(right[:, j])
        left[:, j], alpha = _normalised(product, left[:, :j], scale, generator)
        b[:, j, j] = alpha.to(device)
        scale = torch.maximum(scale, alpha)
        if j + 1 < operator.k:
            product = operator.transpose(left[:, j])
            right[:, j + 1], beta = _normalised(product, right[:, : j + 1], scale, generator)
            b[:, j, j + 1] = beta.to(device)
            scale = torch.maximum(scale, beta)
    finite = b.isfinite().all(-1).all(-1)
    # LAPACK refuses the whole batch for one NaN.
    return right, torch.where(finite[:, None, None], b, 0.0), finite


def _probe(
    function: Callable[[Tensor], Tensor],
    points: Tensor,
    starts: Tensor,
    steps: int,
    generator: torch.Generator,
) -> Probes:
    """Probe a chunk of N points from starts of shape (N, probes, k)."""
    count, probes, k = starts.shape
    operator = _Operator(function, points.repeat_interleave(probes, 0))
    right, b, finite = _bidiagonalise(operator, starts.flatten(0, 1), steps, generator)
    u, theta, _ = torch.linalg.svd(b[..., :steps])
    # A null vector in the space, whose image is rounding alone.
    singular = theta[:, -1] <= ROUNDING * torch.finfo(points.dtype).eps * theta[:, 0]
    smallest = torch.where(singular, 0.0, theta[:, -1]).reshape(count, probes).amin(1)
    errors = (b[:, -1, -1] * u[:, -1, 0]).abs().reshape(count, probes)
    largest, best = theta[:, 0].reshape(count, probes).max(1)
    error = errors.gather(1, best[:, None])[:, 0]

    # In units of the largest, so that no power of it overflows.
    unit = torch.where(largest == 0, 1.0, largest)
    b = b.reshape(count, probes, *b.shape[1:]) / unit[:, None, None, None]
    traces = _traces(right.reshape(count, probes, steps + 1, k), b)
    first, first_error, ratio, ratio_error = _means(*traces)
    nonzero = (largest > 0).to(largest)
    stable = first.clamp(1.0, k) * nonzero

    values = {
        "sigma_max": largest,
        "sigma_max_error": error,
        "sigma_min_bound": smallest,
        "cond_lower_bound": torch.where(smallest == 0, torch.inf, largest / smallest),
        "frobenius": stable.sqrt() * largest,
        "frobenius_error": first_error / (2 * torch.where(stable == 0, 1.0, stable)),
        "stable_rank": stable,
        "stable_rank_error": torch.hypot(first_error, 2 * stable * error / unit),
        "participation_ratio": ratio.clamp(1.0, k) * nonzero,
        "participation_ratio_error": ratio_error,
    }
    finite = finite.reshape(count, probes).all(1)
    return Probes(
        **{name: torch.where(finite, value, torch.nan) for name, value in values.items()},
        complete=steps == k,
    )


def _means(trace: Tensor, trace_of_square: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return tr G and (tr G)^2 / tr G^2, each with its standard error, from (N, probes) traces."""
    probes = trace.shape[1]
    first, second = trace.mean(1), trace_of_square.mean(1)
    nonzero = torch.where(second == 0, 1.0, second)
    ratio = first.square() / nonzero
    # To first order, what each probe adds to the ratio.
    per_probe = 2 * first[:, None] * trace - ratio[:, None] * trace_of_square
    # The standard deviation of few normal numbers is too small: by 8 % for four.
    spread = (1 + 1 / (4 * (probes - 1))) * probes**-0.5
    return first, trace.std(1) * spread, ratio, per_probe.std(1) * spread / nonzero


def _mixed(seed: int, use: int) -> int:
    """Return a seed that nobody else takes.

    ``torch.manual_seed(seed)`` and a generator with the same seed draw the same numbers. The starts
    would then correlate with the weights of a first layer that was drawn after that call, and the
    Frobenius norm would be estimated a quarter too large.
    """
    return ((2 * seed + use) * 6364136223846793005 + 1442695040888963407) % 2**63  # Knuth, MMIX


def _traces(v: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Estimate tr G and tr G^2 from each start: V (N, probes, s + 1, k) -> (N, probes) each."""
    steps, k = b.shape[2], v.shape[3]
    h = b.mT @ b[..., :steps]  # G V = V_{s+1} h
    inside, inside_of_square = b[..., :steps].square().sum((2, 3)), h.square().sum((2, 3))
    if steps == k:
        return inside, inside_of_square
    w = v[:, :, 0]
    alpha, beta = b[:, :, 0, 0, None].to(w), b[:, :, 0, 1, None].to(w)
    gw = alpha * (alpha * w + beta * v[:, :, 1])
    # Project the space of the next start, which is independent of this one, out of w.
    q, h = v.roll(-1, 1), h.roll(-1, 1).to(v)
    shares = q[:, :, :steps] @ w[..., None]
    w = w - (q[:, :, :steps].mT @ shares)[..., 0]
    gw = gw - (q.mT @ (h @ shares))[..., 0]
    factor = (k - steps) / w.square().sum(2).to(b)
    trace = inside.roll(-1, 1) + factor * (w * gw).sum(2).to(b).clamp(min=0.0)
    return trace, inside_of_square.roll(-1, 1) + factor * gw.square().sum(2).to(b)


def _normalised(
    w: Tensor, basis: Tensor, scale: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Make the products w, (N, k), orthogonal to a basis, (N, j, k), and unit; return their lengths.

    Where only rounding is left of w, a random vector of length 0 takes its place. ``scale`` is a
    lower bound of the norm of A: rounding is relative to it where all of w is small.
    """
    size = torch.maximum(w.norm(dim=1), scale)
    w = _orthogonal(w, basis)
    length = w.norm(dim=1)
    gone = length <= ROUNDING * torch.finfo(w.dtype).eps * size
    if gone.any() and basis.shape[1] < basis.shape[2]:
        drawn = torch.randn(len(w), basis.shape[2], generator=generator).to(basis)
        drawn = _orthogonal(drawn, basis)
        w = torch.where(gone[:, None], drawn / drawn.norm(dim=1, keepdim=True), w)
    norm = torch.where(gone, 1.0, length)
    return w / norm[:, None], torch.where(gone, 0.0, length)


def _orthogonal(w: Tensor, basis: Tensor) -> Tensor:
    for _ in range(2):  # once is not enough, twice is
        w = w - (basis.mT @ (basis @ w[..., None]))[..., 0]
    return w
