r"""The eigenvalues of very many symmetric matrices of four rows.

LAPACK takes one matrix after the other, and for one so small it spends its time on the way to the
arithmetic: here each NumPy operation works on all matrices. Of two or three rows LAPACK is faster.

A Jacobi rotation makes one entry off the diagonal zero. Four rows have three ways to be paired, and
two rotations of disjoint pairs do not touch each other's rows: a sweep is three double rotations.
Once the diagonal dominates, what is left off it is not rotated away but accounted for. With
:math:`D` the diagonal, :math:`E` the rest and :math:`t_{ij}` the tangent of the angle of the
rotation that would make :math:`e_{ij}` zero, which shifts the diagonal by
:math:`\mp t_{ij} e_{ij}`, let T be the antisymmetric matrix of all :math:`t_{ij}`. Then

.. math:: e^{-T} (D + E)\, e^{T} = D + \tfrac12 [E, T] + O(\lVert E \rVert \lVert T \rVert^2),

whose diagonal is D with all shifts together, and whose rest is below
:math:`2 \lVert E \rVert \lVert T \rVert` in the Frobenius norm if :math:`\lVert T \rVert` is small.
By Weyl's theorem no eigenvalue is further than that from the shifted diagonal.
Source: G. H. Golub and C. F. Van Loan, *Matrix Computations* (2013), sections 8.5 and 8.1.2.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

__all__ = ["eigenvalues_of_four_rows"]

Array: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

MAX_MATRICES_AT_ONCE = 2048
"""More no longer fit a processor's cache."""

MIN_SWEEPS = 3
MAX_SWEEPS = 6
"""Most matrices need three, and some four; what is not good enough after six is left to LAPACK."""


MAX_ANGLE = 0.1
"""Of all rotations that are left, for what is said of their sum to hold."""

ROWS = (0, 2, 0, 1, 0, 1)
COLUMNS = (1, 3, 2, 3, 3, 2)
"""Where the entries above the diagonal are kept: in the order of the three pairings."""

_PAIRINGS = tuple(
    tuple(slice(*bounds) for bounds in pairing)
    for pairing in (
        # On the diagonal (2), in each pair (1), and what the first and the second pair turn (2 + 2).
        ((0, 3, 2), (1, 4, 2), (0, 2, 1), (2, 5, 2), (5, 2, -2), (2, 6, 3), (4, 2, -1)),
        ((0, 2, 1), (2, 4, 1), (2, 4, 1), (0, 5, 4), (5, 0, -4), (0, 6, 5), (4, 0, -3)),
        ((0, 2, 1), (3, 1, -1), (4, 6, 1), (0, 3, 2), (3, 0, -2), (0, 4, 3), (2, 0, -1)),
    )
)


def eigenvalues_of_four_rows(symmetric: Array) -> Array:
    r"""Return the eigenvalues of each matrix of a batch, in ascending order.

    Args:
        symmetric: Shape (N, 4, 4), finite.

    Returns:
        Shape (N, 4). The error of each is of the order of the rounding of the largest.

    Example:
        >>> eigenvalues_of_four_rows(np.ones((1, 4, 4))).round(9).tolist()
        [[0.0, 0.0, 0.0, 4.0]]
    """
    found = np.empty((4, len(symmetric)))
    for start in range(0, len(symmetric), MAX_MATRICES_AT_ONCE):
        some = slice(start, start + MAX_MATRICES_AT_ONCE)
        _solve(symmetric[some], found[:, some])
    return found.T


