"""Constraints that keep inputs like known ones, against closed forms and SciPy's distances."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import mahalanobis

from lightning_invert import Evidence, LikeData, Linear, Proposer, solve
from lightning_invert.problems import BlastFurnace
from tests.solver.maps import uniform

MIX = torch.tensor(
    [[1.0, 0.8, 0.0, 0.1], [0.0, 0.5, 0.3, 0.0], [0.0, 0.0, 1.5, -0.7], [0.2, 0.0, 0.0, 0.4]]
)
KNOWN = uniform(600, 4, seed=3) @ MIX.double() + torch.tensor([3.0, -1.0, 0.0, 10.0])  # fmt: skip


def distances(x, known):
    """Squared distances of Mahalanobis, by SciPy."""
    known, x = (np.asarray(rows, dtype=np.float64) for rows in (known, x))
    inverse = np.linalg.inv(np.cov(known.T))
    return np.array([mahalanobis(row, known.mean(0), inverse) ** 2 for row in x])


def limit(known, share):
    return np.quantile(distances(known, known), share)


@pytest.mark.parametrize("share", [0.5, 0.9, 1.0])
def test_the_cheapest_point_is_that_of_the_closed_form(share):
    weights, prices = uniform(4, seed=5), uniform(4, seed=6)
    wanted = KNOWN[:8] @ weights
    like = LikeData(share, KNOWN)
    solution = solve(
        lambda x: x @ weights[:, None], wanted[:, None], starts=KNOWN[:8], constraints=like,
        cost=prices, scale=(KNOWN.std(0), wanted.std()), tolerance=1e-6, max_steps=200,
    )  # fmt: skip
    # Where the known inputs are a ball, the target is a plane: from its point that is nearest to the
    # middle, the cheapest way leads to the rim.
    middle = KNOWN.mean(0)
    root = torch.linalg.cholesky(torch.from_numpy(np.cov(KNOWN.numpy().T)))
    a, p = root.T @ weights, root.T @ prices
    nearest = (wanted - middle @ weights)[:, None] * a / a.square().sum()
    way = p - a * (a @ p) / a.square().sum()
    rim = (limit(KNOWN, share) - nearest.square().sum(1)).sqrt()
    expected = middle + (nearest - rim[:, None] * way / way.norm()) @ root.T
    assert solution.converged.all()
    torch.testing.assert_close(solution.inputs, expected, rtol=1e-3, atol=1e-3)
    assert solution.binding.all()
    assert solution.constraint_names == ("distance_from_the_data",)


def test_proposals_at_the_least_cost_are_certified_and_true():
    furnace = BlastFurnace()
    x, wanted = furnace.sample(1200, seed=3), furnace.forward(furnace.sample(12, seed=4))
    rows = x, furnace.forward(x)
    train, val = ([part[a:b] for part in rows] for a, b in ((0, 600), (600, 1200)))
    proposer = Proposer(
        furnace.forward, evidence=Evidence.of(train=train, val=val), inputs=furnace.inputs,
        outputs=furnace.outputs,
    )  # fmt: skip
    prices = {"h2_injection": -3.0, "natural_gas": 0.4, "o2_fraction": 5.0}
    coal = Linear({"pulverised_coal": 1}, high=150)
    ways = {
        constraints is not None: proposer.propose(wanted, cost=prices, constraints=constraints)
        for constraints in (None, {"coal": coal, "like": LikeData(0.9)})
    }
    known = rows[0][:600]
    farthest = limit(known, 0.9)
    assert (distances(ways[True].inputs, known) <= 1.01 * farthest).all()
    assert (distances(ways[False].inputs, known) > farthest).any()
    assert ways[True].certified.sum() > ways[False].certified.sum()
    assert ways[True].inputs[:, 1].le(150 + 1e-6).all()
    assert ways[True].constraint_names == ("like", "coal")


@pytest.mark.parametrize(
    ("like", "error", "words"),
    [
        (LikeData(), ValueError, r"`constraints\[0\].points` .* got None: write `LikeData\(points=x\)`"),
        (LikeData(0.0, KNOWN), ValueError, r"`constraints\[0\].share` .* above 0"),
        (LikeData(1.5, KNOWN), ValueError, r"`constraints\[0\].share` .* at most 1"),
        (LikeData("most", KNOWN), TypeError, r"`constraints\[0\].share`"),
        (LikeData(0.9, KNOWN[:, :3]), ValueError, r"`constraints\[0\].points` .* 2 finite rows of 4 .*\(600, 3\)"),
        (LikeData(0.9, KNOWN[:1]), ValueError, r"`constraints\[0\].points` .* at least 2"),
        (LikeData(0.9, KNOWN * torch.nan), ValueError, r"`constraints\[0\].points` .* finite"),
        ([LikeData(0.9, "x.csv")], TypeError, r"`constraints\[0\].points`"),
    ],
)  # fmt: skip
def test_what_is_no_likeness_is_named(like, error, words):
    with pytest.raises(error, match=words):
        solve(lambda x: x[:, :1], [[1.0]], starts=KNOWN[:1], constraints=like)
