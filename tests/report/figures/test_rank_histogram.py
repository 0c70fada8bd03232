import numpy as np
import pytest

from lightning_invert.report.figures.rank_histogram import rank_histogram
from tests.report.figures.drawing import RANK, observed, tick_labels, words


def histogram(rank, full_rank=4):
    return rank_histogram(observed(np.ones(len(rank)), rank=np.array(rank), full_rank=full_rank))


def heights(figure):
    return [bar.get_height() for bar in figure.axes[0].patches]


def test_a_bar_is_the_share_of_points_at_a_rank():
    assert heights(histogram(RANK)) == pytest.approx([100 * np.mean(r == RANK) for r in range(5)])


def test_the_share_at_full_rank_is_written():
    assert "4 points · 75 % at full rank (4)" in words(histogram([4, 4, 4, 1]))


@pytest.mark.parametrize("full_rank", [1, 4, 15])
def test_every_integer_is_on_the_axis(full_rank):
    axes = histogram([full_rank], full_rank).axes[0]
    assert sorted(axes.get_xticks()) == list(range(full_rank + 1))


def test_lower_ranks_of_a_wide_map_share_a_bar():
    figure = histogram([3, 90, 100, 100], 100)
    shares = heights(figure)
    assert (len(shares), shares[0], shares[20], shares[30]) == (31, 25, 25, 50)
    assert "≤70" in tick_labels(figure.axes[0].xaxis)
