import io
import subprocess
import sys

import matplotlib
import numpy as np
import pytest

from lightning_invert.figures import (
    condition_histogram,
    fragile_zones,
    rank_histogram,
    to_image,
    to_png,
)

RNG = np.random.default_rng(0)
X = RNG.uniform(size=(256, 7))
CONDITION = 10 ** (6 * X[:, 6] * RNG.uniform(size=256))
RANK = np.where(X[:, 6] > 0.8, 3, 4)


def heights(figure):
    return [bar.get_height() for bar in figure.axes[0].containers[0]]


def texts(figure):
    axes = figure.axes[0]
    found = [t.get_text() for t in (*axes.texts, *figure.texts)]
    return " ".join(
        [axes.get_title(loc="left"), *found, *(t.get_text() for t in axes.get_xticklabels())]
    )


def test_rank_histogram_shows_the_share_of_every_rank():
    expected = [100 * np.mean(r == RANK) for r in range(5)]
    assert heights(rank_histogram(RANK, full_rank=4)) == pytest.approx(expected)


def test_rank_histogram_of_a_wide_map_keeps_every_point_in_its_window():
    assert sum(heights(rank_histogram(np.array([3, 90, 100, 100]), full_rank=100))) == 100


def test_condition_histogram_shows_the_share_of_every_quarter_decade():
    figure = condition_histogram(CONDITION)
    counts, _ = np.histogram(np.log10(CONDITION), bins=4 * 6, range=(0, 6))
    assert heights(figure) == pytest.approx(list(100 * counts / 256))


def test_condition_histogram_gives_the_quantiles_in_words():
    title = texts(condition_histogram(np.array([10.0] * 60 + [200.0] * 40), title="f, step 3"))
    assert "f, step 3: κ: median 10, 95 % 200 (100 points)" in title


def test_singular_points_have_a_bar_of_their_own():
    figure = condition_histogram(np.array([5.0, np.inf, np.inf, np.inf]))
    assert sum(heights(figure)) == pytest.approx(25)
    assert figure.axes[0].containers[1][0].get_height() == pytest.approx(75)
    assert "∞" in texts(figure)


def test_what_cannot_be_resolved_is_hatched():
    assert "unresolved" in texts(condition_histogram(CONDITION, resolution=1e3))
    assert "unresolved" not in texts(condition_histogram(CONDITION, resolution=1e12))


def test_points_without_a_finite_jacobian_are_left_out_and_counted():
    condition = np.array([3.0, np.nan, 5.0, np.nan])
    assert "2 without a finite Jacobian left out" in texts(condition_histogram(condition))
    figure = fragile_zones(X[:4], condition, np.full(4, 4), full_rank=4)
    assert "2 without a finite Jacobian left out" in texts(figure)


def strip(axes):
    return np.asarray(axes.images[1].get_array())[0]


def test_fragile_zones_show_where_the_rank_drops():
    figure = fragile_zones(X, CONDITION, RANK, full_rank=4)
    wind = strip(figure.axes[6])
    assert wind[-1] == 1
    assert wind[0] == 0
    assert 0.05 < np.mean(strip(figure.axes[0])) < 0.4


def test_fragile_zones_show_the_distribution_within_each_bin():
    figure = fragile_zones(X, CONDITION, RANK, full_rank=4)
    for axes in figure.axes[:7]:
        shares = np.ma.filled(axes.images[0].get_array(), 0.0)
        np.testing.assert_allclose(np.nansum(shares, axis=0), 1.0)


def test_fragile_zones_of_many_inputs_show_those_that_explain_most():
    inputs = np.concatenate([RNG.uniform(size=(256, 30)), X[:, 6:]], axis=1)
    figure = fragile_zones(inputs, CONDITION, RANK, full_rank=4, max_inputs=5)
    labels = [axes.get_xlabel() for axes in figure.axes[:5]]
    assert "x30" in labels
    assert "the 5 of 31 inputs that explain κ most" in texts(figure)


def test_names_and_units_are_on_the_axes():
    names = ["short", *(f"x{j}" for j in range(5)), "hot_blast_temperature [°C]"]
    figure = fragile_zones(X, CONDITION, RANK, full_rank=4, names=names)
    assert figure.axes[0].get_xlabel() == "short"
    assert figure.axes[6].get_xlabel() == "hot_blast_temperature\n[°C]"


ZERO_INFLATED = np.where(X < 0.5, 0.0, X)


@pytest.mark.parametrize(
    ("inputs", "condition"),
    [
        (X, CONDITION),
        (X, np.full(256, np.inf)),
        (X, np.ones(256)),
        (X, np.full(256, np.nan)),
        (X[:5], CONDITION[:5]),
        (X[:1], CONDITION[:1]),
        (X[:0], CONDITION[:0]),
        (X[:, :1], CONDITION),
        (RNG.uniform(size=(256, 40)), CONDITION),
        (np.ones((256, 3)), CONDITION),
        (ZERO_INFLATED, np.where(X[:, 0] < 0.1, np.inf, CONDITION)),
        (1e12 * X, 1e14 * CONDITION),
    ],
    ids=str,
)
def test_every_case_draws(inputs, condition):
    rank = np.full(len(condition), 4)
    for figure in (
        rank_histogram(rank, full_rank=4),
        condition_histogram(condition, resolution=1.2e6),
        fragile_zones(inputs, condition, rank, full_rank=4),
    ):
        assert to_image(figure).std() > 0


def test_image_and_png_are_the_same_picture():
    figure = rank_histogram(RANK, full_rank=4)
    png = matplotlib.image.imread(io.BytesIO(to_png(figure)))
    image = to_image(figure)
    assert image.dtype == np.uint8
    np.testing.assert_allclose(image / 255, png[..., :3], atol=0.01)


def test_drawing_leaves_no_trace():
    code = """
import random, sys
import numpy as np
import lightning_invert.figures as figures
assert "matplotlib" not in sys.modules
import matplotlib
matplotlib.rcParams["font.size"] = 33
settings = matplotlib.rcParams.copy()
before = np.random.get_state()[1].tolist(), random.getstate()
x = np.random.default_rng(0).uniform(size=(50, 3))
for figure in (
    figures.rank_histogram(np.full(50, 2), full_rank=2),
    figures.condition_histogram(1 / x[:, 0]),
    figures.fragile_zones(x, 1 / x[:, 0], np.full(50, 2), full_rank=2),
):
    figures.to_image(figure), figures.to_png(figure)
assert matplotlib.rcParams.copy() == settings
assert before == (np.random.get_state()[1].tolist(), random.getstate())
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=120)


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda: rank_histogram(np.ones((2, 2)), full_rank=4), r"`rank` .* \(2, 2\)"),
        (lambda: condition_histogram(np.ones((2, 2))), r"`condition` .* \(2, 2\)"),
        (lambda: fragile_zones(X[:3], CONDITION, RANK, full_rank=4), r"\(3, 7\), \(256,\)"),
        (
            lambda: fragile_zones(X, CONDITION, RANK, full_rank=4, names=["a"]),
            "`names` to name 7 inputs, but got 1",
        ),
    ],
)
def test_names_the_argument_that_is_wrong(draw, words):
    with pytest.raises(ValueError, match=words):
        draw()
