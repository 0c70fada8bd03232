"""Sixteen problems of J. J. Moré, B. S. Garbow and K. E. Hillstrom, ACM Transactions on Mathematical
Software 7 (1981): functions, starts and least sums of squares as published."""

from collections.abc import Callable
from typing import NamedTuple

import torch

BARD = [0.14, 0.18, 0.22, 0.25, 0.29, 0.32, 0.35, 0.39, 0.37, 0.58, 0.73, 0.96, 1.34, 2.10, 4.39]
MEYER = [
    34780, 28610, 23650, 19630, 16370, 13720, 11540, 9744, 8261, 7030, 6005, 5147, 4427, 3820, 3307, 2872
]  # fmt: skip
KOWALIK = [
    (0.1957, 4.0), (0.1947, 2.0), (0.1735, 1.0), (0.1600, 0.5), (0.0844, 0.25), (0.0627, 0.167),
    (0.0456, 0.125), (0.0342, 0.1), (0.0323, 0.0833), (0.0235, 0.0714), (0.0246, 0.0625),
]  # fmt: skip
GAUSS = [0.0009, 0.0044, 0.0175, 0.0540, 0.1295, 0.2420, 0.3521]


def numbers(values):
    return torch.tensor(values, dtype=torch.float64)


def upto(count):
    return torch.arange(1, count + 1, dtype=torch.float64)


def helical_valley(a, b, c):
    turn = (b / a).atan() / (2 * torch.pi) + 0.5 * (a < 0)
    return 10 * (c - 10 * turn), 10 * (torch.hypot(a, b) - 1), c


def bard(a, b, c):
    u = upto(15)
    v = 16 - u
    return numbers(BARD) - a - u / (v * b + torch.minimum(u, v) * c)


def gaussian(a, b, c):
    away = (8 - upto(15)) / 2 - c
    return a * (-b * away**2 / 2).exp() - numbers([*GAUSS, 0.3989, *GAUSS[::-1]])


def gulf(a, b, c):
    t = upto(99) / 100
    y = 25 + (-50 * t.log()) ** (2 / 3)
    return (-((y - b).abs() ** c) / a).exp() - t


def box(a, b, c):
    t = upto(10) / 10
    return (-t * a).exp() - (-t * b).exp() - c * ((-t).exp() - (-10 * t).exp())


def wood(a, b, c, d):
    long, short = 10**0.5 * (b + d - 2), (b - d) / 10**0.5
    return 10 * (b - a**2), 1 - a, 90**0.5 * (d - c**2), 1 - c, long, short


def kowalik_osborne(a, b, c, d):
    y, u = numbers(KOWALIK).T
    return y - a * (u**2 + u * b) / (u**2 + u * c + d)


def brown_dennis(a, b, c, d):
    t = upto(20) / 5
    return (a + t * b - t.exp()) ** 2 + (c + d * t.sin() - t.cos()) ** 2


class Problem(NamedTuple):
    """A sum of squares, where a search begins, its minima, and those in a box.

    The boxes are of our choice, and the minima in them are those of SciPy's trf.
    """

    parts: Callable
    start: list
    least: tuple
    low: list
    high: list
    boxed: tuple

    def __call__(self, x):
        """Return the terms at points (N, n), shape (N, m)."""
        columns = self.parts(*x[:, :, None].unbind(1))
        return torch.cat(columns, 1) if isinstance(columns, tuple) else columns


PROBLEMS = {
    "Rosenbrock": Problem(lambda a, b: (10 * (b - a**2), 1 - a), [-1.2, 1], (0,), [-50, -5], [0.5, 100], (0.25,)),
    "Freudenstein-Roth": Problem(
        lambda a, b: (-13 + a + ((5 - b) * b - 2) * b, -29 + a + ((b + 1) * b - 14) * b),
        [0.5, -2], (0, 48.98425), [-20, -30], [20, 3], (48.98425,)),
    "Powell, badly scaled": Problem(
        lambda a, b: (1e4 * a * b - 1, (-a).exp() + (-b).exp() - 1.0001), [0, 1], (0,), [0, 1], [1, 9], (1.51259e-10,)),
    "Brown, badly scaled": Problem(
        lambda a, b: (a - 1e6, b - 2e-6, a * b - 2), [1, 1], (0,), [0, 3e-5], [1e6, 100], (784,)),
    "Beale": Problem(
        lambda a, b: tuple(y - a * (1 - b**i) for i, y in ((1, 1.5), (2, 2.25), (3, 2.625))),
        [1, 1], (0,), [0.6, 0.5], [10, 100], (0,)),
    "Jennrich-Sampson": Problem(
        lambda a, b: 2 + 2 * upto(10) - (a * upto(10)).exp() - (b * upto(10)).exp(),
        [0.3, 0.4], (124.362,), [0.26, 0], [5, 5], (124.383,)),
    "helical valley": Problem(helical_valley, [-1, 0, 0], (0,), [-100, -1, -1], [0.8, 1, 1], (0.990422,)),
    "Bard": Problem(bard, [1, 1, 1], (8.21487e-3, 17.4286), [0.1, 0.1, 0.1], [50, 1.5, 50], (9.58585e-3,)),
    "Gaussian": Problem(gaussian, [0.4, 1, 0], (1.12793e-8,), [0.398, 1, -0.5], [4.2, 2, 0.1], (1.12793e-8,)),
    "Meyer": Problem(lambda a, b, c: a * (b / (45 + 5 * upto(16) + c)).exp() - numbers(MEYER),
        [0.02, 4000, 250], (87.9458,), [6e-3, 0, 200], [1, 1e5, 5000], (127.452,)),
    "Gulf": Problem(gulf, [5, 2.5, 0.15], (0,), [0.1, 0, 0], [100, 25, 1.4], (0.0139048,)),
    "Box": Problem(box, [0, 10, 20], (0,), [0, 5, 0], [2, 9.5, 20], (1.14348e-4,)),
    "Powell, singular": Problem(
        lambda a, b, c, d: (a + 10 * b, 5**0.5 * (c - d), (b - 2 * c) ** 2, 10**0.5 * (a - d) ** 2),
        [3, -1, 0, 1], (0,), [0.1, -20, -1, -1], [100, 20, 1, 50], (1.8782e-4,)),
    "Wood": Problem(wood, [-3, -1, -3, -1], (0,), [-100] * 4, [0, 10, 100, 100], (1.5567,)),
    "Kowalik-Osborne": Problem(
        kowalik_osborne, [0.25, 0.39, 0.415, 0.39], (3.07505e-4, 1.02734e-3), [0, 0, 0.13, 0.12], [10, 10, 10, 12], (3.07831e-4,)),
    "Brown-Dennis": Problem(
        brown_dennis, [25, 5, -5, -1], (85822.2,), [-10, 0, -100, -20], [100, 15, 0, 0.2], (88860.5,)),
}  # fmt: skip
