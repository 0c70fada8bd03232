import numpy as np
import pytest

from lightning_invert.report.figures.truth import truth
from lightning_invert.watch.observation import Observation
from tests.report.figures.drawing import (
    RNG,
    X,
    findings_of,
    observed,
    places,
    spectra,
    tick_labels,
    words,
)

TRUE = np.array([10.0, 20.0, 200.0, 5000.0, 2e4, 30.0])
REPORTED = np.array([11.0, 200.0, 300.0, 50.0, np.inf, 20.0])
COUNTS = "● 2 of 3 found ✕ 1 missed ▲ 1 false alarm"


def against(inputs=X[:6], reported=REPORTED, true=TRUE):
    return truth(observed(reported, inputs, true=true))


def test_found_missed_and_false_alarms_are_counted_and_told_apart():
    axes = against().axes[0]
    assert COUNTS in words(axes.figure)
    kinds = {"neither": [[10, 11], [30, 20]], "missed": [[5000, 50]], "alarms": [[20, 200]]}
    for kind, expected in kinds.items():
        np.testing.assert_allclose(places(axes, kind), np.log10(expected))
    found = places(axes, "found")
    np.testing.assert_allclose(found[0], np.log10([200, 300]))
    assert found[1, 1] > 5  # ∞ is beyond all numbers
    assert "∞" in tick_labels(axes.yaxis)


def test_the_same_points_are_marked_over_the_inputs_that_explain_the_truth():
    x = RNG.uniform(size=(2000, 5))
    true = 10 ** (3 * x[:, 1] * x[:, 3])
    plane = against(x, 10 ** (3 * x[:, 0]), true).axes[1]
    assert (plane.get_xlabel(), plane.get_ylabel()) == ("x1", "x3")
    missed = (true >= 100) & (10 ** (3 * x[:, 0]) < 100)
    np.testing.assert_allclose(places(plane, "missed"), x[missed][:, [1, 3]])


def test_what_is_not_finite_is_left_out_and_counted():
    text = words(against(reported=np.where(REPORTED == 50, np.nan, REPORTED)))
    assert "5 points · 1 not finite, left out" in text
    assert "2 of 2 found ✕ 0 missed" in text


@pytest.mark.parametrize("inputs", [X[:6, :0], X[:6, :1], np.zeros((6, 1025))])
def test_where_there_is_no_plane_only_the_condition_numbers_are_compared(inputs):
    figure = against(inputs)
    assert len(figure.axes) == 1
    assert COUNTS in words(figure)


def test_another_run_is_not_called_the_truth():
    sigma = spectra(REPORTED)
    findings = findings_of(sigma, spectra(TRUE), name="other run")
    figure = truth(Observation.of(sigma, findings=findings))
    assert figure.axes[0].get_xlabel() == "κ of the other run"
    assert "● 2 in both ✕ 1 there alone ▲ 1 here alone" in words(figure)
