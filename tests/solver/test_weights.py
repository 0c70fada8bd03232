"""Weights of outputs where a target is out of reach, against SciPy's weighted residuals."""

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares, lsq_linear
from torch.autograd.functional import jacobian

from lightning_invert import Interval, Linear, Near, Proposer, Variable, solve
from lightning_invert.proposals.evidence import Evidence
from tests.solver.maps import network, uniform

NAN, INF = float("nan"), float("inf")
SPREAD = torch.tensor([1.0, 0.5, 2.0]).double()
WEIGHTS = torch.tensor([4.0, 0.5, 1.0]).double()


def weighed(outputs, y):
    return ((outputs - y) / SPREAD * WEIGHTS).norm(dim=1)


def test_of_a_linear_map_the_weighed_distance_is_the_least_there_is():
    a, y = uniform(3, 5, seed=1), 6 * uniform(12, 3, seed=2)
    options = {"bounds": (-1.0, [1.0] * 5), "scale": (1.0, SPREAD)}
    found = solve(lambda x: x @ a.T, y, weights=WEIGHTS, **options)
    plain = solve(lambda x: x @ a.T, y, **options)
    factor = (WEIGHTS / SPREAD)[:, None]
    for row in range(12):
        best = lsq_linear((factor * a).numpy(), (factor[:, 0] * y[row]).numpy(), (-1, 1), tol=1e-14)
        assert float(weighed(found.outputs, y)[row]) == pytest.approx(
            (2 * best.cost) ** 0.5, rel=1e-4
        )
    missed = ~found.converged
    assert missed.sum() > 8
    assert (weighed(found.outputs, y) < 0.99 * weighed(plain.outputs, y))[missed].any()
    # What is told stays in spreads that are not weighed.
    torch.testing.assert_close(found.residual, ((found.outputs - y) / SPREAD).norm(dim=1))
    torch.testing.assert_close(found.shortfall, y - found.outputs)


@pytest.mark.slow
def test_of_networks_it_ends_as_low_as_scipy_does():
    net, starts = network(5, 3, gain=2.0, width=16), uniform(14, 3, 5, seed=3)
    with torch.no_grad():
        y = 3 * net(uniform(14, 5, seed=4))
    found = solve(
        net, y, starts=starts, bounds=(-1.0, [1.0] * 5), scale=(1.0, SPREAD), weights=WEIGHTS
    )
    missed = (~found.converged).nonzero()[:, 0].tolist()
    lower = []
    for row in missed:

        def residuals(x, row=row):
            with torch.no_grad():
                return ((net(torch.from_numpy(x)[None])[0] - y[row]) / SPREAD * WEIGHTS).numpy()

        def slopes(x):
            return (
                jacobian(lambda p: net(p[None])[0], torch.from_numpy(x))
                * (WEIGHTS / SPREAD)[:, None]
            ).numpy()

        runs = [
            least_squares(residuals, s, slopes, (-1 - 1e-9, 1 + 1e-9)) for s in starts[row].numpy()
        ]
        least = min((2 * run.cost) ** 0.5 for run in runs)
        lower.append(float(weighed(found.outputs, y)[row]) <= 1.001 * least)
    assert len(missed) > 6
    assert np.mean(lower) >= 0.95


@pytest.mark.parametrize("options", [{}, {"cost": [1.0, 0.0, -1.0, 0.5, 0.2]}])
def test_what_is_reached_is_the_same_whatever_the_weights(options):
    net = network(5, 3)
    with torch.no_grad():
        y = net(uniform(20, 5, seed=5))
    options = {"bounds": (-1.0, [1.0] * 5), "scale": (1.0, SPREAD), **options}
    plain, heavy = solve(net, y, **options), solve(net, y, weights=[1e3, 1e-3, 1.0], **options)
    assert plain.converged.all()
    assert torch.equal(plain.inputs, heavy.inputs)
    assert torch.equal(plain.residual, heavy.residual)


def test_constraints_levels_and_intervals_hold_beside_weights():
    a = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]]).double()
    names = [
        Variable("coal", "", -1, 1),
        Variable("gas", "", -1, 1),
        Variable("valve", "", -1, 1, (-1, 0, 1)),
    ]
    x = uniform(80, 3, seed=1)
    rows = x, x @ a.T
    proposer = Proposer(
        lambda x: x @ a.to(x).T, evidence=Evidence.of(rows, rows), inputs=names, scale=(1.0, 1.0),
        outputs=[Variable("heat", "K"), Variable("rate", "t/h")],
    )  # fmt: skip
    wanted = {"heat": Interval(low=1.5), "rate": -1.8}
    rule = Linear({"coal": 1, "gas": 1}, high=1)
    best = {}
    for weights in ({"heat": 3.0}, {"rate": 3.0}):
        found = proposer.propose(wanted, constraints=rule, weights=weights)
        w = np.array([weights.get("heat", 1.0), weights.get("rate", 1.0)])
        least = INF
        for valve in (-1, 0, 1):
            for gas in np.linspace(-1, 1, 2001):
                coal = min(1.0, 1 - gas)
                miss = np.array([max(0, 1.5 - coal - gas), gas + valve + 1.8]) * w
                least = min(least, float(np.linalg.norm(miss)))
        missing = found.shortfall[0].numpy()
        assert float(np.linalg.norm(missing * w)) == pytest.approx(least, rel=2e-3)
        assert float(found.inputs[0, 2]) in (-1, 0, 1)
        best[next(iter(weights))] = found
    assert best["heat"].shortfall[0, 0] < best["rate"].shortfall[0, 0]
    heat, rate = best["rate"].shortfall[0].tolist()
    assert f"Shortfall: {abs(heat):.3g} K of heat" in str(best["rate"])
    assert float(best["heat"].columns()["rate_shortfall"]) == pytest.approx(
        float(best["heat"].shortfall[0, 1])
    )
    assert "heat_shortfall" not in proposer.propose({"heat": 0.1}).columns()
    assert rate <= 0
    near = proposer.propose(
        wanted, weights={"heat": 3.0}, max_changes=1, cost=Near([0.0, 0.0, 0.0])
    )
    assert float(near.shortfall[0] @ near.shortfall[0].new_tensor([1, 0])) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("weights", "error", "words"),
    [
        ({"yy": 2.0}, ValueError, "keyed by one of .*'yy'"),
        ({"y0": -1.0}, ValueError, "positive"),
        ({"y0": 0.0}, ValueError, "positive"),
        ({"y0": NAN}, ValueError, "positive"),
        ({"y0": "2"}, TypeError, "number"),
        ([1.0, 2.0], ValueError, r"\(3,\)"),
        (2.0, ValueError, r"\(3,\)"),
    ],
)
def test_bad_weights_are_refused_in_a_line(weights, error, words):
    with pytest.raises(error, match=words) as caught:
        solve(network(4, 3), uniform(2, 3, seed=1), bounds=(-1.0, [1.0] * 4), weights=weights)
    assert "`weights`" in str(caught.value)
    assert "\n" not in str(caught.value)
