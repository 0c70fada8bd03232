"""Problems of W. Hock and K. Schittkowski (1981), with their starts and published minima."""

import pytest
import torch

from lightning_invert import Constraint, Interval, Linear, solve


def of(function):
    """A function of the columns x1, x2, ...; several values of a point become one row."""

    def call(x):
        values = function(*x.T)
        return torch.stack(values, 1) if isinstance(values, tuple) else values

    return call


ROSEN_SUZUKI = of(
    lambda a, b, c, d: (
        8 - a**2 - b**2 - c**2 - d**2 - a + b - c + d,
        10 - a**2 - 2 * b**2 - c**2 - 2 * d**2 + a + d,
        5 - 2 * a**2 - b**2 - c**2 - 2 * a + b + d,
    )
)
WONG = of(
    lambda a, b, c, d, e, f, g: (
        127 - 2 * a**2 - 3 * b**4 - c - 4 * d**2 - 5 * e,
        282 - 7 * a - 3 * b - 10 * c**2 - d + e,
        196 - 23 * a - b**2 - 6 * f**2 + 8 * g,
        -4 * a**2 - b**2 + 3 * a * b - 2 * c**2 - 5 * f + 11 * g,
    )
)
PROBLEMS = {  # cost, constraints, bounds, start, least cost
    24: (lambda a, b: ((a - 3) ** 2 - 9) * b**3 / (27 * 3**0.5),
         [Linear({0: 3**-0.5, 1: -1}, low=0), Linear({0: 1, 1: 3**0.5}, 0, 6)],
         (0, 10), [1, 0.5], -1),
    35: (lambda a, b, c: 9 - 8 * a - 6 * b - 4 * c + 2 * a**2 + 2 * b**2 + c**2 + 2 * a * b + 2 * a * c,
         [Linear({0: 1, 1: 1, 2: 2}, high=3)], (0, 10), [0.5, 0.5, 0.5], 1 / 9),
    43: (lambda a, b, c, d: a**2 + b**2 + 2 * c**2 + d**2 - 5 * a - 5 * b - 21 * c + 7 * d,
         [Constraint(ROSEN_SUZUKI, low=0)], (-10, 10), [0, 0, 0, 0], -44),
    48: (lambda a, b, c, d, e: (a - 1) ** 2 + (b - c) ** 2 + (d - e) ** 2,
         [Linear(dict.fromkeys(range(5), 1), 5, 5), Linear({2: 1, 3: -2, 4: -2}, -3, -3)],
         (-10, 10), [3, 5, -3, 2, -2], 0),
    65: (lambda a, b, c: (a - b) ** 2 + (a + b - 10) ** 2 / 9 + (c - 5) ** 2,
         Constraint(lambda x: x.square().sum(1), high=48), (-4.5, [4.5, 4.5, 5]), [-4, 4, 0], 0.9535288567),
    71: (lambda a, b, c, d: a * d * (a + b + c) + c,
         [Constraint(lambda x: x.prod(1), low=25), Constraint(lambda x: x.square().sum(1), 40, 40)],
         (1, 5), [1, 5, 5, 1], 17.0140173),
    76: (lambda a, b, c, d: a**2 + b**2 / 2 + c**2 + d**2 / 2 - a * c + c * d - a - 3 * b + c - d,
         [Linear({0: 1, 1: 2, 2: 1, 3: 1}, high=5), Linear({0: 3, 1: 1, 2: 2, 3: -1}, high=4),
          Linear({1: 1, 2: 4}, low=1.5)],
         (0, 10), [0.5, 0.5, 0.5, 0.5], -4.681818181),
    100: (lambda a, b, c, d, e, f, g: (a - 10) ** 2 + 5 * (b - 12) ** 2 + c**4 + 3 * (d - 11) ** 2
          + 10 * e**6 + 7 * f**2 + g**4 - 4 * f * g - 10 * f - 8 * g,
          Constraint(WONG, low=0), (-10, 10), [1, 2, 0, 4, 0, 1, 1], 680.6300573),
}  # fmt: skip


@pytest.mark.parametrize("number", PROBLEMS)
def test_finds_the_published_minimum(number):
    cost, constraints, bounds, start, least = PROBLEMS[number]
    begin = torch.tensor([start]).double()
    ends = tuple(torch.as_tensor(end).double().expand(len(start)) for end in bounds)
    found = solve(
        lambda x: x[:, :1], Interval(low=[[-100.0]]), starts=begin, bounds=ends,
        constraints=constraints, cost=of(cost),
    )  # fmt: skip
    assert found.optimal.all()
    assert float(found.cost) == pytest.approx(least, rel=1e-5, abs=1e-4)
