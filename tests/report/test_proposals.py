import math
import re
from dataclasses import replace

import matplotlib.image
import numpy as np
import pytest
import torch

from lightning_invert import Variable
from lightning_invert.report.figures import to_image
from lightning_invert.solver.solution import Result
from lightning_invert.solver.targets import Targets
from tests.report.pages import Tree
from tests.report.proposed import proposed, trusted

X = torch.tensor([[1.0, -4.0], [3.0, 0.0], [9.0, 4.0]], dtype=torch.float64)


def columns(proposal):
    """Return the table's columns: names, and a target each."""
    return [list(column) for column in zip(*Tree(proposal._repr_html_()).rows, strict=True)]


def test_the_summary_counts_what_was_found_and_what_speaks_against_it():
    found = trusted(
        torch.zeros(20, 2),
        result=torch.tensor([0] * 17 + [Result.AT_BOUNDS, Result.OUT_OF_STEPS, Result.AT_BOUNDS]),
        residual=torch.where(torch.arange(20) < 17, 0.0, torch.arange(20) / 10).double(),
        trust=torch.linspace(0, 0.96, 20).double(),
        far=torch.arange(20) > 17,
        doubtful=torch.arange(20) == 3,
        at_bound=torch.eye(20, dtype=torch.bool)[:, :2],
        cost=torch.arange(20.0).double(),
        condition=torch.full((20,), 2e4).double(),
        others=torch.where(torch.arange(20)[:, None, None] < 4, torch.zeros(20, 1, 2), torch.nan),
    )
    assert str(found).splitlines() == [
        "Not certified: 4 of 20 (3 not reached, 2 far from the known settings, 1 where the surrogate errs most).",
        "20 targets: 17 reached; the others missed by 1.8 standard units, median.",
        "Not reached: 2 stopped at the bounds; 1 out of steps.",
        "Cost of those that are reached: median 8.",
        "Alternatives: 4, of 4 targets.",
        "Band: both outcomes lie inside nine times out of ten.",
        "Trust: median 0.45, below 0.5 at 10.",
        (
            "To look at: 2 at the bounds, 2 far from the known settings, "
            "1 where the surrogate errs most, 20 ill-conditioned."
        ),
    ]


@pytest.mark.parametrize(
    ("count", "known", "line"),
    [
        (3, {}, "Certified: all 3 reached, with settings like those that the bands were tested on."),
        (1, {}, "Certified: reached, with settings like those that the bands were tested on."),
        (1, {"far": torch.tensor([True])}, "Not certified: far from the known settings."),
        (1, {"result": torch.tensor([4]), "doubtful": torch.tensor([True])},
         "Not certified: not reached, where the surrogate errs most."),
        (3, {"doubtful": torch.tensor([True, False, False])},
         "Not certified: 1 of 3 (1 where the surrogate errs most)."),
    ],
)  # fmt: skip
def test_what_is_not_certified_comes_first(count, known, line):
    found = trusted(X[:count], **known)
    assert str(found).splitlines()[0] == line
    assert Tree(found._repr_html_()).text.strip().startswith(line)
    assert next(iter(found.columns())) == "certified"


@pytest.mark.parametrize(
    ("names", "coverage", "joint", "rows", "words"),
    [
        (["a"], 0.9, True, 200, "the outcome lies inside nine times out of ten"),
        (["a"], 0.9, False, None, "the outcome lies inside nine times out of ten"),
        (["a", "b"], 0.8, True, 4096, "both outcomes lie inside eight times out of ten"),
        (["a", "b"], 0.8, False, 200, "each outcome by itself lies inside eight times out of ten"),
        (
            list("abcd"),
            0.9,
            True,
            199,
            "all four outcomes lie inside nine times out of ten, as far as 199 validation rows tell",
        ),
        ([*"abcdefghijklm"], 0.95, True, None, "all 13 outcomes lie inside in 95 % of the cases"),
        (list("abc"), 0.999, True, None, "all three outcomes lie inside in 99.9 % of the cases"),
        (list("abc"), 0.1, True, None, "all three outcomes lie inside in 10 % of the cases"),
    ],
)
def test_a_band_says_what_it_holds(names, coverage, joint, rows, words):
    variables = tuple(map(Variable, names))
    found = trusted(
        X, output_variables=variables, coverage=coverage, joint=joint, num_validation_rows=rows
    )
    assert found.band_words == words
    assert f"Band: {words}." in str(found).splitlines()


