import numpy as np
import pytest

from lightning_invert.report.figures import to_image
from tests.report.figures.drawing import RNG, singular_spectrum, words

SIGMA = np.sort(10 ** RNG.uniform(-4, 2, size=(100, 5)))[:, ::-1]


def test_the_line_is_the_median_of_each_singular_value():
    axes = singular_spectrum(SIGMA).axes[0]
    lines = axes.collections[-1].get_segments()
    assert [line[0][1] for line in lines] == pytest.approx(np.median(np.log10(SIGMA), axis=0))


@pytest.mark.parametrize(("options", "threshold"), [({}, 1e-5), ({"rank_rtol": 0.1}, None)])
def test_the_threshold_of_the_rank_is_drawn(options, threshold):
    axes = singular_spectrum(SIGMA, **options).axes[0]
    expected = threshold or 0.1 * np.median(SIGMA[:, 0])
    assert axes.lines[0].get_ydata()[0] == pytest.approx(np.log10(expected))
    assert "counts for the rank above" in words(axes.figure)


def test_what_cannot_be_resolved_is_hatched():
    figure = singular_spectrum(SIGMA, limit=1.2e6)
    (hatched,) = (patch for patch in figure.axes[0].patches if patch.get_hatch())
    assert hatched.get_extents().ymax == pytest.approx(
        figure.axes[0].transData.transform((0, np.log10(np.median(SIGMA[:, 0]) / 1.2e6)))[1]
    )


def test_zero_is_on_the_axis_where_it_occurs():
    def ticks(sigma):
        return [t.get_text() for t in singular_spectrum(sigma).axes[0].get_yticklabels()]

    assert "0" in ticks(np.array([[1.0, 0.0]]))
    assert "0" not in ticks(SIGMA)


@pytest.mark.parametrize("k", [1, 5, 30, 1000])
def test_any_number_of_singular_values_is_drawn(k):
    sigma = np.sort(RNG.uniform(size=(20, k)))[:, ::-1]
    assert to_image(singular_spectrum(sigma)).std() > 0
