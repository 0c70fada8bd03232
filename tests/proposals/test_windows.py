"""Windows against linear programs, SLSQP and a closed form."""

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize

from lightning_invert import Linear, Proposer, Variable
from lightning_invert.proposals.evidence import Evidence

A = torch.tensor([[1.0, -0.5, 0.8, 0.2], [0.3, 0.9, -0.4, 0.6]], dtype=torch.float64)
BOX = (-1.0, 1.5)
ENDS = [BOX[0]] * 4, [BOX[1]] * 4
TOLERANCE = 0.1


def proposer_of(function, n, names=()):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(300, n, generator=generator, dtype=torch.float64) * 2.5 - 1.0
    evidence = Evidence.of(train=(x, function(x)), val=(x[:100], function(x[:100])))
    inputs = [Variable(name) for name in names] or None
    return Proposer(function, evidence=evidence, scale=(1.0, 1.0), inputs=inputs)


def linear(x):
    return x @ A.T.to(x)


def curved(x):
    return torch.stack([(x @ A[0].to(x)).sinh(), (x @ A[1].to(x)) + 0.3 * x[:, 0] * x[:, 1]], 1)


TARGETS = [[0.3, 0.2], [-0.8, 0.6], [1.0, -0.4]]


def end_by_scipy(function, start, target, j, sign):
    """The farthest input j, from where a proposal is."""

    def inside(x):
        y = function(torch.tensor(x[None])).numpy()[0]
        return np.concatenate([target + TOLERANCE - y, y - target + TOLERANCE])

    found = minimize(
        lambda x: sign * x[j], start, method="SLSQP", bounds=[BOX] * 4,
        constraints={"type": "ineq", "fun": inside}, options={"maxiter": 300, "ftol": 1e-10},
    )  # fmt: skip
    return found.x[j]


def test_windows_of_a_linear_function_are_those_of_linear_programs():
    proposer = proposer_of(linear, 4)
    windows = proposer.windows(proposer.propose(TARGETS, bounds=ENDS), TOLERANCE)
    a = np.concatenate([A.numpy(), -A.numpy()])
    for row, target in enumerate(np.array(TARGETS)):
        b = np.concatenate([target + TOLERANCE, -target + TOLERANCE])
        for j, sign in np.ndindex(4, 2):
            price = (1 - 2 * sign) * np.eye(4)[j]
            expected = linprog(price, a, b, bounds=[BOX] * 4).x[j]
            found = (windows.low, windows.high)[sign][row, j].item()
            assert found == pytest.approx(expected, abs=5e-3)


def test_of_levels_the_least_and_the_greatest_that_can_be_reached():
    levels = {0: (-1.0, -0.5, 0.0, 0.5, 1.0), 2: (-1.0, 0.25, 1.5)}
    proposer = proposer_of(linear, 4)
    inputs = tuple(Variable(f"x{j}", levels=levels.get(j, ())) for j in range(4))
    proposer.surrogate.__dict__["inputs"] = inputs
    asked = (
        {"bounds": ENDS},
        {"bounds": ([-0.6, -1, -1, -1], ENDS[1])},
        {"bounds": ENDS, "fixed": {0: 0.5}},
    )
    for options in asked:
        proposal = proposer.propose(TARGETS, **options)
        windows = proposer.windows(proposal, TOLERANCE)
        a = np.concatenate([A.numpy(), -A.numpy()])
        for row, target in enumerate(np.array(TARGETS)):
            b = np.concatenate([target + TOLERANCE, -target + TOLERANCE])
            for j, own in levels.items():
                possible = []
                for level in own:
                    box = [
                        BOX if k not in levels else (float(proposal.inputs[row, k]),) * 2
                        for k in range(4)
                    ]
                    box[j] = level, level
                    if (
                        level == proposal.inputs[row, j]
                        or linprog(np.zeros(4), a, b, bounds=box).status == 0
                    ):
                        possible.append(level)
                if options is asked[1] and j == 0:
                    possible = [level for level in possible if level >= -0.6]
                if "fixed" in options and j == 0:
                    possible = [0.5]
                ends = windows.low[row, j].item(), windows.high[row, j].item()
                assert ends == (min(possible), max(possible))
                for end, at_end in zip(
                    ends, (windows.inputs_at_low, windows.inputs_at_high), strict=True
                ):
                    at = at_end[row, j]
                    assert at[j] == end
                    assert (
                        linear(at[None])[0] - torch.tensor(target)
                    ).abs().max() < TOLERANCE + 2e-3
                    others = [k for k in levels if k != j]
                    assert torch.equal(at[others], proposal.inputs[row, others])
    spans = windows.high - windows.low
    assert (spans[:, 2] > 0).any()