@pytest.mark.parametrize(
    ("known", "lines"),
    [
        ({}, ["3 targets: 3 reached."]),
        ({"result": torch.tensor([0, 0, 4]), "residual": torch.tensor([0, 0, 0.5])},
         ["3 targets: 2 reached; the other missed by 0.5 standard units.",
          "Not reached: 1 stuck: no step leads nearer, as at a turning point."]),
        ({"result": torch.full((3,), 5), "residual": torch.full((3,), math.inf)},
         ["3 targets: 0 reached.", "Not reached: 3 not finite."]),
        ({"result": torch.full((3,), 2), "residual": torch.full((3,), 0.5),
          "others": torch.tensor([0.0, torch.nan, torch.nan])[:, None, None].expand(3, 1, 2)},
         ["3 targets: 0 reached; missed by 0.5 standard units, median.",
          f"Not reached: 3 {Result(2).words}.", "Alternatives: 1, of 1 target."]),
    ],
)  # fmt: skip
def test_the_summary_tells_why_targets_are_not_reached(known, lines):
    assert str(proposed(X, **known)).splitlines() == [
        "Not certified: no bands, because fewer than 30 validation points are known.",
        *lines,
    ]


def test_a_target_without_a_solution_is_described_too():
    lacking = trusted(torch.full((2, 2), torch.nan), trust=torch.tensor([torch.nan, 0.3]))
    assert "Trust: median 0.30, below 0.5 at 1." in str(lacking)
    assert "–" in columns(lacking)[1]


def test_the_table_has_units_band_target_trust_and_flags():
    low, high = X.clone(), X.clone()
    low[0, 0], high[0, 0] = 0.0, 2.5
    low[0, 1], high[0, 1] = -math.inf, math.inf
    low[1, 0], high[2, 0] = -math.inf, math.inf
    found = trusted(X, targets=Targets(low, high), at_bound=torch.eye(3, 2, dtype=torch.bool))
    head, *rows = columns(found)
    assert head == [
        "target", "flags", "trust", "h2_<injection> [kg/t]", "a$\\frac$ & c", "gas [°C]", "rate_{$} [t/d]",
    ]  # fmt: skip
    assert rows[0] == [
        "1", "at the bounds", "0.10", "1", "-4", "1\xa0±\xa00.50 to 2.5", "-4\xa0±\xa00.5free",
    ]  # fmt: skip
    assert [row[5].partition("0.5")[2] for row in rows[1:]] == ["at most 3", "at least 9"]
    assert rows[2][6].endswith("target 4")


def test_without_a_calibration_there_is_no_band_and_with_a_cost_there_is_one():
    head, row, *_ = columns(proposed(X, cost=torch.ones(3)))
    assert head[:3] == ["target", "flags", "cost"]
    assert "±" not in "".join(row)
    assert row[:3] == ["1", "", "1"]


def test_of_many_the_first_ten_are_shown():
    many = trusted(torch.zeros(1000, 2))
    assert len(columns(many)) == 11
    assert "The first 10 of 1000." in many._repr_html_()


def test_names_cannot_put_anything_into_the_page():
    names = (Variable('<script>alert("1")</script>', "<b>"), Variable("<img src=x>"))
    tree = Tree(proposed(X, input_variables=names, output_variables=names)._repr_html_())
    assert not tree.tags & {"script", "img", "b"}
    assert tree.rows[2][0] == '<script>alert("1")</script> [<b>]'


def test_the_figures_are_saved_whole_and_replace_what_was_there(tmp_path):
    found = trusted(X, others=X[:, None] * torch.nan)
    (tmp_path / "achieved.png").write_text("old")
    files = found.save_figures(tmp_path, known=torch.rand(50, 2))
    assert [file.name for file in files] == ["achieved.png", "settings.png", "sensitivities.png"]
    assert sorted(tmp_path.iterdir()) == sorted(files)
    for file, figure in zip(files, found.figures(known=torch.rand(50, 2)).values(), strict=True):
        assert matplotlib.image.imread(file).shape[:2] == to_image(figure).shape[:2]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_any_dtype_is_drawn_and_laid_out(dtype):
    found = trusted(X)
    parts = {n: getattr(found, n).to(dtype) for n in ("inputs", "outputs", "outcome_low")}
    parts["targets"] = Targets(found.targets.low.to(dtype), found.targets.high)
    found = replace(found, **parts)
    assert all(np.isfinite(to_image(figure)).all() for figure in found.figures().values())
    assert "<table>" in found._repr_html_()


def test_the_table_has_one_style_of_numbers():
    rows = columns(trusted(X * 1e6 / 3))[1:]
    assert all(re.fullmatch(r"-?[\d.]+(e[+-]\d+)?", cell) for row in rows for cell in row[3:5])
