import numpy as np
import pytest

from tests.report.figures.drawing import CONDITION, RANK, RNG, X, words, zone_map


def labels(figure):
    return figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()


def test_the_two_inputs_are_those_that_drive_the_condition_number_only_together():
    # Neither alone tells anything: the sign of their product does.
    x = RNG.uniform(-1, 1, size=(400, 6))
    condition = np.where(x[:, 2] * x[:, 4] > 0, 1e6, 10.0)
    figure = zone_map(x, condition, np.full(400, 4), full_rank=4)
    assert labels(figure) == ("x2", "x4")
    assert "the 2 of 6 inputs that explain κ most" in words(figure)


def test_cells_have_the_median_of_their_points():
    x = np.array([[0.0, 0.0], [0.0, 0.1], [1.0, 1.0], [1.0, 0.9]] * 6)
    condition = np.array([10.0, 1000.0, 1e5, 1e5] * 6)
    mesh = zone_map(x, condition, np.full(24, 4), full_rank=4).axes[0].collections[0]
    assert np.ma.filled(mesh.get_array(), np.nan)[0, 0] == pytest.approx(2)
    assert np.ma.filled(mesh.get_array(), np.nan)[-1, -1] == pytest.approx(5)


def test_points_that_are_not_of_full_rank_are_crossed():
    figure = zone_map(X, CONDITION, RANK, full_rank=4)
    crosses = figure.axes[0].collections[-1].get_offsets()
    assert len(crosses) == (RANK == 3).sum()
    assert "rank < 4" in words(figure)


def test_names_and_units_are_on_the_axes():
    names = [f"input {j} [K]" for j in range(7)]
    assert "input 6 [K]" in labels(zone_map(X, 10 ** (6 * X[:, 6]), RANK, full_rank=4, names=names))


def test_many_inputs_are_no_hindrance():
    x = RNG.uniform(size=(300, 500))
    condition = 10 ** (3 * x[:, 123] + x[:, 321])
    figure = zone_map(x, condition, np.full(300, 4), full_rank=4)
    assert labels(figure) == ("x123", "x321")


def test_a_name_that_is_cut_keeps_its_unit():
    names = [f"the_very_long_name_of_a_temperature_at_the_top_number_{j} [°C]" for j in range(7)]
    shown = labels(zone_map(X, CONDITION, RANK, full_rank=4, names=names))
    assert all(label.endswith("… [°C]") for label in shown)