def _solve(symmetric: Array, found: Array) -> None:
    diagonal = np.ascontiguousarray(symmetric.diagonal(axis1=1, axis2=2).T)
    rest = np.empty((6, len(symmetric)))
    for entry, i, j in zip(rest, ROWS, COLUMNS, strict=True):
        entry[:] = symmetric[:, i, j]
    # Powers of two, so that nothing is rounded: squares of the entries must stay in range.
    _, exponent = np.frexp(np.maximum(np.abs(diagonal).max(0), np.abs(rest).max(0)))
    np.ldexp(diagonal, -exponent, out=diagonal)
    np.ldexp(rest, -exponent, out=rest)
    room = np.empty((5, 2, len(symmetric)))
    for _ in range(MIN_SWEEPS):
        _sweep(diagonal, rest, room)
    shifted, good = _shifted(diagonal, rest)
    others = np.flatnonzero(~good)
    for _ in range(MAX_SWEEPS - MIN_SWEEPS):
        if not len(others):
            break
        diagonal, rest = diagonal[:, ~good], rest[:, ~good]
        _sweep(diagonal, rest, np.empty((5, 2, len(others))))
        shifted[:, others], good = _shifted(diagonal, rest)
        others = others[~good]
    # A network of five comparisons sorts four.
    for first, second in ((slice(0, 2), slice(2, 4)), (slice(0, 3, 2), slice(1, 4, 2))):
        low = np.minimum(shifted[first], shifted[second])
        np.maximum(shifted[first], shifted[second], out=shifted[second])
        shifted[first] = low
    low = np.minimum(shifted[1], shifted[2])
    np.maximum(shifted[1], shifted[2], out=shifted[2])
    shifted[1] = low
    np.ldexp(shifted, exponent, out=found)
    if len(others):
        found[:, others] = np.linalg.eigvalsh(symmetric[others]).T


def _sweep(diagonal: Array, rest: Array, room: Array) -> None:
    """Rotate every pair of rows once, in place."""
    t, twice, r, one, other = room
    for first, second, inside, x0, y0, x1, y1 in _PAIRINGS:
        p, q, e = diagonal[first], diagonal[second], rest[inside]
        # t = 2 e sign(h) / (|h| + sqrt(h^2 + 4 e^2)) with h = q - p; 0 where both are 0.
        np.subtract(q, p, out=t)
        np.add(e, e, out=twice)
        np.multiply(t, t, out=r)
        np.multiply(twice, twice, out=one)
        r += one
        r += 1e-300
        np.sqrt(r, out=r)
        np.abs(t, out=one)
        r += one
        np.copysign(r, t, out=r)
        np.divide(twice, r, out=t)
        np.multiply(t, e, out=one)
        p -= one
        q += one
        e.fill(0.0)
        # c = 1 / sqrt(1 + t^2), s = t c
        np.multiply(t, t, out=r)
        r += 1.0
        np.sqrt(r, out=r)
        cosine = np.divide(1.0, r, out=r)
        sine = np.multiply(t, cosine, out=t)
        for c, s, x, y in (
            (cosine[0], sine[0], rest[x0], rest[y0]),
            (cosine[1], sine[1], rest[x1], rest[y1]),
        ):
            np.multiply(s, x, out=one)
            np.multiply(s, y, out=other)
            x *= c
            x -= other
            y *= c
            y += one


def _shifted(diagonal: Array, rest: Array) -> tuple[Array, np.ndarray[Any, np.dtype[np.bool_]]]:
    """Return the diagonal after all rotations that are left, and where that is good enough."""
    h = np.empty_like(rest)
    for difference, i, j in zip(h, ROWS, COLUMNS, strict=True):
        np.subtract(diagonal[j], diagonal[i], out=difference)
    r = h * h
    squares = rest * rest
    t = 4.0 * squares
    r += t
    r += 1e-300
    np.sqrt(r, out=r)
    r += np.abs(h, out=t)
    np.copysign(r, h, out=r)
    np.divide(rest, r, out=t)
    t += t
    shift = np.multiply(t, rest, out=h)
    shifted = diagonal.copy()
    for by, i, j in zip(shift, ROWS, COLUMNS, strict=True):
        shifted[i] -= by
        shifted[j] += by
    size, angle = np.sqrt(squares.sum(0)), np.sqrt(np.square(t, out=r).sum(0))
    # The norms of E and T, which have every entry twice, are sqrt(2) times these.
    error = 4.0 * size * np.where(angle < MAX_ANGLE, angle, 1.0)
    return shifted, error <= np.finfo(np.float64).eps * np.abs(diagonal).max(0)
