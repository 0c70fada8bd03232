import numpy as np
import pytest
import torch

from lightning_invert.proposals.trade_off import TradeOff
from lightning_invert.report.figures import to_image
from lightning_invert.report.figures.trade_off import trade_off
from tests.report.figures.drawing import drawn, words

WIDTHS = torch.tensor([0.0, 0.1, 0.4])


def draw(cost):
    cost = torch.as_tensor(cost, dtype=torch.float64)
    return trade_off(TradeOff(WIDTHS, cost, torch.zeros(*cost.shape, 2)))


def test_of_one_target_the_cost_is_drawn_over_the_widths():
    figure = draw([[3.0], [2.0], [1.5]])
    (line,) = figure.axes[0].lines
    np.testing.assert_allclose(line.get_xdata(), WIDTHS)
    np.testing.assert_allclose(line.get_ydata(), [3.0, 2.0, 1.5])
    assert figure.axes[0].get_ylabel() == "cost"


def test_of_several_what_the_tolerance_saves_is_drawn_with_its_quantiles():
    rng = np.random.default_rng(0)
    cost = np.cumsum(-rng.uniform(size=(3, 200)), axis=0) + 100 * rng.uniform(size=200)
    figure = draw(cost)
    (line,) = figure.axes[0].lines
    np.testing.assert_allclose(line.get_ydata(), np.median(cost - cost[0], axis=1))
    outer = drawn(figure.axes[0], "90 %").get_paths()[0].vertices
    at_last = outer[np.isclose(outer[:, 0], 0.4), 1]
    np.testing.assert_allclose(
        [at_last.min(), at_last.max()], np.percentile(cost[2] - cost[0], [5, 95])
    )


def test_targets_that_some_width_does_not_reach_are_counted_and_left_out():
    nan = float("nan")
    figure = draw([[3.0, nan, 5.0], [2.0, nan, 4.0], [1.0, 9.0, 2.0]])
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), [0, -1, -2.5])
    assert "3 targets · reached: 2 at 0, 3 at 0.4" in words(figure)


@pytest.mark.parametrize("count", [1, 3])
def test_where_nothing_is_reached_it_says_so(count):
    figure = draw(np.full((3, count), np.nan))
    assert "no target is reached" in words(figure)
    assert to_image(figure).std() > 0


def test_one_target_that_is_reached_by_a_width_is_drawn_from_there():
    figure = draw([[float("nan")], [2.0], [1.0]])
    assert np.isnan(figure.axes[0].lines[0].get_ydata()[0])
    assert to_image(figure).std() > 0
