import numpy as np
import pytest

from lightning_invert.report.figures import evolution, to_image
from tests.report.figures.drawing import CONDITION, RANK, look, looks, words


def test_areas_are_the_shares_of_the_ranks():
    figure = evolution(looks(CONDITION, rank=RANK), full_rank=4)
    full, lower, *none = figure.axes[0].collections
    share = 100 * np.mean(RANK == 4)
    assert full.get_paths()[0].get_extents().height == pytest.approx(share)
    assert lower.get_paths()[0].get_extents().height == pytest.approx(100 - share)
    assert all(area.get_paths()[0].get_extents().height == 0 for area in none)


def test_only_ranks_that_occur_are_named():
    text = words(evolution(looks(CONDITION, rank=RANK), full_rank=4))
    assert "full rank (4)" in text
    assert "rank 3" in text
    assert "rank 2" not in text


def test_the_last_share_of_a_wide_map_stands_for_all_lower_ranks():
    rank = np.where(RANK == 3, 0, RANK)
    assert "rank ≤ 60" in words(evolution(looks(CONDITION, rank=rank), full_rank=64))


def test_lines_are_the_median_and_the_95th_percentile():
    figure = evolution([look(CONDITION, 0), look(CONDITION**2, 1)], full_rank=4)
    median, high = (line.get_ydata() for line in figure.axes[1].lines)
    assert median == pytest.approx(np.median(np.log10(CONDITION)) * np.array([1, 2]))
    expected = np.quantile(np.log10(CONDITION), 0.95) * np.array([1, 2])
    assert high == pytest.approx(expected)


def test_the_axis_is_epochs_or_steps_where_an_epoch_was_watched_twice():
    assert evolution(looks(CONDITION), full_rank=4).axes[1].get_xlabel() == "epoch"
    twice = [look(CONDITION, 3, step=30), look(CONDITION, 3, step=35)]
    figure = evolution(twice, full_rank=4)
    assert figure.axes[1].get_xlabel() == "step"
    assert figure.axes[1].get_xlim() == (30, 35)


def test_infinite_quantiles_are_drawn_at_infinity():
    figure = evolution(looks(np.full(50, np.inf)), full_rank=4)
    assert "∞" in [label.get_text() for label in figure.axes[1].get_yticklabels()]


def test_a_change_of_the_number_of_points_is_said():
    history = [look(CONDITION, 0), look(CONDITION[:50], 1)]
    assert "2 looks at 50 to 256 points" in words(evolution(history, full_rank=4))


@pytest.mark.parametrize("number", [0, 1, 2, 1000])
def test_any_number_of_looks_is_drawn(number):
    assert to_image(evolution(looks(CONDITION, range(number)), full_rank=4)).std() > 0


def test_a_history_that_was_thinned_out_says_so():
    assert "512 looks (older ones are thinned out) at" in words(
        evolution(looks(CONDITION, range(512)), full_rank=4)
    )
