import io
import itertools
import re
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
import torch

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
ZERO_INFLATED = np.where(X < 0.5, 0.0, X)
COLLAPSED = np.where(X[:, 6] > 0.8, np.inf, CONDITION)
LONG = [f"the_very_long_name_of_input_{j}_measured_at_the_top [Nm³/(t·h)]" for j in range(7)]


def words(figure):
    texts = [*figure.texts, *(t for axes in figure.axes for t in axes.texts)]
    return " ".join(text.get_text() for text in texts)


def bars(figure):
    """Heights of the histogram, which is one artist."""
    (steps,) = (p for p in figure.axes[0].patches if hasattr(p, "get_data"))
    return steps.get_data().values


def density(panel):
    return np.ma.filled(panel.images[1].get_array(), np.nan)


def strip(panel):
    return np.ma.filled(panel.images[2].get_array(), np.nan)[0]


def medians(panel):
    return panel.patches[-1].get_data().values


# The histogram of ranks.


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


# The histogram of condition numbers.


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
    def hatched(condition, resolution):
        figure = condition_histogram(condition, resolution=resolution)
        assert ("unresolved" in words(figure)) == any(p.get_hatch() for p in figure.axes[0].patches)
        return "unresolved" in words(figure)

    assert hatched(CONDITION, 1e3)
    assert not hatched(CONDITION, 1e12)
    assert hatched(np.array([5.0, np.inf]), 1e9)
    assert "κ > 1·10⁶ (25 %)" in words(condition_histogram([1, 2, 3, 1e7], resolution=1e6))


def test_condition_numbers_beyond_1e16_are_drawn_in_the_last_bin():
    heights = bars(condition_histogram(np.array([1e15, 1e200, 1e300, 1e16])))
    assert len(heights) == 4 * 16
    assert heights[-1] == pytest.approx(75)


# The fragile zones.


def test_fragile_zones_show_where_the_rank_drops():
    panels = fragile_zones(X, CONDITION, RANK, full_rank=4).axes
    wind = strip(panels[6])
    assert wind[-1] == 1
    assert wind[0] == 0
    assert 0.05 < strip(panels[0]).mean() < 0.4


def test_fragile_zones_show_the_distribution_within_each_column():
    for panel in fragile_zones(X, COLLAPSED, RANK, full_rank=4).axes[:7]:
        np.testing.assert_allclose(np.nansum(density(panel), axis=0), 1.0)


def test_fragile_zones_draw_the_median_of_each_column():
    panel = fragile_zones(X[:, 6:], CONDITION, RANK, full_rank=4).axes[0]
    edges = panel.patches[-1].get_data().edges
    index = np.searchsorted(edges[1:-1], X[:, 6], side="right")
    expected = [
        np.quantile(np.log10(CONDITION)[index == i], 0.5, method="higher") for i in range(10)
    ]
    np.testing.assert_allclose(medians(panel), expected)


def test_columns_hold_about_as_many_points_however_the_input_is_distributed():
    x = RNG.normal(size=(256, 1)) ** 3
    edges = fragile_zones(x, CONDITION, RANK, full_rank=4).axes[0].patches[-1].get_data().edges
    counts, _ = np.histogram(x, bins=edges)
    assert counts.sum() == 256
    assert counts.min() >= 24


def test_singular_points_have_a_row_of_their_own():
    panel = fragile_zones(X[:, 6:], COLLAPSED, RANK, full_rank=4).axes[0]
    assert density(panel)[-1, -1] == pytest.approx(1.0)  # the last column is singular throughout
    assert np.isnan(density(panel)[-2]).all()  # nothing is between numbers and ∞
    assert "∞" in [label.get_text() for label in panel.get_yticklabels()]


@pytest.mark.parametrize(("end", "column"), [(0.0, 0), (1.0, -1)])
def test_a_value_that_many_points_share_has_a_column_of_its_own(end, column):
    shared = X[:, :1] < 0.4
    panel = fragile_zones(
        np.where(shared, end, 0.1 + 0.8 * X[:, 1:2]), CONDITION, np.where(shared[:, 0], 3, 4),
        full_rank=4,
    ).axes[0]  # fmt: skip
    columns = strip(panel)[~np.isnan(strip(panel))]  # without the gap
    assert columns[column] == 1
    assert columns.sum() == 1
    assert f"={end:g}" in [label.get_text() for label in panel.get_xticklabels()]


