import numpy as np
import pytest
import torch

from lightning_invert import Variable
from lightning_invert.report.figures import to_image
from lightning_invert.report.figures.settings import settings
from lightning_invert.solver.solution import Result
from lightning_invert.variables import Bounds
from tests.report.figures.drawing import all_drawn, tick_labels, words
from tests.report.proposed import proposed, trusted

X = torch.tensor([[1.0, -4.0], [5.0, 0.0]], dtype=torch.float64)
OTHERS = [[[2.0, -3.0], [torch.nan] * 2], [[7.0, 5.0], [9.0, 1.0]]]


def marks(figure, name):
    return [mark.get_offsets()[:, 0].tolist() for mark in all_drawn(figure.axes[0], name)]


def bars(figure):
    return [bar.get_segments()[0][:, 0].tolist() for bar in all_drawn(figure.axes[0], "bar")]


@pytest.mark.parametrize(
    ("row", "others", "chosen", "fact"),
    [
        (0, [[0.2], [0.2]], [[0.1], [0.1]], "here: trust 0.10"),
        (1, [[0.7, 0.9], [1.0, 0.6]], [[0.5], [0.5]], "there: trust 0.90"),
    ],
)
def test_setting_and_alternatives_are_where_they_are_in_the_bounds(row, others, chosen, fact):
    figure = settings(trusted(X, others=OTHERS), rows=[row], row_names=["here", "there"])
    for name, expected in (("alternatives", others), ("chosen", chosen)):
        for drawn, places in zip(marks(figure, name), expected, strict=True):
            np.testing.assert_allclose(drawn, places)
    assert fact in words(figure)
    assert words(figure).endswith("0 10 -5 5")


def test_a_bar_is_the_sensitivity_times_the_tolerance_and_ends_at_the_box():
    sensitivity = torch.tensor([[2.0, 20.0], [1.0, 1.0]])
    figure = settings(proposed(X, sensitivity=sensitivity), tolerance=0.25)
    np.testing.assert_allclose(bars(figure), [[0.05, 0.15], [0.0, 0.6]])


@pytest.mark.parametrize("value", [torch.inf, 1e300])
def test_an_infinite_sensitivity_fills_the_box(value):
    figure = settings(proposed(X, sensitivity=torch.full((2, 2), value, dtype=torch.float64)))
    np.testing.assert_allclose(bars(figure), [[0, 1], [0, 1]])


def test_a_fixed_setting_is_in_its_own_range_without_a_bar():
    bounds = Bounds(torch.tensor([[1.0, -5.0]]), torch.tensor([[1.0, 5.0]]))
    figure = settings(proposed(X[:1], bounds=bounds, sensitivity=torch.tensor([[0.0, 1.0]])))
    np.testing.assert_allclose(marks(figure, "chosen"), [[0.1], [0.1]])
    assert len(bars(figure)) == 1


def test_an_open_box_without_a_range_reaches_over_what_is_known():
    nameless = (Variable("a"), Variable("b"))
    bounds = Bounds(torch.full((2, 2), -torch.inf), torch.full((2, 2), torch.inf))
    known = torch.tensor([[-1.0, 0.0], [9.0, 6.0]])
    figure = settings(proposed(X, input_variables=nameless, bounds=bounds), known=known)
    np.testing.assert_allclose(marks(figure, "chosen"), [[0.2], [0.0]])
    assert words(figure).endswith("-1 9 -4 6")


def test_the_shade_counts_the_known_settings():
    known = torch.tensor([[0.1, 0.0], [0.1, 0.0], [8.0, 0.0], [99.0, torch.nan]])
    shade = all_drawn(settings(proposed(X), known=known).axes[0], "known")[0]
    heights = shade.get_data().values - shade.get_data().baseline
    counts, _ = np.histogram([0.01, 0.01, 0.8], bins=shade.get_data().edges)
    np.testing.assert_array_equal(heights > 0, counts > 0)
    assert heights[counts == 2] > heights[counts == 1]


def test_names_are_drawn_as_they_are_whatever_is_in_them():
    figure = settings(proposed(X))
    assert to_image(figure).std() > 0
    assert tick_labels(figure.axes[0].yaxis) == ["h2_<injection> [kg/t]", "a$\\frac$ & c"]


def test_a_target_without_a_solution_says_so():
    found = proposed(X * torch.nan, result=torch.full((2,), Result.STUCK))
    assert "target 2: trust not known, not reached no solution" in words(settings(found))


def test_of_many_inputs_the_most_sensitive_are_drawn():
    names = tuple(Variable(f"x{j}", "", 0.0, 1.0) for j in range(30))
    wide = torch.full((1, 30), 0.5)
    columns = {"bounds": Bounds(0 * wide, 2 * wide), "sensitivity": torch.linspace(0, 1, 30)[None]}
    figure = settings(proposed(wide, input_variables=names, **columns))
    assert tick_labels(figure.axes[0].yaxis) == [f"x{j}" for j in range(6, 30)]
    assert "the 24 of 30 inputs that are the most sensitive" in words(figure)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": [2]}, "`rows` to be a whole number of at least 0 and of at most 1"),
        ({"tolerance": -1.0}, "`tolerance` to be a finite number of at least 0"),
        ({"known": torch.zeros(5, 3)}, r"`known` to be of shape \(K, 2\)"),
    ],
)
def test_names_the_argument_that_is_wrong(options, message):
    with pytest.raises(ValueError, match=message):
        settings(proposed(X), **options)


@pytest.mark.parametrize(("count", "drawn"), [(1, 1), (5, 5), (30, 12)])
def test_each_target_has_a_panel_up_to_twelve(count, drawn):
    points = torch.linspace(1, 4, 2 * count).reshape(count, 2).double()
    figure = settings(proposed(points))
    assert len(figure.axes) == drawn
    titles = [axes.texts[0].get_text().partition(":")[0] for axes in figure.axes]
    assert titles == [f"target {number + 1}" for number in range(drawn)]
    for axes, x in zip(figure.axes, points[:, 0], strict=False):
        assert all_drawn(axes, "chosen")[0].get_offsets()[0, 0] == pytest.approx(float(x) / 10)
    assert ("12 of 30 targets" in words(figure)) == (count == 30)
