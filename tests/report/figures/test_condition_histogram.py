import numpy as np
import pytest

from lightning_invert.report.figures.condition_histogram import condition_histogram
from tests.report.figures.drawing import CONDITION, drawn, observed, tick_labels, words


def histogram(condition, limit=np.inf):
    return condition_histogram(observed(condition, condition_limit=limit))


def shares(figure):
    return drawn(figure.axes[0], "shares").get_data().values


def test_a_bar_is_the_share_of_a_quarter_decade():
    kept = CONDITION[np.log10(CONDITION) < 5]
    counts, _ = np.histogram(np.log10(kept), bins=4 * 5, range=(0, 5))
    np.testing.assert_allclose(shares(histogram(kept)), 100 * counts / len(kept))


def test_singular_points_have_a_bar_of_their_own():
    figure = histogram([5.0, np.inf, np.inf, np.inf])
    assert shares(figure).sum() == pytest.approx(25)
    assert drawn(figure.axes[0], "singular").get_height() == pytest.approx(75)
    assert "singular\n(∞)" in tick_labels(figure.axes[0].xaxis)


@pytest.mark.parametrize(
    ("condition", "median", "p95"),
    [([10.0] * 60 + [200.0] * 40, "10", "200"), ([5.0, 5.0, np.inf, np.inf], "∞", "∞")],
)
def test_the_quantiles_are_written(condition, median, p95):
    text = words(histogram(condition))
    assert f"median: {median} 95th percentile: {p95}" in text


def test_the_shares_of_the_bands_are_written_in_them_and_add_up():
    text = words(histogram([1.0, 99.0, 100.0, 1e4, 1.1e4, np.inf, np.inf, np.inf]))
    for band in ("stable 25 %", "moderate 25 %", "ill-conditioned 12.5 %", "singular 37.5 %"):
        assert band in text


@pytest.mark.parametrize(
    ("condition", "limit", "hatched"),
    [(CONDITION, 1e3, True), (CONDITION, 1e12, False), ([5.0, np.inf], 1e9, True),
     ([1, 2, 3, 1e7], 1e6, True)],
)  # fmt: skip
def test_what_cannot_be_resolved_is_hatched_where_in_view_or_exceeded(condition, limit, hatched):
    figure = histogram(condition, limit)
    assert ("unresolved" in words(figure)) == hatched
    assert any(patch.get_hatch() for patch in figure.axes[0].patches) == hatched
    assert limit != 1e6 or "κ > 1·10⁶ (25 %)" in words(figure)
