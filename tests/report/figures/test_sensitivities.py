import itertools

import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection

from lightning_invert import Variable
from lightning_invert.report.figures import sensitivities, settings, to_image
from lightning_invert.variables import Bounds
from tests.report.figures.drawing import words
from tests.report.proposed import proposed

LONG = "the_very_long_name_of_an_input_measured_at_the_top"
X = torch.zeros(101, 2, dtype=torch.float64)
S = torch.stack([torch.linspace(0, 10, 101), torch.linspace(1, 2, 101)], 1).double()


def widths(figure):
    return [bar.get_width() for bar in figure.axes[0].patches]


def lines(figure):
    found = [c for c in figure.axes[0].collections if isinstance(c, LineCollection)]
    return [path.vertices[:, 0].tolist() for c in found for path in c.get_paths()]


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
    assert [t.get_text() for t in figure.axes[0].texts] == ["∞", "1.5 %"]
    assert to_image(figure).std() > 0


def test_targets_without_a_solution_are_left_out_and_counted():
    some = S.clone()
    some[1:] = torch.nan
    figure = sensitivities(proposed(X, sensitivity=some))
    np.testing.assert_allclose(widths(figure), [0, 1])
    assert "1 target · 100 not finite, left out" in words(figure)
    assert "no solutions" in words(sensitivities(proposed(X, sensitivity=some * torch.nan)))


def test_what_is_fixed_is_called_so():
    low = torch.tensor([3.0, -5.0]).expand(101, 2)
    high = torch.tensor([3.0, 5.0]).expand(101, 2)
    figure = sensitivities(
        proposed(X, sensitivity=S * torch.tensor([0, 1]), bounds=Bounds(low, high))
    )
    assert [t.get_text() for t in figure.axes[0].texts] == ["fixed", "1.5 %"]


@pytest.mark.parametrize("draw", [sensitivities, settings])
def test_long_names_do_not_run_into_each_other(draw):
    names = tuple(Variable(f"{LONG}_{j}", "Nm³/(t h)") for j in range(7))
    x = torch.zeros(3, 7)
    figure = draw(proposed(x, input_variables=names, bounds=Bounds(x, x + 1), sensitivity=x))
    to_image(figure)
    inside = figure.bbox.padded(1)
    boxes = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    assert not any(a.overlaps(b) for a, b in itertools.pairwise(boxes))
    assert all(inside.contains(*box.min) and inside.contains(*box.max) for box in boxes)


@pytest.mark.parametrize("inputs", [1, 30])
def test_any_number_of_inputs_is_drawn_and_nothing_is_clipped(inputs):
    names = tuple(Variable(f"the_long_name_of_an_input_{j}", "Nm³/(t h)") for j in range(inputs))
    x = torch.zeros(3, inputs)
    found = proposed(x, input_variables=names, bounds=Bounds(x, x + 1), sensitivity=x + 0.5)
    figure = sensitivities(found, title="t" * 200)
    assert len(widths(figure)) == min(inputs, 24)
    to_image(figure)
    inside = figure.bbox.padded(1)
    texts = [*figure.axes[0].get_yticklabels(), *figure.axes[0].texts, figure.axes[0].xaxis.label]
    for text in (*texts, *figure.texts):
        box = text.get_window_extent()
        assert inside.contains(*box.min)
        assert inside.contains(*box.max)