def test_every_level_of_a_discrete_input_has_a_column_of_its_own():
    levels = np.arange(256) % 5
    panel = fragile_zones(
        levels[:, None], CONDITION, np.where(levels == 3, 0, 4), full_rank=4
    ).axes[0]
    np.testing.assert_array_equal(strip(panel), [0, 0, 0, 1, 0])


def test_a_constant_input_is_one_column_at_its_value():
    panel = fragile_zones(np.full((50, 1), 0.1 + 0.2), CONDITION[:50], RANK[:50], full_rank=4)
    assert len(strip(panel.axes[0])) == 1
    assert [label.get_text() for label in panel.axes[0].get_xticklabels()] == ["0.3"]


def test_fragile_zones_of_many_inputs_show_those_that_explain_most():
    inputs = np.concatenate([RNG.uniform(size=(256, 30)), X[:, 6:]], axis=1)
    figure = fragile_zones(inputs, CONDITION, RANK, full_rank=4, max_inputs=5)
    assert len(figure.axes) == 5 + 2
    assert "x30" in [axes.get_xlabel() for axes in figure.axes[:5]]
    assert "the 5 of 31 inputs that explain κ most" in words(figure).replace("\n", " ")


def test_names_and_units_are_on_the_axes():
    names = ["short", *(f"x{j}" for j in range(5)), "hot_blast_temperature [°C]"]
    figure = fragile_zones(X, CONDITION, RANK, full_rank=4, names=names)
    assert figure.axes[0].get_xlabel() == "short"
    assert figure.axes[6].get_xlabel() == "hot_blast_\ntemperature [°C]"


def test_a_name_that_is_cut_keeps_its_unit():
    figure = fragile_zones(X, CONDITION, RANK, full_rank=4, names=LONG)
    assert all(axes.get_xlabel().endswith("… [Nm³/(t·h)]") for axes in figure.axes[:7])


def test_points_that_are_not_finite_are_left_out_and_counted():
    condition = np.array([3.0, np.nan, 5.0, np.nan])
    assert "2 points · 2 not finite, left out" in words(condition_histogram(condition))
    inputs = X[:4].copy()
    inputs[0, 0] = np.inf
    figure = fragile_zones(inputs, condition, np.full(4, 4), full_rank=4)
    assert "1 point · 3 not finite, left out" in words(figure)


# All of them.

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


def draw_all(inputs, condition, **more):
    rank = np.full(len(condition), 4)
    return (
        rank_histogram(rank, full_rank=4),
        condition_histogram(condition, resolution=1.2e6),
        fragile_zones(inputs, condition, rank, full_rank=4, **more),
    )


@pytest.mark.parametrize("case", CASES)
def test_every_case_draws_and_says_so_where_there_is_nothing(case):
    figures = draw_all(*CASES[case])
    assert all(to_image(figure).std() > 0 for figure in figures)
    empty = [figure for figure in figures if re.search("no (points|inputs)$", words(figure))]
    assert len(empty) == {"none": 3, "nan": 2, "no input": 1}.get(case, 0)


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


def test_tensors_will_do():
    figure = fragile_zones(
        torch.as_tensor(X), torch.as_tensor(CONDITION), torch.as_tensor(RANK), full_rank=4
    )
    same = fragile_zones(X, CONDITION, RANK, full_rank=4)
    np.testing.assert_array_equal(to_image(figure), to_image(same))


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
    ("draw", "message"),
    [
        (lambda: rank_histogram(np.ones((2, 2)), full_rank=4), r"`rank` .* \(2, 2\)"),
        (lambda: rank_histogram(np.array([1, 5]), full_rank=4), "`rank` to be between 0 and"),
        (lambda: condition_histogram(np.ones((2, 2))), r"`condition` .* \(2, 2\)"),
        (lambda: fragile_zones(X[:3], CONDITION, RANK, full_rank=4), r"\(3, 7\), \(256,\)"),
        (
            lambda: fragile_zones(X, CONDITION, RANK, full_rank=4, names=["a"]),
            "`names` to name 7 inputs, but got 1",
        ),
        (
            lambda: fragile_zones(X, CONDITION, RANK, full_rank=4, max_inputs=0),
            "`max_inputs` to be at least 1",
        ),
    ],
)
def test_names_the_argument_that_is_wrong(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()
