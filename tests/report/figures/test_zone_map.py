import numpy as np
import pytest

from lightning_invert.report.figures.zone_map import zone_map
from tests.report.figures.drawing import CONDITION, RANK, RNG, X, observed, places, values, words


def labels(figure):
    return figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()


def test_the_two_inputs_are_those_that_explain_the_condition_number_only_together():
    # Neither alone tells anything: the sign of their product does.
    x = RNG.uniform(-1, 1, size=(400, 6))
    figure = zone_map(observed(np.where(x[:, 2] * x[:, 4] > 0, 1e6, 10.0), x))
    assert labels(figure) == ("x2", "x4")
    assert "the 2 of 6 inputs that explain κ most" in words(figure)


def test_of_hundreds_of_inputs_the_two_are_found():
    x = RNG.uniform(size=(300, 500))
    assert labels(zone_map(observed(10 ** (3 * x[:, 123] + x[:, 321]), x))) == ("x123", "x321")


def test_cells_have_the_median_of_their_points():
    x = np.array([[0.0, 0.0], [0.0, 0.1], [1.0, 1.0], [1.0, 0.9]] * 6)
    axes = zone_map(observed([10.0, 1000.0, 1e5, 1e5] * 6, x)).axes[0]
    medians = values(axes, "medians")
    assert (medians[0, 0], medians[-1, -1]) == pytest.approx((2, 5))


def test_points_that_are_not_of_full_rank_are_crossed():
    figure = zone_map(observed(CONDITION, X, RANK))
    assert len(places(figure.axes[0], "deficient")) == (RANK == 3).sum()
    assert "rank < 4" in words(figure)


@pytest.mark.parametrize("name", ["T [°C]", "the_very_long_name_of_a_temperature_at_the_top [°C]"])
def test_units_are_on_the_axes(name):
    assert all(
        label.endswith(" [°C]")
        for label in labels(zone_map(observed(CONDITION, X, names=7 * [name])))
    )
