import io
import itertools
import re
import subprocess
import sys

import matplotlib
import numpy as np
import pytest

from lightning_invert.report.figures import evolution, to_image, to_png
from tests.report.figures.drawing import (
    COLLAPSED,
    CONDITION,
    LONG,
    RANK,
    RNG,
    ZERO_INFLATED,
    X,
    condition_histogram,
    fragile_zones,
    looks,
    members,
    rank_histogram,
    singular_spectrum,
    truth,
    words,
    worst_points,
    zone_map,
)


def test_points_that_are_not_finite_are_left_out_and_counted():
    condition = np.array([3.0, np.nan, 5.0, np.nan])
    assert "2 points · 2 not finite, left out" in words(condition_histogram(condition))
    inputs = X[:4].copy()
    inputs[0, 0] = np.inf
    figure = fragile_zones(inputs, condition, np.full(4, 4), full_rank=4)
    assert "1 point · 3 not finite, left out" in words(figure)


CASES = {
    "healthy": (X, 5 + 75 * X[:, 0]),
    "collapsed": (X, COLLAPSED),
    "singular": (X, np.full(256, np.inf)),
    "perfect": (X, np.ones(256)),
    "nan": (X, np.full(256, np.nan)),
    "five": (X[:5], CONDITION[:5]),
    "one": (X[:1], CONDITION[:1]),
    "none": (X[:0], CONDITION[:0]),
    "1 input": (X[:, :1], CONDITION),
    "no input": (X[:, :0], CONDITION),
    "40 inputs": (RNG.normal(size=(256, 40)), CONDITION),
    "constant": (np.ones((256, 3)), CONDITION),
    "two values": (np.round(X), CONDITION),
    "zero-inflated": (ZERO_INFLATED, COLLAPSED),
    "both ends": (np.clip(2 * X, 0.5, 1.5), COLLAPSED),
    "one inside": (np.array([[0.0] * 9 + [0.5] + [1.0] * 9]).T, CONDITION[:19]),
    "huge": (1e12 * X, 1e14 * CONDITION),
    "far from zero": (1e6 + X, CONDITION),
    "tiny": (1e-9 * X - 5e-10, CONDITION),
}


def draw_all(inputs, condition, title="", **more):
    rank = np.full(len(condition), 4)
    where = {"full_rank": 4, "title": title, **more}
    finite = np.where(np.isfinite(condition), condition, 1.0)
    sigma = np.geomspace(finite, np.ones(len(condition)), 4, axis=1)
    sigma[~np.isfinite(condition)] = (1.0, 1.0, 0.0, 0.0)
    sigma[np.isnan(condition)] = np.nan
    return (
        rank_histogram(rank, full_rank=4, title=title),
        condition_histogram(condition, limit=1.2e6, title=title),
        singular_spectrum(sigma, limit=1.2e6, title=title),
        fragile_zones(inputs, condition, rank, **where),
        worst_points(inputs, condition, rank, **where),
        evolution(looks(condition), full_rank=4, title=title),
        truth(inputs, condition, rank, **where),
        members(inputs, condition, rank, **where),
        *([zone_map(inputs, condition, rank, **where)] if inputs.shape[1] > 1 else []),
    )


@pytest.mark.parametrize("case", CASES)
def test_every_case_draws_and_says_so_where_there_is_nothing(case):
    figures = draw_all(*CASES[case])
    assert all(to_image(figure).std() > 0 for figure in figures)
    empty = [figure for figure in figures if re.search("no (points|inputs)$", words(figure))]
    assert len(empty) == {"none": 8, "nan": 7, "no input": 2}.get(case, 0)


@pytest.mark.parametrize(
    ("case", "names"),
    [("healthy", LONG), ("collapsed", None), ("singular", None), ("zero-inflated", LONG),
     ("both ends", None), ("huge", None), ("far from zero", None), ("1 input", None)],
)  # fmt: skip
def test_nothing_written_is_clipped_or_runs_into_its_neighbour(case, names):
    for figure in draw_all(*CASES[case], names=names, title="f" * 300):
        to_image(figure)
        inside = figure.bbox.padded(1)
        for axes in figure.axes:
            for axis in (axes.xaxis, axes.yaxis):
                ticks = [label.get_window_extent() for label in axis.get_ticklabels()]
                shown = [axis.label, *axis.get_ticklabels(), *axes.texts, *figure.texts]
                boxes = [text.get_window_extent() for text in shown if text.get_text()]
                assert all(inside.contains(*box.min) and inside.contains(*box.max) for box in boxes)
                assert not any(a.overlaps(b) for a, b in itertools.pairwise(ticks))
        names_drawn = [
            axes.xaxis.label.get_window_extent() for axes in figure.axes if axes.get_xlabel()
        ]
        assert not any(a.overlaps(b) for a, b in itertools.combinations(names_drawn, 2))


def test_a_name_is_drawn_as_it_is_whatever_dollars_are_in_it():
    names = [rf"$\frac{j}$" for j in range(7)]
    for figure in draw_all(X, COLLAPSED, names=names, title=r"a $\unknown$ map"):
        assert to_image(figure).std() > 0


def test_image_and_png_are_the_same_picture():
    figure = rank_histogram(RANK, full_rank=4)
    png = matplotlib.image.imread(io.BytesIO(to_png(figure)))
    image = to_image(figure)
    assert image.dtype == np.uint8
    np.testing.assert_allclose(image / 255, png[..., :3], atol=0.01)


def test_a_user_s_settings_change_nothing():
    expected = [to_png(figure) for figure in draw_all(X, COLLAPSED)]
    exotic = {
        "font.size": 33, "axes.grid": True, "savefig.dpi": 20, "savefig.bbox": "tight",
        "savefig.transparent": True, "figure.constrained_layout.use": True, "text.usetex": True,
        "axes.facecolor": "black", "font.family": "monospace", "image.cmap": "jet",
        "axes.formatter.useoffset": False, "image.origin": "lower",
    }  # fmt: skip
    with matplotlib.rc_context(exotic):
        assert [to_png(figure) for figure in draw_all(X, COLLAPSED)] == expected


def test_drawing_leaves_no_trace():
    code = """
import random, sys
import numpy as np
import torch
import lightning_invert.report.figures as figures
from lightning_invert.watch.observation import Observation
assert "matplotlib" not in sys.modules
import matplotlib
matplotlib.rcParams["font.size"] = 33
settings = matplotlib.rcParams.copy()
before = np.random.get_state()[1].tolist(), random.getstate()
x = torch.as_tensor(np.random.default_rng(0).uniform(size=(50, 3)))
one = Observation.of(x.sort(descending=True).values, inputs=x)
for figure in (*figures.map_figures(one).values(), figures.evolution([], full_rank=2)):
    figures.to_image(figure), figures.to_png(figure)
assert matplotlib.rcParams.copy() == settings
assert before == (np.random.get_state()[1].tolist(), random.getstate())
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=120)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (
            lambda: fragile_zones(X, CONDITION, RANK, full_rank=4, max_inputs=0),
            "`max_inputs` to be a whole number of at least 1",
        ),
        (lambda: zone_map(X[:, :1], CONDITION, RANK, full_rank=4), r"n > 1, but got \(256, 1\)"),
    ],
)
def test_names_the_argument_that_is_wrong(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()
