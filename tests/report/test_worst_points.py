import csv
import io

import torch

from lightning_invert.report.worst_points import to_csv, worst_table
from lightning_invert.watch.observation import Observation

SIGMA = torch.tensor([[4.0, 2.0], [4.0, 1e-3], [4.0, 1e-14], [4.0, 0.0]], dtype=torch.float64)
POINTS = torch.tensor([[0.0, 10.0], [1.0, 11.0], [2.0, 12.0], [3.0, 13.0]])


def seen(names=None, sigma=SIGMA, inputs=POINTS):
    return Observation.of(sigma, inputs=inputs, input_names=names)


def test_the_worst_point_is_first_and_rows_stay_together():
    table = worst_table(seen(["heat [K]", "wind"]), rows=3)
    assert table["input/heat [K]"] == [3.0, 2.0, 1.0]
    assert table["input/wind"] == [13.0, 12.0, 11.0]
    assert table["rank"] == [1, 1, 2]
    assert table["band"] == ["singular", "singular", "moderate"]
    assert table["sigma_2"] == [0.0, 1e-14, 1e-3]


def test_without_inputs_there_is_what_is_known():
    assert list(worst_table(Observation.of(SIGMA))) == [
        "rank", "condition_number", "band", "sigma_1", "sigma_2",
    ]  # fmt: skip


def test_of_many_singular_values_only_the_ends_are_shown():
    sigma = torch.linspace(2, 1, 100).expand(3, -1)
    table = worst_table(Observation.of(sigma))
    assert list(table)[-2:] == ["sigma_max", "sigma_min"]


def test_csv_reads_back_whatever_is_in_a_name():
    names = ['a, "quoted"', "wind [m³/h]"]
    text = to_csv(worst_table(seen(names)))
    header, *rows = csv.reader(io.StringIO(text))
    assert header[:2] == [f"input/{name}" for name in names]
    assert len(rows) == 4
    assert float(rows[0][3]) == float("inf")


def test_points_that_are_not_finite_are_no_points():
    sigma = SIGMA.clone()
    sigma[3] = torch.nan
    assert worst_table(seen(sigma=sigma))["input/x0"] == [2.0, 1.0, 0.0]
