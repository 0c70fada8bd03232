import numpy as np
import pytest

from lightning_invert.report.figures.worst_points import worst_points
from tests.report.figures.drawing import CONDITION, RANK, X, observed, places, tick_labels, words


def lines(figure, name="worst"):
    return np.array([np.asarray(segment)[:, 0] for segment in places(figure.axes[0], name)])


def test_the_worst_points_cross_the_axes_at_their_values():
    crossings = lines(worst_points(observed(CONDITION, X)))
    worst = np.argsort(-CONDITION)[:20]
    expected = (X[worst] - X.min(0)) / (X.max(0) - X.min(0))
    assert crossings[:, :-1] == pytest.approx(expected)


def test_points_that_are_not_of_full_rank_are_dashed():
    condition = np.where(RANK == 3, 1e9, CONDITION)
    figure = worst_points(observed(condition, X, RANK))
    assert len(lines(figure, "worst deficient")) == 20
    assert "dashed: rank < 4" in words(figure)


def test_the_ends_of_an_axis_are_in_the_units_of_the_input():
    figure = worst_points(observed(CONDITION, 1000 * X, names=["T [K]"] * 7))
    assert f"{1000 * X[:, 0].max():.3g}" in words(figure)


def test_singular_points_meet_at_infinity():
    figure = worst_points(observed(np.where(X[:, 0] > 0.9, np.inf, CONDITION), X))
    assert "∞" in tick_labels(figure.axes[0].xaxis)
    assert lines(figure)[:, -1] == pytest.approx([1.0] * 20)


def test_of_many_inputs_those_are_shown_that_explain_most():
    x = np.random.default_rng(3).uniform(size=(256, 40))
    figure = worst_points(observed(10 ** (5 * x[:, 33]), x))
    shown = tick_labels(figure.axes[0].yaxis)
    assert "x33" in shown
    assert len(shown) == 9
    assert "the 8 of 40 inputs" in words(figure)
