import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from lightning_invert import Variable
from lightning_invert.variables import ColumnStatistics

# Content in the last digits of large numbers, as of a time in seconds.
TABLE = 1.7e9 + torch.rand(
    1000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64
) * torch.tensor([60.0, 5.0, 0.5])


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_statistics_in_pieces_are_numpys_of_the_whole(size):
    found = ColumnStatistics()
    for rows in TABLE.split(size):
        found.add(rows)
    np.testing.assert_allclose(found.mean, TABLE.numpy().mean(0), rtol=1e-14)
    np.testing.assert_allclose(found.std, TABLE.numpy().std(0, ddof=1), rtol=1e-4)
    assert found.count == 1000


def test_processes_add_up_to_the_statistics_of_all_rows():
    parts = [ColumnStatistics() for _ in range(2)]
    for part, rows in zip(parts, TABLE.split(700), strict=True):
        part.add(rows)
    barrier, passed = threading.Barrier(2, timeout=10), [None, None]

    def summed(process):
        def reduce(mine):
            passed[process] = mine
            barrier.wait()
            total = passed[0] + passed[1]
            barrier.wait()
            return total

        return parts[process].summed(reduce)

    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(summed, range(2)):
            assert found.count == 1000
            np.testing.assert_allclose(found.mean, TABLE.numpy().mean(0), rtol=1e-14)
            np.testing.assert_allclose(found.std, TABLE.numpy().std(0, ddof=1), rtol=1e-4)


def test_a_column_that_does_not_vary_has_a_spread_of_one():
    found = ColumnStatistics()
    found.add(torch.tensor([[1.0, 5.0], [3.0, 5.0]]))
    assert found.spread.tolist() == [2.0**0.5, 1.0]
    one = ColumnStatistics()
    one.add(torch.tensor([[4.0]]))
    assert one.std.item() == 0


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
