import numpy as np
import pytest
import torch

from lightning_invert import Variable
from lightning_invert.variables import ColumnStatistics
from tests.processes import gathering

# Content in the last digits of large numbers, as of a time in seconds.
TABLE = 1.7e9 + torch.rand(
    1000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64
) * torch.tensor([60.0, 5.0, 0.5])


def check_statistics(statistics):
    assert statistics.count == 1000
    np.testing.assert_allclose(statistics.mean, TABLE.numpy().mean(0), rtol=1e-14)
    np.testing.assert_allclose(statistics.std, TABLE.numpy().std(0, ddof=1), rtol=1e-4)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_statistics_in_pieces_are_numpys_of_the_whole(size):
    statistics = ColumnStatistics()
    for rows in TABLE.split(size):
        statistics.add(rows)
    check_statistics(statistics)


def test_processes_add_up_to_the_statistics_of_all_rows():
    parts = TABLE.split(700)

    def act(rank, gather):
        own = ColumnStatistics()
        own.add(parts[rank])
        check_statistics(own.summed(lambda mine: sum(gather(mine))))

    gathering(2, act)


@pytest.mark.parametrize(
    ("rows", "spread"),
    [
        (torch.tensor([1.0, 3.0]), 2.0**0.5),
        (torch.tensor([5.0, 5.0]), 1.0),
        (torch.tensor([0.3, 0.3, 0.3]) + torch.tensor([0.0, 3e-8, 0.0]), 1.0),  # one unit off
        (torch.tensor([1.0, 1.0 + 1e-12], dtype=torch.float64), 1e-12 / 2**0.5),
        (torch.tensor([1.0, 1.0625]).bfloat16(), 0.0625 / 2**0.5),
        (torch.tensor([7.0]), 1.0),
    ],
)
def test_a_column_that_varies_by_rounding_alone_has_a_spread_of_one(rows, spread):
    statistics = ColumnStatistics()
    for row in rows:
        statistics.add(row[None, None])
    assert statistics.spread.item() == pytest.approx(spread, rel=1e-3)


@pytest.mark.parametrize(
    ("described", "expected"),
    [
        ("load", Variable("load")),
        (Variable("heat", "K", 0.0, 9.0), Variable("heat", "K", 0.0, 9.0)),
        (type("Column", (), {"name": "gas", "unit": None}), Variable("gas")),
    ],
)
def test_a_variable_is_read_from_whatever_a_data_module_calls_one(described, expected):
    assert Variable.of(described) == expected
