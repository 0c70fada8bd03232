import numpy as np
import pytest

from lightning_invert.report.figures.runs import runs
from tests.report.figures.drawing import observed, places, words

CONDITION = np.geomspace(2, 2000, 6)
TRUE = np.array([2.0, 8.0, 30.0, 200.0, 5e3, 2e4])


def test_the_error_bars_are_those_of_the_points():
    observation = observed(CONDITION, true=TRUE)
    found = observation.findings["runs"]
    ends = np.stack([found.mean - found.half_width, found.mean + found.half_width], axis=1)
    bars = [bar[:, 1] for bar in places(runs(observation).axes[0], "bars")]
    np.testing.assert_allclose(bars, ends.clip(min=0))


def test_what_is_beyond_its_bar_is_marked_and_counted():
    # The spread is 0 at the first point and largest at the last.
    figure = runs(observed(CONDITION, true=TRUE))
    marks = [len(places(figure.axes[0], name)) for name in ("inside", "beyond")]
    assert marks == [4, 2]
    assert "inside at 66.7 %" in words(figure)


@pytest.mark.parametrize(("count", "bars"), [(100, 100), (10_000, 128)])
def test_of_many_points_evenly_spaced_ranks_are_drawn(count, bars):
    condition = np.geomspace(1, 1e5, count)
    figure = runs(observed(condition, true=condition))
    assert len(places(figure.axes[0], "bars")) == bars
