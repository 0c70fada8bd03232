import math
from dataclasses import replace

import pytest
import torch

from lightning_invert import analyze
from lightning_invert.report.words import report_table, verdict
from lightning_invert.watch.findings.reach import Reachability
from lightning_invert.watch.findings.runs import Runs
from lightning_invert.watch.findings.truth import Truth
from lightning_invert.watch.observation import Observation

GOOD = {
    "full_rank_fraction": 1.0,
    "fragile_fraction": 0.0,
    "moderate_fraction": 0.0,
    "ill_conditioned_fraction": 0.0,
    "singular_fraction": 0.0,
    "unresolved_fraction": 0.0,
    "nonfinite_fraction": 0.0,
    "cond_median": 5.0,
    "cond_p95": 20.0,
    "full_rank_fraction_low": 0.985,
    "full_rank_fraction_high": 1.0,
    "log10_cond_p95_low": 1.2,
    "log10_cond_p95_high": 1.4,
}


def report(shape=(4, 7), **scalars):
    one = Observation.of(torch.ones(256, 4), name="f", shape=shape, condition_limit=1.2e6)
    return replace(one, scalars={**GOOD, **scalars})


@pytest.mark.parametrize(
    ("scalars", "words"),
    [
        (
            {},
            (
                "every output can be adjusted at 100 % of the points (locally right-invertible), "
                "without large changes of the inputs at 100 % (stable; 95th percentile of κ 20)."
            ),
        ),
        (
            {"shape": (7, 4)},
            (
                "every change of the inputs shows in the outputs at 100 % of the points (locally "
                "left-invertible), clearly at 100 % (stable; 95th percentile of κ 20)."
            ),
        ),
        (
            {"shape": (4, 4)},
            "100 % of the points (locally invertible), without large changes of the",
        ),
        (
            {"full_rank_fraction": 0.9, "singular_fraction": 0.1},
            "; at 10 % some change of the outputs is out of reach (rank lost; 95th percentile",
        ),
        (
            {"full_rank_fraction": 0.9, "singular_fraction": 0.02},
            "κ 20; the rank counts σ above 1e-05, singular means σ below 1e-12).",
        ),
        (
            {"ill_conditioned_fraction": 0.04, "singular_fraction": 0.01},
            ", but only by very large changes of the inputs at 5 % (ill-conditioned;",
        ),
        (
            {"moderate_fraction": 0.2, "fragile_fraction": 0.2},
            "changes of the inputs at 80 % (stable;",
        ),
        ({"nonfinite_fraction": 0.5}, "50 % of the points have a NaN"),
    ],
)
def test_verdict_names_the_worst_that_was_found(scalars, words):
    assert words in verdict(report(**scalars))


@pytest.mark.parametrize(
    ("scalars", "cell"),
    [
        ({"cond_p95": math.inf}, "∞"),
        ({"cond_p95": 5e8}, "> 1.2e+06"),  # beyond what float32 can tell
        ({"full_rank_fraction": 0.9999}, "> 99.9 %"),
        ({"singular_fraction": 1e-5}, "< 0.1 %"),
    ],
)
def test_table_claims_no_more_than_is_known(scalars, cell):
    assert cell in report_table([report(**scalars)])


@pytest.mark.parametrize(
    ("value", "low", "high", "cell"),
    [
        (20.0, 1.2, 1.4, "20 [15.8, 25.1]"),
        (20.0, 1.2, 16.0, "20 [> 15.8]"),
        (20.0, 1.2, 7.0, "20 [15.8, > 1.2e+06]"),
        (3e7, 5.0, 7.5, "> 1.2e+06 [1e+05, > 1.2e+06]"),
        (3e7, 5.0, 16.0, "> 1.2e+06 [> 1e+05]"),
        (3e7, 7.484, 7.54, "> 1.2e+06"),
        (3e7, 7.484, 16.0, "> 1.2e+06"),
        (math.inf, 7.484, 16.0, "∞ [> 1.2e+06]"),
        (math.inf, 16.0, 16.0, "∞"),
    ],
)
def test_an_interval_claims_no_more_than_the_number_before_it(value, low, high, cell):
    ends = {"log10_cond_p95_low": low, "log10_cond_p95_high": high}
    row = report_table([report(cond_p95=value, **ends)]).splitlines()[2]
    assert [column.strip() for column in row.split("  ") if column.strip()][5] == cell


