import numpy as np
import pytest

from lightning_invert.report.figures.fragile_zones import fragile_zones
from tests.report.figures.drawing import (
    COLLAPSED,
    CONDITION,
    LONG,
    RANK,
    RNG,
    X,
    drawn,
    observed,
    tick_labels,
    values,
    words,
)


def panel(inputs, condition=CONDITION, rank=None):
    return fragile_zones(observed(condition, inputs, rank)).axes[0]


def steps(axes):
    return drawn(axes, "median").get_data()


def test_the_strip_shows_where_the_rank_drops():
    panels = fragile_zones(observed(CONDITION, X[:, 3:], RANK)).axes
    wind = values(panels[3], "deficient")[0]
    assert (wind[0], wind[-1]) == (0, 1)
    assert 0.05 < values(panels[0], "deficient").mean() < 0.4


def test_the_map_is_the_distribution_within_each_column():
    for axes in fragile_zones(observed(COLLAPSED, X)).axes:
        np.testing.assert_allclose(np.nansum(values(axes, "density"), axis=0), 1.0)


def test_the_line_is_the_median_of_each_column():
    line = steps(panel(X[:, 6:]))
    index = np.searchsorted(line.edges[1:-1], X[:, 6], side="right")
    log10 = np.log10(CONDITION)
    expected = [np.quantile(log10[index == i], 0.5, method="higher") for i in range(10)]
    np.testing.assert_allclose(line.values, expected)


def test_columns_hold_about_as_many_points_however_the_input_is_distributed():
    x = RNG.normal(size=(256, 1)) ** 3
    counts, _ = np.histogram(x, bins=steps(panel(x)).edges)
    assert counts.sum() == 256
    assert counts.min() >= 24


def test_singular_points_have_a_row_of_their_own():
    axes = panel(X[:, 6:], COLLAPSED)
    density = values(axes, "density")
    assert density[-1, -1] == pytest.approx(1.0)  # the last column is singular throughout
    assert np.isnan(density[-2]).all()  # nothing is between numbers and ∞
    assert "∞" in tick_labels(axes.yaxis)


@pytest.mark.parametrize(("end", "column"), [(0.0, 0), (1.0, -1)])
def test_a_value_that_many_points_share_has_a_column_of_its_own(end, column):
    shared = X[:, :1] < 0.4
    x = np.where(shared, end, 0.1 + 0.8 * X[:, 1:2])
    axes = panel(x, rank=np.where(shared[:, 0], 3, 4))
    strip = values(axes, "deficient")[0]
    strip = strip[~np.isnan(strip)]  # without the gap
    assert (strip[column], strip.sum()) == (1, 1)
    assert f"={end:g}" in tick_labels(axes.xaxis)


def test_every_level_of_a_discrete_input_has_a_column_of_its_own():
    levels = np.arange(256) % 5
    axes = panel(levels[:, None], rank=np.where(levels == 3, 0, 4))
    np.testing.assert_array_equal(values(axes, "deficient"), [[0, 0, 0, 1, 0]])


def test_of_many_inputs_those_are_shown_that_explain_most():
    inputs = np.concatenate([RNG.uniform(size=(256, 30)), X[:, 6:]], axis=1)
    figure = fragile_zones(observed(CONDITION, inputs))
    shown = [axes.get_xlabel() for axes in figure.axes if axes.get_xlabel()]
    assert len(shown) == 4
    assert "x30" in shown
    assert "the 4 of 31 inputs that explain κ most" in words(figure)


@pytest.mark.parametrize(
    ("name", "label"),
    [("short", "short"), ("hot_blast_temperature [°C]", "hot_blast_\ntemperature [°C]"),
     (LONG[0], "the_very_long_\nname_of_input_0_\nmea… [Nm³/(t·h)]")],
)  # fmt: skip
def test_names_are_broken_and_what_is_cut_is_not_the_unit(name, label):
    figure = fragile_zones(observed(CONDITION, X[:, :3], names=[name, *LONG[1:3]]))
    assert figure.axes[0].get_xlabel() == label
