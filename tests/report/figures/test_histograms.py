import numpy as np
import pytest

from tests.report.figures.drawing import (
    CONDITION,
    RANK,
    bars,
    condition_histogram,
    rank_histogram,
    words,
)


def test_rank_histogram_shows_the_share_of_every_rank():
    heights = [bar.get_height() for bar in rank_histogram(RANK, full_rank=4).axes[0].patches]
    assert heights == pytest.approx([100 * np.mean(r == RANK) for r in range(5)])


def test_rank_histogram_says_how_many_points_and_how_many_at_full_rank():
    found = words(rank_histogram(np.array([4, 4, 4, 1]), full_rank=4, title="f, step 3"))
    assert "f, step 3" in found
    assert "4 points" in found
    assert "75 % at full rank (4)" in found


def test_full_rank_has_a_colour_of_its_own():
    *deficient, full = rank_histogram(RANK, full_rank=4).axes[0].patches
    assert len({bar.get_facecolor() for bar in deficient}) == 1
    assert full.get_facecolor() != deficient[0].get_facecolor()


@pytest.mark.parametrize("full_rank", [1, 4, 15])
def test_every_integer_is_on_the_axis(full_rank):
    axes = rank_histogram(np.array([full_rank]), full_rank=full_rank).axes[0]
    assert sorted(axes.get_xticks()) == list(range(full_rank + 1))


def test_rank_histogram_of_a_wide_map_keeps_every_point_in_its_window():
    axes = rank_histogram(np.array([3, 90, 100, 100]), full_rank=100).axes[0]
    heights = [bar.get_height() for bar in axes.patches]
    assert len(heights) == 31
    assert (heights[0], heights[20], heights[30]) == (25, 25, 50)
    assert "≤70" in [label.get_text() for label in axes.get_xticklabels()]


def test_condition_histogram_shows_the_share_of_every_quarter_decade():
    counts, _ = np.histogram(np.log10(CONDITION), bins=4 * 5, range=(0, 5))
    beyond = np.log10(CONDITION) > 5
    kept = condition_histogram(CONDITION[~beyond])
    np.testing.assert_allclose(bars(kept), 100 * counts / (~beyond).sum())


def test_singular_points_have_a_bar_of_their_own():
    figure = condition_histogram(np.array([5.0, np.inf, np.inf, np.inf]))
    assert bars(figure).sum() == pytest.approx(25)
    assert figure.axes[0].containers[0][0].get_height() == pytest.approx(75)
    assert "singular\n(∞)" in [t.get_text() for t in figure.axes[0].get_xticklabels()]


def test_condition_histogram_gives_the_quantiles_in_words():
    found = words(condition_histogram(np.array([10.0] * 60 + [200.0] * 40), title="f, step 3"))
    assert "median: 10" in found
    assert "95th percentile: 200" in found
    assert "100 points" in found


def test_a_quantile_next_to_infinity_is_infinite():
    assert "median: ∞" in words(condition_histogram(np.array([5.0, 5.0, np.inf, np.inf])))


def test_the_shares_of_the_bands_are_written_in_them_and_add_up():
    condition = np.array([1.0, 99.0, 100.0, 1e4, 1.1e4, np.inf, np.inf, np.inf])
    found = words(condition_histogram(condition))
    for band in ("stable\n25 %", "moderate\n25 %", "ill-conditioned\n12.5 %", "singular\n37.5 %"):
        assert band in found


def test_what_cannot_be_resolved_is_hatched_where_in_view_or_exceeded():
    def hatched(condition, limit):
        figure = condition_histogram(condition, limit=limit)
        assert ("unresolved" in words(figure)) == any(p.get_hatch() for p in figure.axes[0].patches)
        return "unresolved" in words(figure)

    assert hatched(CONDITION, 1e3)
    assert not hatched(CONDITION, 1e12)
    assert hatched(np.array([5.0, np.inf]), 1e9)
    assert "κ > 1·10⁶ (25 %)" in words(condition_histogram([1, 2, 3, 1e7], limit=1e6))


def test_condition_numbers_beyond_1e16_are_drawn_in_the_last_bin():
    heights = bars(condition_histogram(np.array([1e15, 1e200, 1e300, 1e16])))
    assert len(heights) == 4 * 16
    assert heights[-1] == pytest.approx(75)
