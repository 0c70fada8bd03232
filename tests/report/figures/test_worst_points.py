import numpy as np
import pytest

from lightning_invert.report.figures import style
from tests.report.figures.drawing import CONDITION, RANK, X, words, worst_points


def lines(figure, dashed=False):
    """The points drawn in red, as arrays of their positions on the axes."""
    wanted = [
        part
        for part in figure.axes[0].collections
        if np.allclose(part.get_color()[:, :3], _rgb(style.RED))
        and (part.get_linestyle()[0][1] is not None) == dashed
    ]
    return [np.asarray(segment)[:, 1] for part in wanted for segment in part.get_segments()]


def _rgb(colour):
    from matplotlib.colors import to_rgb

    return to_rgb(colour)


def test_the_worst_points_are_red_and_cross_the_axes_at_their_values():
    full = np.full(256, 4)
    drawn = lines(worst_points(X, CONDITION, full, full_rank=4, top=20))
    worst = np.argsort(-CONDITION)[:20]
    position = (X[worst] - X.min(0)) / (X.max(0) - X.min(0))
    assert len(drawn) == 20
    assert np.array([line[:-1] for line in drawn]) == pytest.approx(position)


def test_points_that_are_not_of_full_rank_are_dashed():
    figure = worst_points(X, np.where(RANK == 3, 1e9, CONDITION), RANK, full_rank=4, top=10)
    assert len(lines(figure, dashed=True)) == 10
    assert "dashed: rank < 4" in words(figure)


def test_the_ends_of_an_axis_are_in_the_units_of_the_input():
    text = words(worst_points(1000 * X, CONDITION, RANK, full_rank=4, names=["T [K]"] * 7))
    assert f"{1000 * X[:, 0].max():.3g}" in text


def test_singular_points_meet_at_infinity():
    condition = np.where(X[:, 0] > 0.9, np.inf, CONDITION)
    figure = worst_points(X, condition, RANK, full_rank=4, top=5)
    assert "∞" in words(figure)
    ends = [line[-1] for line in (*lines(figure), *lines(figure, dashed=True))]
    assert ends == pytest.approx([1.0] * 5)


def test_of_many_inputs_those_are_shown_that_explain_most():
    x = np.random.default_rng(3).uniform(size=(256, 40))
    figure = worst_points(x, 10 ** (5 * x[:, 33]), np.full(256, 4), full_rank=4)
    shown = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert "x33" in shown
    assert len(shown) == 11
    assert "the 10 of 40 inputs" in words(figure)
