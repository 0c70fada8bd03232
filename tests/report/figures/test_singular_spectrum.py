import numpy as np
import pytest
import torch

from lightning_invert import Thresholds
from lightning_invert.report.figures import to_image
from lightning_invert.report.figures.singular_spectrum import singular_spectrum
from lightning_invert.watch.observation import Observation
from tests.report.figures.drawing import RNG, drawn, places, tick_labels, words

SIGMA = np.sort(10 ** RNG.uniform(-4, 2, size=(100, 5)))[:, ::-1]


def axes_of(sigma, limit=np.inf, **thresholds):
    sigma = torch.as_tensor(np.array(sigma))
    return singular_spectrum(
        Observation.of(sigma, condition_limit=limit, thresholds=Thresholds(**thresholds))
    ).axes[0]


def test_the_line_is_the_median_of_each_singular_value():
    lines = places(axes_of(SIGMA), "median")
    assert [line[0][1] for line in lines] == pytest.approx(np.median(np.log10(SIGMA), axis=0))


@pytest.mark.parametrize(
    ("thresholds", "expected"), [({}, 1e-5), ({"rank_rtol": 0.1}, 0.1 * np.median(SIGMA[:, 0]))]
)
def test_the_threshold_of_the_rank_is_drawn(thresholds, expected):
    axes = axes_of(SIGMA, **thresholds)
    assert drawn(axes, "threshold").get_ydata()[0] == pytest.approx(np.log10(expected))
    assert "rank threshold" in words(axes.figure)


def test_what_cannot_be_resolved_is_hatched():
    axes = axes_of(SIGMA, limit=1.2e6)
    (hatched,) = (patch for patch in axes.patches if patch.get_hatch())
    top = hatched.get_extents().transformed(axes.transData.inverted()).ymax
    assert top == pytest.approx(np.log10(np.median(SIGMA[:, 0]) / 1.2e6))


@pytest.mark.parametrize(("sigma", "zero"), [([[1.0, 0.0]], True), (SIGMA, False)])
def test_zero_is_on_the_axis_where_it_occurs(sigma, zero):
    assert ("0" in tick_labels(axes_of(sigma).yaxis)) == zero


@pytest.mark.parametrize("k", [1, 5, 30, 1000])
def test_any_number_of_singular_values_is_drawn(k):
    sigma = np.sort(RNG.uniform(size=(20, k)))[:, ::-1]
    assert to_image(axes_of(sigma).figure).std() > 0
