r"""What can be known of Jacobians that are too large to be formed.

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

Few steps from each of several random starts say more than many steps from one, because a random
vector also tells of the whole spectrum. For w uniform on the unit sphere of R^k and any k x k matrix
C, :math:`\mathrm{tr}\, C = k\, \mathrm{E}\, w^T C w`. With :math:`G = A^T A` these are
:math:`\lVert J \rVert_F^2 = \mathrm{tr}\, G` and :math:`\mathrm{tr}\, G^2`. Most of their variance comes from
the few largest singular values, which another start has found: in the span of its
:math:`Q = V_s` the traces are known from B,

.. math:: \mathrm{tr}\, Q^T G Q = \lVert B \rVert_F^2, \qquad
    \mathrm{tr}\, Q^T G^2 Q = \lVert (B, \beta_s e_s)^T B \rVert_F^2,

and w estimates what is left, as it is independent of Q. All of this is taken from what the runs
have in memory: it costs no further product with J.
Source: A. Girard, *A fast Monte-Carlo cross-validation procedure*, Numer. Math. 56 (1989);
M. F. Hutchinson, *A stochastic estimator of the trace of the influence matrix*, Commun. Stat. 19
(1990); S. Ubaru, J. Chen and Y. Saad, *Fast estimation of tr(f(A)) via stochastic Lanczos
quadrature*, SIAM J. Matrix Anal. Appl. 38 (2017); what is known taken out: R. A. Meyer, C. Musco,
C. Musco and D. P. Woodruff, *Hutch++*, SOSA (2021), T. Chen and E. Hallman, *Krylov-aware
stochastic trace estimation*, SIAM J. Matrix Anal. Appl. 44 (2023).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lightning_invert.arguments import check_integer
from lightning_invert.jacobians.contexts import differentiable
from lightning_invert.jacobians.evaluation import evaluate, with_context
from lightning_invert.jacobians.jacobian import count_outputs
from lightning_invert.jacobians.work import numbers_saved

__all__ = ["ExtremeSingularValues", "Probes", "extreme_singular_values", "probe_jacobians"]

MAX_NUMBERS_AT_ONCE = 2**26
"""Of the points that are taken together, in their bases and graphs: 256 MiB in float32."""

MIN_PROBES = 3
"""With fewer, what one start estimates is not independent of what the next one does."""

ROUNDING = 10
"""A product that is so many times eps of its size, or shorter, is taken for nothing but rounding."""

GRAPH = 3
"""So many times what an evaluation saves is in memory: its backward pass is differentiated too."""


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
    check_integer("steps", steps, low=1)
    check_integer("seed", seed, low=0)
    with differentiable(inputs.device.type):
        n, m = inputs[0].numel(), count_outputs(function, inputs)
        numbers = min(steps, n) * (n + m)
        parts = [
            _extremes(function, part, steps, seed + i)
            for i, part in enumerate(inputs.split(max(1, MAX_NUMBERS_AT_ONCE // numbers)))
        ]
    joined: ExtremeSingularValues = _joined(parts)
    return joined


class Probes(NamedTuple):
    r"""What a few short runs from random starts tell of a Jacobian that was never formed.

    All are of shape (N,), float64, and NaN where a product with the Jacobian is not finite. What is
    called a standard error comes from the spread over the probes: with four of them the truth is
    within three standard errors at nine points of ten.

    Attributes:
        sigma_max: A lower bound of :math:`\sigma_1`, mostly it to all digits where it stands out.
        sigma_max_error: There is a singular value this close to it.
        sigma_min_bound: An upper bound of :math:`\sigma_k`. Exactly 0 where a run met a vector that
            the Jacobian (or its transpose, for n > m) maps to nothing but rounding.
        cond_lower_bound: ``sigma_max`` / ``sigma_min_bound``, a lower bound of :math:`\kappa`, as
            far as the arithmetic can tell: see
            :func:`~lightning_invert.jacobians.thresholds.condition_limit`.
        frobenius: An estimate of :math:`\lVert J \rVert_F`.
        frobenius_error: Its relative standard error.
        stable_rank: An estimate of :math:`\lVert J \rVert_F^2 / \sigma_1^2`, at least 1 and at most
            the rank; 0 for a zero matrix.
        stable_rank_error: Its standard error, with that of ``sigma_max``.
        participation_ratio: An estimate of
            :math:`(\sum_i \sigma_i^2)^2 / \sum_i \sigma_i^4`, at least 1 and at most the rank: the
            number of singular values that share the Frobenius norm; 0 for a zero matrix.
        participation_ratio_error: Its standard error.
        complete: Whether each run exhausted the space (k <= steps): everything is then exact to
            rounding.
    """

    sigma_max: Tensor
    sigma_max_error: Tensor
    sigma_min_bound: Tensor
    cond_lower_bound: Tensor
    frobenius: Tensor
    frobenius_error: Tensor
    stable_rank: Tensor
    stable_rank_error: Tensor
    participation_ratio: Tensor
    participation_ratio_error: Tensor
    complete: bool

    def at(self, points: Tensor) -> Probes:
        """Return the same of some of the points: a mask or indices."""
        kept: list[Any] = [v[points] if isinstance(v, Tensor) else v for v in self]
        return Probes(*kept)


def probe_jacobians(
    function: Callable[..., Tensor],
    inputs: Tensor,
    *,
    context: Sequence[Tensor] = (),
    probes: int = 4,
    steps: int = 8,
    seed: int = 0,
) -> Probes:
    r"""Bound the ends of the Jacobian's spectrum at each point, and estimate how broad it is.

    Args:
        function: Maps (N, \*) to (N, \*), each row by itself; it has to be differentiable twice.
        inputs: The points, shape (N, \*), floating, at least one.
        context: Further arguments of the function, shape (N, \*) each, which are held fixed.
        probes: Random starts at each point, at least 3.
        steps: Of the bidiagonalisation from each: a step costs about as much as two backward passes.
        seed: Of the starts. The global random stream is not touched.

    Returns:
        The bounds and estimates, in float64 (on the CPU where the device has none).

    Raises:
        TypeError: If ``inputs`` or what ``function`` returns is not a floating tensor.
        ValueError: If there are too few ``probes``, ``steps`` or points, or the shapes do not fit.

    Example:
        >>> scales = torch.cat([torch.tensor([5.0]), torch.ones(2999)])
        >>> found = probe_jacobians(lambda x: x * scales, torch.zeros(2, 3000))
        >>> found.sigma_max.round(decimals=3).tolist(), found.cond_lower_bound.round().tolist()
        ([5.0, 5.0], [5.0, 5.0])
        >>> found.stable_rank.round().tolist()  # (25 + 2999) / 25
        [121.0, 121.0]
    """
    check_integer("probes", probes, low=MIN_PROBES)
    check_integer("steps", steps, low=1)
    check_integer("seed", seed, low=0)
    if len(inputs) == 0:
        raise ValueError("Expected argument `inputs` to have at least one point, but got none.")
    with differentiable(inputs.device.type):
        saved, m = numbers_saved(with_context(function, [rows[:1] for rows in context]), inputs)
        n = inputs[0].numel()
        k = min(m, n)
        steps = min(steps, k)
        numbers = probes * (GRAPH * saved + (steps + 1) * (m + n + 2 * k))
        # One after the other, so that a point's starts do not depend on the chunks.
        generator, spare = (torch.Generator().manual_seed(_mixed(seed, i)) for i in range(2))
        parts = []
        size = max(1, MAX_NUMBERS_AT_ONCE // numbers)
        for points, *rows in zip(*(part.split(size) for part in (inputs, *context)), strict=True):
            drawn = [torch.randn(probes, k, generator=generator) for _ in range(len(points))]
            starts = nn.functional.normalize(torch.stack(drawn).to(points), dim=-1)
            parts.append(_probe(with_context(function, rows), points, starts, steps, spare))
    joined: Probes = _joined(parts)
    return joined


def _joined(parts: Sequence[Any]) -> Any:
    """Put what was found of the points of several chunks together; what is no tensor is the same."""
    first = parts[0]
    columns = zip(*parts, strict=True)
    return type(first)(*(torch.cat(c) if isinstance(c[0], Tensor) else c[0] for c in columns))


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

        self.n, self.m = self.x[0].numel(), self.y[0].numel()
        self.wide = self.n > self.m

    @property
    def sizes(self) -> tuple[int, int]:
        """The number of columns of A, k, and of its rows."""
        return min(self.n, self.m), max(self.n, self.m)

    @property
    def narrow(self) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
        """Products with A, which has k columns, and with its transpose."""
        return (self.pull, self.push) if self.wide else (self.push, self.pull)

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


class _Bases(NamedTuple):
    """The vectors u, shape (N, s, p), v, shape (N, s + 1, k), and (B, beta e), (N, s, s + 1)."""

    left: Tensor
    right: Tensor
    b: Tensor
    finite: Tensor


def _bidiagonalise(
    operator: _Operator, start: Tensor, steps: int, generator: torch.Generator
) -> _Bases:
    a, at = operator.narrow
    k, p = operator.sizes
    count, home = len(start), _home(start)
    left = start.new_zeros(count, steps, p)
    right = start.new_zeros(count, steps + 1, k)
    b = torch.zeros(count, steps, steps + 1, dtype=torch.float64, device=home)
    right[:, 0] = start
    scale = start.new_zeros(count)
    for j in range(steps):
        u, alpha = _normalised(a(right[:, j]), left[:, :j], scale, generator)
        left[:, j], b[:, j, j] = u, alpha.to(home)
        scale = torch.maximum(scale, alpha)
        if j + 1 < k:
            v, beta = _normalised(at(u), right[:, : j + 1], scale, generator)
            right[:, j + 1], b[:, j, j + 1] = v, beta.to(home)
            scale = torch.maximum(scale, beta)
    finite = b.isfinite().all(-1).all(-1)
    # LAPACK refuses the whole batch for one NaN.
    return _Bases(left, right, torch.where(finite[:, None, None], b, 0.0), finite)


def _home(x: Tensor) -> torch.device:
    return torch.device("cpu") if x.device.type == "mps" else x.device  # MPS has no float64


def _extremes(
    function: Callable[[Tensor], Tensor], points: Tensor, steps: int, seed: int
) -> ExtremeSingularValues:
    operator = _Operator(function, points)
    k, _ = operator.sizes
    steps = min(steps, k)
    generator = torch.Generator().manual_seed(seed)
    start = _fresh(points.new_zeros(len(points), 0, k), generator)
    left, right, b, finite = _bidiagonalise(operator, start, steps, generator)
    u, theta, vh = torch.linalg.svd(b[:, :, :steps])
    theta = torch.where(finite[:, None], theta, torch.nan)
    error = (b[:, -1, -1, None] * u[:, -1]).abs()
    long = (left.mT.to(b.device).double() @ u[:, :, -1:])[..., 0]
    short = (right[:, :steps].mT.to(b.device).double() @ vh[:, -1, :, None])[..., 0]
    return ExtremeSingularValues(
        theta[:, 0],
        error[:, 0],
        theta[:, -1],
        error[:, -1],
        theta,
        steps == k,
        *((long, short) if operator.wide else (short, long)),
    )


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
    left, right, b, finite = _bidiagonalise(operator, starts.flatten(0, 1), steps, generator)
    del left
    u, theta, _ = torch.linalg.svd(b[..., :steps])
    # A null vector in the space, whose image is nothing but rounding.
    singular = theta[:, -1] <= ROUNDING * torch.finfo(points.dtype).eps * theta[:, 0]
    smallest = torch.where(singular, 0.0, theta[:, -1]).reshape(count, probes).amin(1)
    error = (b[:, -1, -1] * u[:, -1, 0]).abs().reshape(count, probes)
    largest, best = theta[:, 0].reshape(count, probes).max(1)
    error = error.gather(1, best[:, None])[:, 0]

    # In units of the largest, so that no power of it overflows.
    unit = torch.where(largest == 0, 1.0, largest)
    b = b / unit.repeat_interleave(probes)[:, None, None]
    shape = (count, probes, steps + 1)
    trace, trace_of_square = _traces(
        right.reshape(*shape, k), b.reshape(count, probes, *b.shape[1:])
    )
    first, second = trace.mean(1), trace_of_square.mean(1)
    ratio = first.square() / torch.where(second == 0, 1.0, second)
    per_probe = 2 * first[:, None] * trace - ratio[:, None] * trace_of_square
    # The standard deviation of few normal numbers is too small: by 8 % for four.
    spread = (1 + 1 / (4 * (probes - 1))) * probes**-0.5
    trace_error = trace.std(1) * spread
    ratio_error = per_probe.std(1) * spread / torch.where(second == 0, 1.0, second)

    finite = finite.reshape(count, probes).all(1)
    present = (largest > 0).to(largest)
    stable = first.clamp(1.0, k) * present

    def known(value: Tensor) -> Tensor:
        return torch.where(finite, value, torch.nan)

    return Probes(
        sigma_max=known(largest),
        sigma_max_error=known(error),
        sigma_min_bound=known(smallest),
        cond_lower_bound=known(torch.where(smallest == 0, torch.inf, largest / smallest)),
        frobenius=known(stable.sqrt() * largest),
        frobenius_error=known(trace_error / (2 * torch.where(stable == 0, 1.0, stable))),
        stable_rank=known(stable),
        stable_rank_error=known(torch.hypot(trace_error, 2 * stable * error / unit)),
        participation_ratio=known(ratio.clamp(1.0, k) * present),
        participation_ratio_error=known(ratio_error),
        complete=steps == k,
    )


def _mixed(seed: int, use: int) -> int:
    """Return a seed that nobody else takes.

    Weights that were drawn after ``torch.manual_seed(seed)`` are made of the same numbers as
    vectors drawn by a generator with that seed: a first layer would know the starts, and the
    Frobenius norm be estimated a quarter too large.
    """
    return ((2 * seed + use) * 6364136223846793005 + 1442695040888963407) % 2**63  # Knuth, MMIX


def _traces(v: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return tr G and tr G^2 as each start estimates them, shape (N, probes)."""
    steps, k = b.shape[2], v.shape[3]
    h = b.mT @ b[..., :steps]  # G V = V_{s+1} h
    known, known_of_square = b[..., :steps].square().sum((2, 3)), h.square().sum((2, 3))
    if steps == k:
        return known, known_of_square
    w = v[:, :, 0]
    alpha, beta = b[:, :, 0, 0, None].to(w), b[:, :, 0, 1, None].to(w)
    gw = alpha * (alpha * w + beta * v[:, :, 1])
    # Each start is relieved of what the next one knows, of which it is independent.
    q, h = v.roll(-1, 1), h.roll(-1, 1).to(v)
    inside = q[:, :, :steps] @ w[..., None]
    w = w - (q[:, :, :steps].mT @ inside)[..., 0]
    gw = gw - (q.mT @ (h @ inside))[..., 0]
    size = w.square().sum(2).to(b)
    left = (k - steps) / size
    trace = known.roll(-1, 1) + left * (w * gw).sum(2).to(b).clamp(min=0.0)
    return trace, known_of_square.roll(-1, 1) + left * gw.square().sum(2).to(b)


def _normalised(
    w: Tensor, basis: Tensor, scale: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Make ``w`` orthogonal to the basis and of unit length; return its length too.

    Where nothing is left of it but rounding, a random vector takes its place, of length 0.

    Args:
        w: A product with A or its transpose.
        basis: What it is to be orthogonal to.
        scale: A lower bound of A's norm: rounding is relative to it, if all of ``w`` is small.
        generator: Of the random vector.
    """
    size = torch.maximum(w.norm(dim=1), scale)
    w = _orthogonal(w, basis)
    length = w.norm(dim=1)
    gone = length <= ROUNDING * torch.finfo(w.dtype).eps * size
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
