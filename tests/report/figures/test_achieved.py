import math

import numpy as np
import pytest
import torch

from lightning_invert import Variable
from lightning_invert.report.figures import to_image
from lightning_invert.report.figures.achieved import achieved
from lightning_invert.solver.targets import Targets
from tests.report.figures.drawing import (
    all_drawn,
    assert_nothing_written_is_clipped,
    drawn,
    places,
    words,
)
from tests.report.proposed import proposed, trusted

X = torch.tensor([[1.0, -4.0], [3.0, 0.0], [9.0, 4.0]], dtype=torch.float64)


def points(axes):
    """Where all points of a panel are, in ascending order of what was wanted."""
    marks = np.concatenate([places(axes, "reached"), places(axes, "missed")])
    return marks[marks[:, 0].argsort()]


def lines(axes, name):
    return sorted(np.ravel(line).tolist() for line in places(axes, name))


def test_each_output_is_drawn_over_what_was_wanted_of_it_with_its_error_below():
    outputs = X + torch.tensor([[0.1, 0.0], [-0.2, 0.3], [0.0, 0.0]])
    gas, gas_off, rate, rate_off = achieved(trusted(X, outputs=outputs)).axes[:4]
    for place, (above, below) in enumerate(((gas, gas_off), (rate, rate_off))):
        np.testing.assert_allclose(points(above), np.stack([X[:, place], outputs[:, place]], 1))
        off = outputs[:, place] - X[:, place]
        np.testing.assert_allclose(points(below), np.stack([X[:, place], off], 1), atol=1e-12)


def test_the_bars_are_the_band_about_what_was_wanted():
    below = achieved(trusted(X)).axes[1]
    np.testing.assert_allclose(lines(below, "bands"), [[x, -0.5, x, 0.5] for x in (1, 3, 9)])


def test_without_a_calibration_there_are_neither_bars_nor_colours():
    figure = achieved(proposed(X))
    assert len(figure.axes) == 4
    assert not all_drawn(figure.axes[1], "bands")
    assert "90 %" not in words(figure)


def test_an_interval_is_drawn_from_end_to_end_and_its_point_is_off_by_what_it_misses():
    low, high = X.clone(), X.clone()
    low[0, 0], high[0, 0] = 0.0, 2.0  # holds the outcome 1
    low[1, 0], high[1, 0] = 3.5, math.inf  # misses it by 0.5
    above, below = achieved(trusted(X, targets=Targets(low, high))).axes[:2]
    end = above.get_xlim()[1]
    np.testing.assert_allclose(
        lines(above, "intervals"), [[0.0, 1.0, 2.0, 1.0], [3.5, 3.0, end, 3.0]]
    )
    np.testing.assert_allclose(points(above), [[1, 1], [3.5, 3], [9, 9]])
    np.testing.assert_allclose(points(below)[:, 1], [0, -0.5, 0])


def test_what_is_not_reached_is_crossed_and_counted():
    figure = achieved(trusted(X, result=torch.tensor([0, 1, 0])))
    for axes in figure.axes[:2]:
        assert (len(places(axes, "reached")), len(places(axes, "missed"))) == (2, 1)
    assert "3 targets · 2 reached · ✕: not reached" in words(figure)


def test_an_output_that_is_free_for_all_is_left_out_and_for_some_only_there():
    low, high = X.clone(), X.clone()
    low[:, 0], high[:, 0] = -math.inf, math.inf
    low[0, 1], high[0, 1] = -math.inf, math.inf
    figure = achieved(trusted(X, targets=Targets(low, high)))
    assert [axes.get_title() for axes in figure.axes] == ["rate_{$} [t/d]", "", ""]
    assert len(points(figure.axes[0])) == 2


def test_targets_without_a_solution_are_counted_and_left_out():
    outputs = torch.where(torch.tensor([[True], [False], [True]]), X, torch.nan)
    figure = achieved(trusted(X, outputs=outputs))
    assert len(points(figure.axes[0])) == 2
    assert "1 not finite, left out" in words(figure)
    assert "no solutions" in words(achieved(proposed(X, outputs=X * torch.nan)))


def test_of_many_targets_the_median_band_is_shaded_and_no_more_than_4096_are_drawn():
    many = torch.rand(9000, 2, generator=torch.Generator().manual_seed(0)).double()
    below = achieved(trusted(many)).axes[1]
    extent = drawn(below, "median band").get_extents().transformed(below.transData.inverted())
    np.testing.assert_allclose(extent.intervaly, [-0.5, 0.5])
    assert 2000 < len(points(below)) <= 4096


@pytest.mark.parametrize("outputs", [1, 3, 13])
def test_any_number_of_outputs_is_drawn_and_of_many_the_first_twelve(outputs):
    y = torch.rand(5, outputs).double()
    names = tuple(Variable(f"a_rather_long_name_of_an_outcome_{j}", "t/d") for j in range(outputs))
    wanted = {"outputs": y, "targets": Targets(y, y), "output_variables": names}
    figure = achieved(proposed(torch.zeros(5, 2), **wanted), title="t" * 200)
    assert len(figure.axes) == 2 * min(outputs, 12)
    assert ("the first 12 of 13 outputs" in words(figure)) == (outputs == 13)
    assert_nothing_written_is_clipped(figure)


@pytest.mark.parametrize(
    "x", [[[2.0, 2.0]], [[0.0, 0.0]], [[1.7e9, 1e-9], [1.7e9 + 1, 2e-9]], [[1.0, 1.0], [1.0, 1.0]]]
)
@pytest.mark.parametrize("make", [proposed, trusted])
def test_one_target_and_equal_ones_are_drawn_too(x, make):
    assert to_image(achieved(make(torch.tensor(x).double()))).std() > 0
