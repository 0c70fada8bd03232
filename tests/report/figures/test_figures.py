import io
import re
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.text import Text

from lightning_invert.report.figures import drawings, map_figures, to_image, to_png
from tests.report.figures.drawing import (
    COLLAPSED,
    CONDITION,
    LONG,
    RNG,
    X,
    assert_no_neighbours_overlap,
    assert_nothing_written_is_clipped,
    looks,
    observed,
    words,
)

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
    "zero-inflated": (np.where(X < 0.5, 0.0, X), COLLAPSED),
    "both ends": (np.clip(2 * X, 0.5, 1.5), COLLAPSED),
    "one inside": (np.array([[0.0] * 9 + [0.5] + [1.0] * 9]).T, CONDITION[:19]),
    "huge": (1e12 * X, 1e14 * CONDITION),
    "far from zero": (1e6 + X, CONDITION),
    "tiny": (1e-9 * X - 5e-10, CONDITION),
}


def draw(inputs, condition, title="", **options):
    observation = observed(condition, inputs, true=condition, condition_limit=1.2e6, **options)
    return map_figures(observation, history=looks(observation, observation), title=title)


SCRIPTS = ["温度 [°C]", "압력", "圧力", "ความดัน", "दाब", "🔥", "ضغط"]
NAMES = {
    "healthy": LONG, "zero-inflated": LONG, "collapsed": [rf"$\\frac{j}$" for j in range(7)],
    "five": SCRIPTS,
}  # fmt: skip
"""Dollars make no formula, and a letter that no font has no warning."""


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_every_case_is_drawn_whole_and_legible_and_says_so_where_there_is_nothing(case):
    figures = draw(*CASES[case], names=NAMES.get(case), title=r"a $\unknown$ map" + "f" * 300)
    plane = CASES[case][0].shape[1] > 1
    assert figures.keys() == drawings().keys() - (set() if plane else {"zone_map"})
    empty = [f for f in figures.values() if words(f).endswith(("no points", "no inputs"))]
    assert len(empty) == {"none": 8, "nan": 8, "no input": 2}.get(case, 0)
    for figure in figures.values():
        assert_legible(figure)
        assert_nothing_written_is_clipped(figure)
        assert_no_neighbours_overlap([a.xaxis.label for a in figure.axes if a.get_xlabel()])
        for axes in figure.axes:
            assert_no_neighbours_overlap(axes.get_xticklabels())
            assert_no_neighbours_overlap(axes.get_yticklabels())


def assert_legible(figure):
    """In a card of TensorBoard: 350 pixels wide among its images, 215 high among its time series."""
    image = to_image(figure, 350)
    assert image.shape == (215, 350, 3)
    assert image.std() > 0
    sizes = {text.get_text(): text.get_fontsize() for text in figure.findobj(Text)}
    assert {text for text, size in sizes.items() if text and size / 72 * figure.dpi < 9} == set()


def test_of_one_output_no_figure_is_drawn_that_says_nothing():
    one = observed(np.ones(256), X, full_rank=1)
    assert map_figures(one, history=looks(one, one)).keys() == {"singular_spectrum"}
    lost = observed(np.ones(256), X, np.where(X[:, 0] > 0.9, 0, 1), full_rank=1)
    both = "fragile_zones", "evolution"
    assert map_figures(lost, names=both, history=looks(one, lost)).keys() == {*both}
    assert map_figures(one, names=both, history=looks(lost, one)).keys() == {*both}


def test_a_figure_is_drawn_where_it_applies():
    look, two_inputs = observed(CONDITION), X[:, :2]
    always = {"rank_histogram", "condition_histogram", "singular_spectrum"}
    assert map_figures(observed([3.0], np.zeros((1, 1025)))).keys() == always
    where = always | {"fragile_zones", "worst_points"}
    assert map_figures(observed(CONDITION, X[:, :1]), history=looks(look)).keys() == where
    assert map_figures(observed(CONDITION, two_inputs)).keys() == where | {"zone_map"}
    every = map_figures(observed(CONDITION, two_inputs, true=CONDITION), history=looks(look, look))
    assert every.keys() == where | {"zone_map", "truth", "runs", "evolution"}
    assert map_figures(observed(CONDITION, X), names=["zone_map"]).keys() == {"zone_map"}


def test_the_reference_names_every_figure():
    page = Path(__file__).parents[3] / "docs" / "reference" / "figures.md"
    assert drawings().keys() <= {*re.findall(r"`(\w+)`", page.read_text(encoding="utf-8"))}


def test_points_that_are_not_finite_are_left_out_and_counted():
    inputs = X[:4].copy()
    inputs[0, 0] = np.inf
    figures = map_figures(observed([3.0, np.nan, 5.0, np.nan], inputs))
    assert "2 points · 2 not finite, left out" in words(figures["condition_histogram"])
    assert "1 point · 3 not finite, left out" in words(figures["fragile_zones"])


def test_image_and_png_are_the_same_picture():
    (figure,) = map_figures(observed(CONDITION), names=["rank_histogram"]).values()
    image = to_image(figure)
    png = matplotlib.image.imread(io.BytesIO(to_png(image)))
    assert image.dtype == np.uint8
    np.testing.assert_allclose(image / 255, png[..., :3], atol=0.01)


@pytest.mark.slow
def test_a_user_s_settings_change_nothing():
    expected = [to_image(figure).tobytes() for figure in draw(X, COLLAPSED).values()]
    exotic = {
        "font.size": 33, "axes.grid": True, "savefig.dpi": 20, "savefig.bbox": "tight",
        "savefig.transparent": True, "figure.constrained_layout.use": True, "text.usetex": True,
        "axes.facecolor": "black", "font.family": "monospace", "image.cmap": "jet",
        "axes.formatter.useoffset": False, "image.origin": "lower",
    }  # fmt: skip
    with matplotlib.rc_context(exotic):
        assert [to_image(figure).tobytes() for figure in draw(X, COLLAPSED).values()] == expected


@pytest.mark.slow
def test_words_and_drawing_load_and_leave_nothing_that_was_not_asked_for():
    code = """
import random, sys
import numpy as np
import torch
import lightning_invert.report.figures as figures
from lightning_invert.watch.history import record
from lightning_invert.watch.observation import Observation
from tests.report.proposed import trusted
proposal = trusted(torch.zeros(3, 2))
str(proposal), proposal._repr_html_()
assert "matplotlib" not in sys.modules
import matplotlib
matplotlib.rcParams["font.size"] = 33
settings = matplotlib.rcParams.copy()
before = np.random.get_state()[1].tolist(), random.getstate()
x = torch.as_tensor(np.random.default_rng(0).uniform(size=(50, 3)))
observation = Observation.of(x.sort(descending=True).values, inputs=x)
looks = [record(observation, epoch=epoch, step=epoch) for epoch in (0, 1)]
drawn = figures.map_figures(observation, history=looks) | proposal.figures()
assert {"evolution", "achieved"} <= drawn.keys()
for figure in drawn.values():
    figures.to_png(figures.to_image(figure))
assert matplotlib.rcParams.copy() == settings
assert before == (np.random.get_state()[1].tolist(), random.getstate())
assert not {"matplotlib.pyplot", "lightning"} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=120)