@pytest.mark.parametrize(
    ("shape", "side"), [((1, 7), "output"), ((1, 1), "output"), ((7, 1), "input")]
)
def test_a_verdict_says_where_the_condition_number_says_nothing(shape, side):
    words = f"one {side}: κ is 1 by definition"
    assert f"; 95th percentile of κ 20; {words})" in verdict(report(shape))
    singular = {"full_rank_fraction": 0.9, "singular_fraction": 0.1}
    assert f"{words}, or ∞ where the slope is 0)" in verdict(report(shape, **singular))


def test_a_bottleneck_reads_as_one():
    generator = torch.Generator().manual_seed(0)
    down, up = (
        torch.randn(*s, generator=generator, dtype=torch.float64) for s in ((3, 16), (16, 3))
    )
    x = torch.randn(20, 16, generator=generator, dtype=torch.float64)
    words = verdict(analyze(lambda x: (0.1 * x @ down.T).tanh() @ up.T, x))
    assert words.startswith("rank 3 of 16 at every point: a bottleneck. If it is meant")
    assert "maps={'encoder': 'encoder', 'decoder': {'module': 'decoder', 'input': {'map'" in words
    mixed = verdict(analyze(lambda x: (x @ down.T).relu() @ up.T, x))
    assert mixed.startswith("rank at most 3 of 16 at every point: a bottleneck")
    nothing = verdict(analyze(lambda x: 0 * x, x))
    assert nothing == "rank 0 of 16 at every point: the outputs do not depend on the inputs."
    # What is small in its unit is none.
    small = verdict(analyze(lambda x: x * torch.logspace(0, -9, 16), x))
    assert "bottleneck" not in small
    assert "the rank counts σ above 1e-05" in small


def test_table_has_a_line_a_map_in_columns():
    text = report_table([report(), report((7, 4))]).splitlines()
    assert text[1].index("points") == text[2].index("256") == text[3].index("256")
    assert "4 → 7" in text[3]
    assert "physical" in text[4]


def words_of(*findings, sigma):
    return report_table([Observation.of(sigma, name="f", findings=findings)]).splitlines()[4:]


def test_it_is_said_how_true_the_jacobians_are():
    sigma = torch.tensor([[1.0, 1e-1], [1.0, 1e-3], [1.0, 1e-3], [1.0, 1e-1], [1.0, torch.nan]])
    true = torch.tensor([[1.0, 1e-1], [1.0, 1e-3], [1.0, 1e-1], [1.0, 1e-3], [1.0, 1e-3]]).double()
    truth = Truth(torch.full((5,), 0.02), true)
    (words,) = words_of(truth, sigma=sigma.double())
    assert words == (
        "f, truth at 4 of 5 points: Jacobian off by 2 % (median; 95th percentile 2 %); "
        "of 2 truly fragile points (κ ≥ 100) 1 found, 1 false alarm."
    )
    (words,) = words_of(replace(truth, name="other run"), sigma=sigma.double())
    assert words.startswith("f, other run at 4 of 5 points")
    assert words.endswith("fragile points (κ ≥ 100): 1 in both, 1 there alone, 1 here alone.")
    nothing = truth.at(torch.tensor([4]))
    assert words_of(nothing, sigma=sigma[4:]) == ["f, truth: not known at any of the points."]


def test_it_is_said_how_far_runs_spread():
    sigma = torch.tensor([[1.0, 0.1], [1.0, 0.01]]).double()
    runs = Runs(torch.tensor([1.0, 2.0]), torch.tensor([0.1, 0.1]), 3)
    (words,) = words_of(runs, sigma=sigma)
    assert "f, over 3 runs: log10 κ spreads by 0.1 (standard deviation" in words
    words = words_of(runs, Truth(torch.zeros(2), sigma), sigma=sigma)[0]
    assert "truth inside the 90 % error bar at 100 % of the points" in words


def test_it_is_said_how_many_outcomes_are_reached():
    sigma = torch.ones(4, 2)
    near = Reachability(torch.tensor([0.0, 0.011, 0.0099, torch.nan]), steps=10)
    (words,) = words_of(near, sigma=sigma)
    assert words.startswith("f, reach: 66.7 % [20.8, 93.9] of the outcomes are reached from the")
    assert words.endswith("within 10 steps and the bounds.")
    (words,) = words_of(replace(near, steps=1), sigma=sigma)
    assert words.endswith("within 1 step and the bounds.")
    nothing = replace(near, distance=torch.full((4,), torch.nan))
    assert words_of(nothing, sigma=sigma) == ["f, reach: none of the outcomes is finite."]
    assert words_of(sigma=sigma) == []
