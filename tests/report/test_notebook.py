"""What a notebook shows of each result: short, well-formed, and nothing is harmed by looking."""

from functools import cache
from tempfile import mkdtemp

import matplotlib as mpl
import pytest
import torch
from torch import nn

from lightning_invert import ForwardInverseModule, InvertibilityCallback, Proposer, analyze, solve
from lightning_invert.proposals.evidence import Evidence
from lightning_invert.watch.observation import Observation
from lightning_invert.watch.observations import Observations
from tests.projects import fit_project
from tests.proposals.process import INPUTS, known, points, process, scaled, untrained
from tests.report.pages import Tree
from tests.report.proposed import trusted

MAX_LINES, MAX_LETTERS, MAX_HTML = 12, 2000, 200_000
EVIL = "<script>alert(1)</script> & [°C]"


@cache
def fitted():
    """A watch after a fit."""
    watch = InvertibilityCallback(figures=False, num_points=32)
    fit_project(mkdtemp(), watch, max_epochs=3)
    return watch


@cache
def pair():
    x, y = points(300)
    module = untrained()
    scaled(module, x, y)
    module.inputs = INPUTS
    return known(module, x, y)


def observed(**known):
    sigma = torch.rand(300, 3, generator=torch.Generator().manual_seed(0)).sort(1, descending=True)[
        0
    ]
    return Observation.of(sigma, inputs=torch.rand(300, 4), shape=(3, 4), **known)


def kept():
    """What a look found, and what it finds of the weights that a fit keeps."""
    observations = Observations([observed(name="last")])
    observations.kept = Observations([observed(name="best")], title="The kept weights:")
    return observations


def wide():
    """A pair of very many columns."""
    module = ForwardInverseModule(nn.Linear(300, 200), nn.Linear(200, 300))
    module.pair.name_columns(
        [f"input_{i}" for i in range(300)], [f"output_{i}" for i in range(200)]
    )
    return module


RESULTS = {
    "watch before a fit": InvertibilityCallback,
    "watch": fitted,
    "observations": lambda: fitted().observations,
    "observation": observed,
    "observation without points": lambda: Observation.of(torch.empty(0, 2)),
    "observation at one point": lambda: Observation.of(torch.tensor([[2.0, 1.0]])),
    "observation that is not finite": lambda: Observation.of(torch.full((5, 2), torch.nan)),
    "observation of an evil name": lambda: observed(name=EVIL, input_names=[EVIL, "a", "b", "c"]),
    "several observations": lambda: Observations(observed(name=f"map_{i}") for i in range(3)),
    "observations of kept weights": kept,
    "analysis": lambda: analyze(pair(), points(50)[0]),
    "finding": lambda: [*analyze(pair(), points(50)[0], directions=True).findings.values()][-1],
    "solution": lambda: solve(process, [[0.1, 0.2]] * 30, bounds=(-2.0, [2.0, 2.0, 2.0])),
    "alternatives": lambda: pair().propose(points(30)[1]).alternatives,
    "proposal": lambda: trusted(torch.zeros(1000, 2)),
    "trade-off": lambda: pair().trade_off(points(30)[1], {"a": 1.0}),
    "pair": lambda: pair(),
    "pair within": lambda: pair().pair,
    "pair before a fit": ForwardInverseModule,
    "pair of lazy layers": lambda: ForwardInverseModule(nn.LazyLinear(3), nn.Linear(3, 2)),
    "wide pair": wide,
    "pair within a module": lambda: nn.Sequential(pair()),
    "proposer": lambda: pair().proposer,
    "proposer of a function": lambda: Proposer(
        process, evidence=Evidence.of(train=points(99), val=points(99, 1)), inputs=[EVIL, "b", "c"]
    ),
    "evidence": lambda: pair().evidence,
    "reliability": lambda: pair().reliability,
}


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_is_shown_in_short_and_nothing_is_harmed(name):
    result = RESULTS[name]()
    stream, settings, grad = torch.get_rng_state(), dict(mpl.rcParams), torch.is_grad_enabled()
    for text in (repr(result), str(result)):
        assert "tensor(" not in text
        assert len(text) <= MAX_LETTERS
        assert len(text.splitlines()) <= MAX_LINES
    if hasattr(result, "_repr_html_"):
        page = result._repr_html_()
        tree = Tree(page)
        assert "tensor(" not in page
        assert len(page) <= MAX_HTML
        assert len(tree.text) <= 2 * MAX_LETTERS
        assert all(image["src"].startswith("data:image/png;base64,") for image in tree.images)
        assert all(image["alt"] for image in tree.images)
    assert torch.equal(stream, torch.get_rng_state())
    assert settings == dict(mpl.rcParams)
    assert torch.is_grad_enabled() == grad
    if isinstance(result, nn.Module):
        assert all(
            p.grad is None
            for p in result.parameters()
            if not isinstance(p, nn.UninitializedParameter)
        )


@pytest.mark.parametrize(
    ("name", "words", "images"),
    [
        ("watch before a fit", ["Nothing was watched yet"], 0),
        ("watch", ["forward", "full rank", "very output"], 1),
        ("observation", ["map", "full rank", "95th percentile"], 1),
        ("several observations", ["map_0", "map_2"], 1),
        ("observations of kept weights", ["last", "The kept weights:", "best"], 2),
        ("analysis", ["forward", "standardized"], 1),
        ("proposal", ["The first 10 of 1000"], 0),
        ("solution", ["30 targets"], 0),
        ("pair", ["3 inputs → 2 outputs", "SmoothMLP", "y1", "100 training", "200 validation"], 0),
        ("pair before a fit", ["not known"], 0),
        ("wide pair", ["300 inputs → 200 outputs", "input_0"], 0),
        ("proposer of a function", [EVIL, "99 training"], 0),
    ],
)  # fmt: skip
def test_what_matters_is_on_the_page(name, words, images):
    result = RESULTS[name]()
    tree = Tree(result._repr_html_())
    assert [word for word in words if word not in tree.text] == []
    assert len(tree.images) == images


def test_a_figure_that_cannot_be_drawn_is_left_out(monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("no fonts")

    monkeypatch.setattr("lightning_invert.report.html.map_figures", fail)
    assert Tree(observed()._repr_html_()).images == []


@pytest.mark.slow
def test_a_watch_draws_and_saves_the_figures_of_all_maps(tmp_path):
    watch = fitted()
    figures = watch.figures()
    assert "forward_evolution" in figures
    assert len(Tree(figures._repr_html_()).images) == len(figures)
    assert "forward_evolution" in repr(figures)
    assert figures["forward_evolution"]._repr_png_().startswith(b"\x89PNG")
    files = watch.save_figures(tmp_path)
    assert [file.stem for file in files] == list(figures)
    assert InvertibilityCallback().figures() == {}


def test_the_history_is_a_table_and_short_where_it_is_typed_alone():
    assert repr(fitted().history) == "History of looks: 3 of 'forward'"
    polars = pytest.importorskip("polars")
    table = polars.DataFrame(fitted().history["forward"])
    assert len(table) == 3
    last, scalars = table.row(-1, named=True), fitted().observations[0].scalars
    for name in ("full_rank_fraction", "log10_cond_median", "log10_cond_p95", "log10_cond_p95_low"):
        assert last[name] == pytest.approx(scalars[name])
    quantiles = [
        last[f"log10_cond_{name}"] for name in ("min", "p05", "p25", "median", "p75", "p95", "max")
    ]
    assert quantiles == sorted(quantiles)
