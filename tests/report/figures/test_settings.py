import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection, PathCollection

from lightning_invert import Variable
from lightning_invert.report.figures import settings, to_image
from lightning_invert.solver.solution import Result
from lightning_invert.variables import Bounds
from tests.report.figures.drawing import words
from tests.report.proposed import calibrated, proposed

X = torch.tensor([[1.0, -4.0], [5.0, 0.0]], dtype=torch.float64)
OTHERS = [[[2.0, -3.0], [torch.nan] * 2], [[7.0, 5.0], [9.0, 1.0]]]


def marks(figure):
    """Of each input, where its alternatives and its setting are along its box."""
    found = [c for c in figure.axes[0].collections if isinstance(c, PathCollection)]
    where = [c.get_offsets()[:, 0].tolist() for c in found]
    return list(zip(where[::2], where[1::2], strict=True))


def bars(figure):
    """The error bars: the lines that are thicker than the boxes."""
    found = [c for c in figure.axes[0].collections if isinstance(c, LineCollection)]
    return [c.get_paths()[0].vertices[:, 0].tolist() for c in found if c.get_linewidth()[0] > 2]


def test_setting_and_alternatives_are_where_they_are_in_the_box():
    found = calibrated(X, others=OTHERS)
    figure = settings(found, row=1)
    first, second = marks(figure)
    np.testing.assert_allclose(first[0], [0.7, 0.9])
    np.testing.assert_allclose(first[1], [0.5])
    np.testing.assert_allclose(second[0], [1.0, 0.6])
    np.testing.assert_allclose(second[1], [0.5])
    assert "trust 0.90 · 2 alternatives" in words(figure)
    assert " ".join(t.get_text() for t in figure.axes[0].texts) == "0 10 -5 5"


def test_an_alternative_that_there_is_none_of_is_not_drawn():
    found = proposed(X, others=OTHERS)
    figure = settings(found)
    np.testing.assert_allclose([one[0] for one in marks(figure)], [[0.2], [0.2]])
    assert "trust not known · 1 alternative " in words(figure)


def test_a_bar_is_the_sensitivity_times_the_tolerance_and_ends_at_the_box():
    sensitivity = torch.tensor([[2.0, 20.0], [1.0, 1.0]])
    figure = settings(proposed(X, sensitivity=sensitivity), tolerance=0.25)
    np.testing.assert_allclose(bars(figure), [[0.05, 0.15], [0.0, 0.6]])


@pytest.mark.parametrize("value", [torch.inf, 1e300])
def test_an_infinite_sensitivity_fills_the_box(value):
    figure = settings(proposed(X, sensitivity=torch.full((2, 2), value, dtype=torch.float64)))
    np.testing.assert_allclose(bars(figure), [[0, 1], [0, 1]])


def test_a_fixed_setting_is_a_square_in_its_own_range_without_a_bar():
    box = torch.tensor([[1.0, -5.0], [5.0, -5.0]]), torch.tensor([[1.0, 5.0], [5.0, 5.0]])
    sensitivity = torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    found = proposed(X[:1], bounds=Bounds(box[0][:1], box[1][:1]), sensitivity=sensitivity[:1])
    figure = settings(found)
    np.testing.assert_allclose([one[1] for one in marks(figure)], [[0.1], [0.1]])
    assert len(bars(figure)) == 1
    chosen = [c for c in figure.axes[0].collections if isinstance(c, PathCollection)][1::2]
    corners = [len(c.get_paths()[0].vertices) for c in chosen]
    assert corners[0] == 5 < corners[1]


def test_an_open_box_without_a_range_reaches_over_what_is_known():
    nameless = (Variable("a"), Variable("b"))
    bounds = Bounds(torch.full((2, 2), -torch.inf), torch.full((2, 2), torch.inf))
    known = torch.tensor([[-1.0, 0.0], [9.0, 6.0]])
    figure = settings(proposed(X, input_variables=nameless, bounds=bounds), known=known)
    np.testing.assert_allclose([one[1] for one in marks(figure)], [[0.2], [0.0]])
    assert " ".join(t.get_text() for t in figure.axes[0].texts) == "-1 9 -4 6"


def test_the_shade_counts_the_known_settings():
    known = torch.tensor([[0.1, 0.0], [0.1, 0.0], [8.0, 0.0], [99.0, torch.nan]])
    shade, _ = settings(proposed(X), known=known).axes[0].patches
    heights = shade.get_data().values - shade.get_data().baseline
    edges = shade.get_data().edges
    (where,) = heights.nonzero()
    assert [edges[i] <= v <= edges[i + 1] for i, v in zip(where, (0.01, 0.8), strict=True)] == [
        True,
        True,
    ]
    assert heights[where[0]] > heights[where[1]]


def test_names_are_drawn_as_they_are_whatever_is_in_them():
    figure = settings(proposed(X))
    assert to_image(figure).std() > 0
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["h2_<injection> [kg/t]", "a$\\frac$ & c"]


def test_a_target_without_a_solution_says_so():
    found = proposed(X * torch.nan, result=torch.full((2,), Result.STUCK))
    assert "not reached no solution" in words(settings(found))


def test_of_many_inputs_the_most_sensitive_are_drawn():
    names = tuple(Variable(f"x{j}", "", 0.0, 1.0) for j in range(30))
    wide = torch.full((1, 30), 0.5)
    sensitivity = torch.linspace(0, 1, 30)[None]
    found = proposed(
        wide, input_variables=names, bounds=Bounds(0 * wide, 2 * wide), sensitivity=sensitivity
    )
    figure = settings(found)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == [f"x{j}" for j in range(6, 30)]
    assert "the 24 of 30 inputs that are the most sensitive" in words(figure)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"row": 2}, "`row` to be a whole number of at least 0 and of at most 1"),
        ({"tolerance": -1.0}, "`tolerance` to be a finite number of at least 0"),
        ({"known": torch.zeros(5, 3)}, r"`known` to be of shape \(K, 2\)"),
    ],
)
def test_names_the_argument_that_is_wrong(options, message):
    with pytest.raises(ValueError, match=message):
        settings(proposed(X), **options)
