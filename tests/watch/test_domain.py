"""Points at which a forward raises: those are lost, and no others."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from lightning_invert import InvertibilityCallback, analyze
from lightning_invert.jacobians.domain import MAX_FAILING
from lightning_invert.watch.domain import MAX_OUTSIDE, _find_outside
from lightning_invert.watch.maps import MapError
from lightning_invert.watch.points import Points
from lightning_invert.watch.resolution import resolve_maps
from lightning_invert.watch.watcher import Watcher
from tests.callbacks.fits import fit_unwatched_and_watched
from tests.projects import Foreign, loader
from tests.watch.looks import look
from tests.watch.reference import spectra_point_by_point


class Spline(nn.Module):
    """Raises outside of its domain, as splines of flows do."""

    def __init__(self, end=5.0):
        super().__init__()
        self.net, self.end, self.calls = (
            nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)),
            end,
            [],
        )

    def forward(self, x):
        if (x.abs() > self.end).any():
            raise ValueError("Input outside domain")
        return self.net(x)


def points(*outside, rows=256):
    x = torch.rand(rows, 3, generator=torch.Generator().manual_seed(0))
    x[list(outside), 1] = 9.0
    return x


OUTSIDE = [(17,), (0,), (255,), (0, 255), (3, 4, 5), (1, 40, 80, 120, 160, 200)]


def assert_right(observation, module, x):
    bad = observation.singular_values.isnan().any(1)
    assert torch.equal(bad, (observation.inputs.abs() > 5).any(1))
    expected = spectra_point_by_point(module.net, observation.inputs[~bad])
    np.testing.assert_allclose(observation.singular_values[~bad], expected, rtol=1e-4, atol=1e-6)
    assert observation.scalars["nonfinite_fraction"] == pytest.approx(bad.double().mean())
    assert {tuple(row) for row in observation.inputs.tolist()} == {tuple(row) for row in x.tolist()}


@pytest.mark.parametrize("outside", OUTSIDE)
def test_points_outside_of_a_domain_are_counted_and_said_once(outside):
    watcher, module, x = Watcher({"f": ""}), Spline(), points(*outside)
    words = f"raises at {len(outside)} of 256 points: ValueError: Input outside domain. They are"
    with pytest.warns(UserWarning, match=words) as caught:
        looks = [look(watcher, module, [x]) for _ in range(2)]
    assert len(caught) == 1
    ((observation,), _) = looks
    assert_right(observation, module, x)


@pytest.mark.parametrize("outside", OUTSIDE)
def test_analyze_keeps_them_in_their_place(tmp_path, outside):
    module, x = Spline(), points(*outside)
    with pytest.warns(UserWarning, match="analyze: map 'map' raises"):
        observation = analyze(module, x, table=tmp_path / "table.csv")
    assert torch.equal(observation.inputs, x)
    assert_right(observation, module, x)
    bands = [line.split(",") for line in observation.table.read_text().splitlines()]
    nonfinite = [row for row, cells in enumerate(bands[1:]) if "nonfinite" in cells]
    assert nonfinite == sorted(outside)


def test_a_fit_is_watched_although_each_look_has_a_point_outside(tmp_path):
    class Project(Foreign):
        def watched(self, x):
            if (x.abs() > 2.5).any():
                raise ValueError("outside")
            return self.encoder(x)

    def watch():
        return InvertibilityCallback({"f": {"module": "watched", "input": 0}}, figures=False)

    callback = watch()
    with pytest.warns(UserWarning, match="'f' raises at .* of 64 points"):
        fit_unwatched_and_watched(tmp_path, Project, callback, data=lambda: (loader(), loader()))
    (observation,) = callback.observations
    share = float((observation.inputs.abs() > 2.5).any(1).double().mean())
    assert 0 < share < 0.2
    assert observation.scalars["nonfinite_fraction"] == pytest.approx(share)


class Counted(nn.Module):
    def __init__(self, fails):
        super().__init__()
        self.net, self.fails = nn.Linear(3, 2), fails

    def forward(self, x):
        COUNTS.append(len(x))
        if self.fails(x):
            raise ValueError("no")
        return self.net(x)


COUNTS = []


def test_what_fails_for_another_reason_fails_after_few_evaluations():
    COUNTS.clear()
    with pytest.raises(MapError, match="because of its forward: ValueError: no"):
        analyze(Counted(lambda x: True), points())
    assert len(COUNTS) <= 16 * (MAX_FAILING + math.log2(256))


def test_many_points_outside_cost_a_look_and_are_counted_by_analyze():
    module = Counted(lambda x: (x[:, 0] > 0.5).any())
    x = points()
    with pytest.warns(UserWarning, match="because of its forward: ValueError: no"):
        assert look(Watcher({"f": ""}), module, [x]) == []
    with pytest.warns(UserWarning, match=r"raises at \d+ of 256 points"):
        observation = analyze(module, x)
    share = float((x[:, 0] > 0.5).double().mean())
    assert observation.scalars["nonfinite_fraction"] == pytest.approx(share)


ANALYSES = {
    "all of the last batch": ([points(), points(0, rows=1)], {}, 1),
    "first, middle and last": ([points(0, 128, 255)], {}, 3),
    "a twentieth": ([points(*range(0, 240, 20))], {}, 12),
    "standardized": ([points(9), points(0, rows=1)], {"scale": "standardized"}, 2),
    "float64": ([points(9)], {"precision": "float64"}, 1),
}


@pytest.mark.parametrize(("batches", "options", "count"), ANALYSES.values(), ids=ANALYSES)
def test_analyze_loses_no_other_points(batches, options, count):
    module, x = Spline(), torch.cat(batches)
    with pytest.warns(UserWarning, match=f"raises at .* of {len(batches[0])} points|of 1 points"):
        observation = analyze(module, batches, **options)
    bad = observation.singular_values.isnan().any(1)
    assert torch.equal(bad, (x > 5).any(1))
    assert int(bad.sum()) == count
    if not options:
        assert_right(observation, module, x)


@pytest.mark.parametrize("asked", ["truth", "runs"])
def test_a_truth_or_another_run_that_raises_costs_those_points(asked):
    spline = Spline()
    question = {"truth": spline} if asked == "truth" else {"runs": [spline]}
    with pytest.warns(UserWarning, match="raises at 2 of 256 points"):
        observation = analyze(spline.net, points(3, 99), **question)
    assert observation.scalars["nonfinite_fraction"] == 2 / 256
    (finding,) = (f for key, f in observation.findings.items() if key == asked)
    lost = [rows.reshape(256, -1).isnan().any(1) for rows in finding.rows().values()]
    assert all(mask.nonzero()[:, 0].tolist() == [3, 99] for mask in lost)


def test_a_function_of_one_size_loses_a_point_alone():
    module = Spline()
    with pytest.warns(UserWarning, match="raises at 1 of 64 points"):
        observation = analyze(lambda x: module(x.view(64, 3)), [points(17, rows=64)])
    assert_right(observation, module, points(17, rows=64))


def test_a_point_is_found_in_few_evaluations_a_halving():
    module = Counted(lambda x: (x > 5).any())
    COUNTS.clear()
    (watched,) = resolve_maps({"f": {"module": module}}, module)
    assert _find_outside(watched, Points.of([points(77)]), MAX_OUTSIDE) == [77]
    # A call that fails is tried again in other surroundings.
    assert len(COUNTS) <= 4 * math.log2(256)


def test_rows_that_mix_are_not_told_apart():
    class Mixing(Spline):
        def forward(self, x):
            return super().forward(x - x.mean(0))

    with pytest.raises(MapError, match="Input outside domain"):
        analyze(Mixing(end=4.0), points(5))
