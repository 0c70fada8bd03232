import numpy as np
import pytest

from lightning_invert.report.figures import to_image
from lightning_invert.report.figures.evolution import evolution
from tests.report.figures.drawing import CONDITION, RANK, drawn, looks, observed, words

HEALTHY, DEFICIENT = observed(CONDITION), observed(CONDITION, rank=RANK)


def draw(*observations, epochs=None):
    history = looks(*observations, epochs=epochs)
    return evolution(observations[0], history=history)


def test_areas_are_the_shares_of_the_ranks_and_those_that_occur_are_named():
    figure = draw(DEFICIENT, DEFICIENT)
    heights = {
        name: drawn(figure.axes[0], name).get_paths()[0].get_extents().height
        for name in ("full rank (4)", "rank 3", "rank 2", "rank 1", "rank 0")
    }
    share = 100 * np.mean(RANK == 4)
    assert list(heights.values()) == pytest.approx([share, 100 - share, 0, 0, 0])
    text = words(figure)
    assert "full rank (4)" in text
    assert "rank 3" in text
    assert "rank 2" not in text


def test_the_last_share_of_a_wide_map_stands_for_all_lower_ranks():
    wide = observed(CONDITION, rank=np.where(RANK == 3, 0, 64), full_rank=64)
    assert "rank ≤ 60" in words(draw(wide, wide))


def test_lines_are_the_median_and_the_95th_percentile():
    axes = draw(HEALTHY, observed(CONDITION**2)).axes[1]
    for name, q in (("median", 0.5), ("p95", 0.95)):
        expected = np.quantile(np.log10(CONDITION), q) * np.array([1, 2])
        assert drawn(axes, name).get_ydata() == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize(
    ("epochs", "label", "limits"), [((0, 1), "epoch", (0, 1)), ((3, 3), "step", (9, 19))]
)
def test_the_axis_is_epochs_or_steps_where_an_epoch_was_watched_twice(epochs, label, limits):
    axes = draw(HEALTHY, HEALTHY, epochs=epochs).axes[1]
    assert axes.get_xlabel() == label
    assert axes.get_xlim() == limits


def test_a_change_of_the_number_of_points_is_said():
    assert "2 looks at 50 to 256 points" in words(draw(HEALTHY, observed(CONDITION[:50])))


def test_a_thinned_history_says_so():
    (look,) = looks(HEALTHY)
    figure = evolution(HEALTHY, history=[{**look, "epoch": epoch} for epoch in range(512)])
    assert "512 looks (older ones are thinned out)" in words(figure)
    assert to_image(figure).std() > 0
