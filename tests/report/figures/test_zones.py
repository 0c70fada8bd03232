import numpy as np
import pytest

from tests.report.figures.drawing import (
    COLLAPSED,
    CONDITION,
    LONG,
    RANK,
    RNG,
    X,
    density,
    fragile_zones,
    medians,
    strip,
    words,
)


def test_fragile_zones_show_where_the_rank_drops():
    panels = fragile_zones(X, CONDITION, RANK, full_rank=4).axes
    wind = strip(panels[6])
    assert wind[-1] == 1
    assert wind[0] == 0
    assert 0.05 < strip(panels[0]).mean() < 0.4


def test_fragile_zones_show_the_distribution_within_each_column():
    for panel in fragile_zones(X, COLLAPSED, RANK, full_rank=4).axes[:7]:
        np.testing.assert_allclose(np.nansum(density(panel), axis=0), 1.0)


def test_fragile_zones_draw_the_median_of_each_column():
    panel = fragile_zones(X[:, 6:], CONDITION, RANK, full_rank=4).axes[0]
    edges = panel.patches[-1].get_data().edges
    index = np.searchsorted(edges[1:-1], X[:, 6], side="right")
    expected = [
        np.quantile(np.log10(CONDITION)[index == i], 0.5, method="higher") for i in range(10)
    ]
    np.testing.assert_allclose(medians(panel), expected)


def test_columns_hold_about_as_many_points_however_the_input_is_distributed():
    x = RNG.normal(size=(256, 1)) ** 3
    edges = fragile_zones(x, CONDITION, RANK, full_rank=4).axes[0].patches[-1].get_data().edges
    counts, _ = np.histogram(x, bins=edges)
    assert counts.sum() == 256
    assert counts.min() >= 24


def test_singular_points_have_a_row_of_their_own():
    panel = fragile_zones(X[:, 6:], COLLAPSED, RANK, full_rank=4).axes[0]
    assert density(panel)[-1, -1] == pytest.approx(1.0)  # the last column is singular throughout
    assert np.isnan(density(panel)[-2]).all()  # nothing is between numbers and ∞
    assert "∞" in [label.get_text() for label in panel.get_yticklabels()]


@pytest.mark.parametrize(("end", "column"), [(0.0, 0), (1.0, -1)])
def test_a_value_that_many_points_share_has_a_column_of_its_own(end, column):
    shared = X[:, :1] < 0.4
    panel = fragile_zones(
        np.where(shared, end, 0.1 + 0.8 * X[:, 1:2]), CONDITION, np.where(shared[:, 0], 3, 4),
        full_rank=4,
    ).axes[0]  # fmt: skip
    columns = strip(panel)[~np.isnan(strip(panel))]  # without the gap
    assert columns[column] == 1
    assert columns.sum() == 1
    assert f"={end:g}" in [label.get_text() for label in panel.get_xticklabels()]


def test_every_level_of_a_discrete_input_has_a_column_of_its_own():
    levels = np.arange(256) % 5
    panel = fragile_zones(
        levels[:, None], CONDITION, np.where(levels == 3, 0, 4), full_rank=4
    ).axes[0]
    np.testing.assert_array_equal(strip(panel), [0, 0, 0, 1, 0])


def test_a_constant_input_is_one_column_at_its_value():
    panel = fragile_zones(np.full((50, 1), 0.1 + 0.2), CONDITION[:50], RANK[:50], full_rank=4)
    assert len(strip(panel.axes[0])) == 1
    assert [label.get_text() for label in panel.axes[0].get_xticklabels()] == ["0.3"]


def test_fragile_zones_of_many_inputs_show_those_that_explain_most():
    inputs = np.concatenate([RNG.uniform(size=(256, 30)), X[:, 6:]], axis=1)
    figure = fragile_zones(inputs, CONDITION, RANK, full_rank=4, max_inputs=5)
    assert len(figure.axes) == 5 + 2
    assert "x30" in [axes.get_xlabel() for axes in figure.axes[:5]]
    assert "the 5 of 31 inputs that explain κ most" in words(figure).replace("\n", " ")


def test_names_and_units_are_on_the_axes():
    names = ["short", *(f"x{j}" for j in range(5)), "hot_blast_temperature [°C]"]
    figure = fragile_zones(X, CONDITION, RANK, full_rank=4, names=names)
    assert figure.axes[0].get_xlabel() == "short"
    assert figure.axes[6].get_xlabel() == "hot_blast_\ntemperature [°C]"


def test_a_name_that_is_cut_keeps_its_unit():
    figure = fragile_zones(X, CONDITION, RANK, full_rank=4, names=LONG)
    assert all(axes.get_xlabel().endswith("… [Nm³/(t·h)]") for axes in figure.axes[:7])
