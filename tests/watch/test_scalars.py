from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_invert import InvertibilityMetric
from lightning_invert.jacobians.spectrum import Effort
from lightning_invert.jacobians.thresholds import Thresholds
from lightning_invert.watch.findings.runs import OverRuns
from lightning_invert.watch.observation import observe
from lightning_invert.watch.points import Frame, Points
from lightning_invert.watch.resolution import resolve_maps
from lightning_invert.watch.scalars import SCALARS, scalar_named, scalar_names, summarise

ROOT = Path(__file__).parents[2]


def network():
    return torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))


def observation(x, **options):
    """What is found of a map that is asked for everything."""
    net = network()
    reach = {"inverse": lambda y: y, "outcomes": 1}
    spec = {"module": net, "truth": network(), "identity": True, "reach": reach, "target": 1}
    (watched,) = resolve_maps({"f": spec}, net, reachable_steps=3)
    (other,) = resolve_maps({"g": network()}, net)
    points = Points(x, frame=Frame((x.shape[1:],)), targets=X.square())
    everywhere = Thresholds(bands=(1, 1e4))  # all points are fragile
    watched = watched.asking(OverRuns((other,)))
    return observe(watched, points, outcomes=x, thresholds=everywhere, **options)


X = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))


def test_what_is_told_of_a_map_has_a_row_and_each_row_is_told():
    formed, probed = observation(X).scalars, observation(X, effort=Effort(formed=False)).scalars
    findings = ("spectrum", "accuracy", "truth", "runs", "reach", "round_trip")
    assert set(formed) == {name for source in findings for name in scalar_names(source)}
    assert set(probed) == {
        *scalar_names("probes"),
        *scalar_names("accuracy"),
        "consistency_error",
    }
    assert formed.keys() | probed.keys() == set(scalar_names())


def test_where_nothing_is_finite_a_scalar_is_the_worst_there_is():
    nothing = X * torch.nan
    scalars = observation(nothing).scalars
    probed = observation(nothing, effort=Effort(formed=False)).scalars
    for name, value in (probed | scalars).items():
        row = scalar_named(name)
        worst = {f"{row.name}_low": 0.0, f"{row.name}_high": (row.interval or (0, 0))[1]}
        np.testing.assert_equal(value, worst.get(name, row.empty), name)


@pytest.mark.parametrize(
    "row", [row for row in SCALARS.values() if row.quantity], ids=lambda r: r.name
)
def test_a_statistic_is_numpys_over_the_points_that_are_known(row):
    values = np.random.default_rng(0).uniform(size=101)
    values[:30] = np.nan
    expected = {
        "mean": np.nanmean(values),
        "root mean square": np.sqrt(np.nanmean(values**2)),
        "p05": np.nanquantile(values, 0.05),
        "median": np.nanmedian(values),
        "p95": np.nanquantile(values, 0.95),
    }[row.statistic]
    summary = summarise({row.quantity: values})
    assert summary[row.name] == pytest.approx(expected)
    if row.interval is not None:
        assert summary[f"{row.name}_low"] < expected < summary[f"{row.name}_high"]


def test_the_metric_names_every_scalar():
    assert all(f"``{name}``" in InvertibilityMetric.__doc__ for name in scalar_names("spectrum"))
