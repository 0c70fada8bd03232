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


def test_a_column_that_does_not_vary_has_a_spread_of_one():
    statistics = ColumnStatistics()
    statistics.add(torch.tensor([[1.0, 5.0], [3.0, 5.0]]))
    assert statistics.spread.tolist() == [2.0**0.5, 1.0]
    of_one_row = ColumnStatistics()
    of_one_row.add(torch.tensor([[4.0]]))
    assert of_one_row.std.item() == 0


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
