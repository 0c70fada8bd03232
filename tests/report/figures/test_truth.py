import numpy as np
import pytest

from lightning_invert.report import figures
from tests.report.figures.drawing import RNG, X, against, seen, truth, words

TRUE = np.array([10.0, 20.0, 200.0, 5000.0, 2e4, 30.0])
REPORTED = np.array([11.0, 200.0, 300.0, 50.0, np.inf, 20.0])


def counts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def drawn(figure):
    """Points of each kind: neither, found, missed, false alarms."""
    found = [c for c in figure.axes[0].collections if len(c.get_offsets()) and c.get_zorder() == 3]
    return [np.asarray(kind.get_offsets()).tolist() for kind in found]


def test_found_missed_and_false_alarms_are_counted_and_told_apart():
    figure = truth(X[:6], REPORTED, true=TRUE)
    assert counts(figure) == ["2 of 3 found", "1 missed", "1 false alarm"]
    neither, found, missed, alarms = drawn(figure)
    np.testing.assert_allclose(neither, np.log10([[10, 11], [30, 20]]))
    np.testing.assert_allclose(found[0], np.log10([200, 300]))
    np.testing.assert_allclose(missed, [np.log10([5000, 50])])
    np.testing.assert_allclose(alarms, [np.log10([20, 200])])


def test_infinite_condition_numbers_are_beyond_the_others():
    figure = truth(X[:6], REPORTED, true=TRUE)
    *_, last = drawn(figure)[1]
    assert last[1] > 5
    assert "∞" in [label.get_text() for label in figure.axes[0].get_yticklabels()]


def test_the_zones_are_over_the_inputs_that_explain_the_truth_in_the_same_colours_and_limits():
    x = RNG.uniform(size=(20_000, 5))
    figure = truth(x, 10 ** (3 * x[:, 0]), true=10 ** (2 * x[:, 1] * x[:, 3]))
    _, true, reported, _ = figure.axes
    assert (true.get_xlabel(), true.get_ylabel()) == ("x1", "x3")
    assert true.get_xlim() == reported.get_xlim()
    assert true.get_ylim() == reported.get_ylim()
    assert true.collections[0].get_clim() == reported.collections[0].get_clim()


def test_what_is_not_finite_is_left_out_and_counted():
    figure = truth(X[:6], np.where(REPORTED == 50, np.nan, REPORTED), true=TRUE)
    assert "5 points · 1 not finite, left out" in words(figure)
    assert counts(figure)[:2] == ["2 of 2 found", "0 missed"]


@pytest.mark.parametrize("inputs", [X[:6, :0], X[:6, :1], np.zeros((6, 1025))])
def test_where_there_is_no_plane_it_is_shown_how_far_but_not_where(inputs):
    assert len(truth(inputs, REPORTED, true=TRUE).axes) == 1


def test_another_run_is_not_called_the_truth():
    one = against(X[:6], REPORTED, true=TRUE)
    one.__dict__["truth"] = one.truth._replace(name="other run")
    figure = figures.truth(one)
    assert figure.axes[0].get_xlabel() == "κ of the other run"
    assert counts(figure) == ["2 in both", "1 there alone", "1 here alone"]


def test_there_is_no_figure_of_what_is_not_known():
    one = seen(X[:6], REPORTED)
    assert not {"truth", "members"} & set(figures.map_figures(one))
    known = figures.map_figures(against(X[:6], REPORTED, true=TRUE))
    assert {"truth", "members"} <= set(known)
    for draw in (figures.truth, figures.members):
        with pytest.raises(ValueError, match="but there"):
            draw(one)