def test_windows_of_a_curved_function_are_those_of_slsqp_and_are_reached():
    proposer = proposer_of(curved, 4)
    proposal = proposer.propose(TARGETS, bounds=ENDS)
    windows = proposer.windows(proposal, TOLERANCE)
    assert (windows.low <= proposal.inputs).all()
    assert (proposal.inputs <= windows.high).all()
    for end, at_end, sign in (
        (windows.low, windows.inputs_at_low, 1),
        (windows.high, windows.inputs_at_high, -1),
    ):
        assert torch.equal(at_end.diagonal(dim1=1, dim2=2), end)
        missed = curved(at_end.flatten(0, 1)).reshape(3, 4, 2) - torch.tensor(TARGETS)[:, None]
        assert missed.abs().max() < TOLERANCE + 2e-3
        assert BOX[0] <= at_end.min()
        assert at_end.max() <= BOX[1]
        for row, j in np.ndindex(3, 4):
            start, target = proposal.inputs[row].numpy(), np.array(TARGETS[row])
            expected = end_by_scipy(curved, start, target, j, sign)
            assert sign * (end[row, j].item() - expected) < 0.02


def test_what_holds_for_a_proposal_holds_for_its_windows():
    proposer = proposer_of(linear, 4, ["a", "b", "c", "d"])
    kept = Linear({"b": 1, "c": 1}, high=0.5)
    options = {"bounds": ENDS, "fixed": {"a": [0.1, 0.2]}, "constraints": kept}
    proposal = proposer.propose({0: [0.3, 0.5]}, **options)
    windows = proposer.windows(proposal, {0: 0.05}, constraints=kept)
    assert torch.equal(windows.low[:, 0], windows.high[:, 0])
    for at_end in (windows.inputs_at_low, windows.inputs_at_high):
        assert torch.equal(at_end[:, :, 0], proposal.inputs[:, :1].expand(-1, 4))
        assert (at_end[:, :, 1] + at_end[:, :, 2]).max() <= 0.5 + 1e-8
        missed = linear(at_end.flatten(0, 1))[:, 0].reshape(2, 4) - torch.tensor([[0.3], [0.5]])
        assert missed.abs().max() < 0.05 + 2e-3
    assert "a: stays at 0.1\n" in str(windows)
    free = proposer.windows(proposal, {0: 0.05})
    assert (free.high[:, 1:3] >= windows.high[:, 1:3] - 1e-3).all()
    assert (free.high[:, 1] > windows.high[:, 1] + 0.1).any()


def test_an_outcome_out_of_reach_keeps_at_least_what_is_reached():
    proposer = proposer_of(linear, 4)
    proposal = proposer.propose([[9.0, 0.0]], bounds=ENDS)
    windows = proposer.windows(proposal, TOLERANCE)
    assert not proposal.converged
    assert (windows.low <= proposal.inputs).all()
    assert (proposal.inputs <= windows.high).all()


@pytest.mark.parametrize(
    ("tolerance", "error", "message"),
    [
        (-0.1, ValueError, "`tolerance` .* got -0.1"),
        ("much", TypeError, "`tolerance`"),
        ({"heat": 1.0}, ValueError, "`tolerance`.*'heat'"),
        ({0: -1.0}, ValueError, "`tolerance` .* got -1"),
    ],
)
def test_a_tolerance_that_is_none_is_named(tolerance, error, message):
    proposer = proposer_of(linear, 4)
    with pytest.raises(error, match=message):
        proposer.windows(proposer.propose(TARGETS, bounds=ENDS), tolerance)


def test_windows_are_of_what_was_proposed():
    with pytest.raises(TypeError, match="`proposal` to be what `propose` returned"):
        proposer_of(linear, 4).windows(TARGETS, 0.1)
