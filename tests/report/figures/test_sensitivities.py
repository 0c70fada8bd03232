import numpy as np
import pytest
import torch

from lightning_invert import Variable
from lightning_invert.report.figures import to_image
from lightning_invert.report.figures.sensitivities import sensitivities
from lightning_invert.report.figures.settings import settings
from lightning_invert.variables import Bounds
from tests.report.figures.drawing import (
    assert_no_neighbours_overlap,
    assert_nothing_written_is_clipped,
    places,
    words,
)
from tests.report.proposed import proposed

LONG = "the_very_long_name_of_an_input_measured_at_the_top"
X = torch.zeros(101, 2, dtype=torch.float64)
S = torch.stack([torch.linspace(0, 10, 101), torch.linspace(1, 2, 101)], 1).double()


def widths(figure):
    return [bar.get_width() for bar in figure.axes[0].patches]


def lines(figure):
    return [line[:, 0].tolist() for line in places(figure.axes[0], "ranges")]


@pytest.mark.parametrize("tolerance", [0.1, 0.4])
def test_a_bar_is_sensitivity_times_tolerance_relative_to_the_box(tolerance):
    figure = sensitivities(proposed(X, sensitivity=S), tolerance=tolerance)
    box = np.array([10.0, 10.0])
    share = 100 * tolerance * S.numpy() / box
    np.testing.assert_allclose(widths(figure), np.median(share, 0))
    np.testing.assert_allclose(lines(figure), np.quantile(share, [0.05, 0.95], axis=0).T)
    assert f"if the target moves by {tolerance:g} standard units" in words(figure)


def test_what_could_not_follow_is_cut_at_the_edge_and_written():
    figure = sensitivities(proposed(X, sensitivity=S.where(S < 5, torch.inf)))
    assert widths(figure)[0] == figure.axes[0].get_xlim()[1] == 120
    assert words(figure).endswith("∞ 1.5 %")
    assert to_image(figure).std() > 0


def test_targets_without_a_solution_are_left_out_and_counted():
    some = S.clone()
    some[1:] = torch.nan
    figure = sensitivities(proposed(X, sensitivity=some))
    np.testing.assert_allclose(widths(figure), [0, 1])
    assert "1 target · 100 not finite, left out" in words(figure)
    assert "no solutions" in words(sensitivities(proposed(X, sensitivity=some * torch.nan)))


def test_what_is_fixed_is_called_so():
    bounds = Bounds(*(torch.tensor([3.0, end]).expand(101, 2) for end in (-5.0, 5.0)))
    figure = sensitivities(proposed(X, sensitivity=S * torch.tensor([0, 1]), bounds=bounds))
    assert words(figure).endswith("fixed 1.5 %")


@pytest.mark.slow
@pytest.mark.parametrize("draw", [sensitivities, settings])
@pytest.mark.parametrize("inputs", [1, 7, 30])
def test_names_of_any_number_of_inputs_are_neither_clipped_nor_run_into_each_other(draw, inputs):
    names = tuple(Variable(f"{LONG}_{j}", "Nm³/(t h)") for j in range(inputs))
    x = torch.zeros(3, inputs)
    proposal = proposed(x, input_variables=names, bounds=Bounds(x, x + 1), sensitivity=x + 0.5)
    figure = draw(proposal, title="t" * 200)
    assert_nothing_written_is_clipped(figure)
    labels = figure.axes[0].get_yticklabels()
    assert len(labels) == min(inputs, 24)
    assert_no_neighbours_overlap(labels)
