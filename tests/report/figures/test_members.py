import numpy as np
import torch

from lightning_invert.report import figures
from tests.report.figures.drawing import X, against, members, words

TRUE = np.array([2.0, 8.0, 30.0, 200.0, 5e3, 2e4])


def test_the_error_bars_are_those_of_the_points():
    one = against(X[:6], np.geomspace(2, 2000, 6), true=TRUE)
    bars = figures.members(one).axes[0].collections[0]
    ends = torch.stack([one.members.mean - one.members.half_width,
                        one.members.mean + one.members.half_width], dim=1)  # fmt: skip
    drawn = np.array([path.vertices[:, 1] for path in bars.get_paths()])
    np.testing.assert_allclose(drawn, ends.clamp(min=0))


def test_what_is_beyond_its_bar_is_marked_and_counted():
    # The spread is 0 at the first point and largest at the last.
    figure = members(X[:6], np.geomspace(2, 2000, 6), true=TRUE)
    inside, beyond = (c.get_offsets() for c in figure.axes[0].collections[-2:])
    assert (len(inside), len(beyond)) == (4, 2)
    assert "inside at 66.7 %" in words(figure)


def test_of_many_points_evenly_spaced_ranks_are_drawn():
    condition = np.geomspace(1, 1e5, 10_000)
    figure = members(np.zeros((10_000, 1)), condition)
    assert len(figure.axes[0].collections[0].get_paths()) == 128
