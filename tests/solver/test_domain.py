"""Functions that raise outside of their domain: those points are lost, and no others."""

import pytest
import torch
from torch import nn

from lightning_invert import solve
from lightning_invert.jacobians.domain import evaluate_inside
from lightning_invert.proposals.evidence import Evidence
from lightning_invert.proposals.proposer import Proposer

torch.manual_seed(0)
NET = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))
BACK = nn.Linear(2, 3)
TARGETS = NET(torch.rand(20, 3) * 4 - 2).detach()
WIDE = ([-9.0] * 3, [9.0] * 3)


def inside(end=5.0, net=NET):
    def function(x):
        if (x.abs() > end).any():
            raise ValueError("outside of the domain")
        return net(x)

    return function


SQUARE = lambda x: x.square().sum(1)

QUERIES = {
    "bounds beyond it": (inside(), {"bounds": WIDE}),
    "in parts": (lambda x: inside()(x.view(32, 3)), {"bounds": WIDE}),
    "a cost": (NET, {"bounds": WIDE, "cost": inside(net=SQUARE)}),
    "zero outside": (
        lambda x: inside(2.5)(x - 3) * 0 + NET(x - 3),
        {"bounds": ([-1.0] * 3, [9.0] * 3)},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("function", "options"), QUERIES.values(), ids=QUERIES)
def test_targets_are_reached_inside(function, options):
    solution = solve(function, TARGETS, num_starts=8, **options)
    assert solution.converged.double().mean() > 0.9
    assert solution.inputs[solution.converged].isfinite().all()
    if "cost" in options:
        assert torch.equal((solution.inputs.abs() <= 5).all(1), solution.cost.isfinite())


def test_a_start_outside_costs_its_target_alone():
    starts = torch.rand(20, 3)
    expected = solve(inside(), TARGETS, starts=starts)
    starts[[0, 7]] = 9.0
    solution = solve(inside(), TARGETS, starts=starts)
    others = [row for row in range(20) if row not in (0, 7)]
    assert torch.equal(solution.converged[others], expected.converged[others])
    torch.testing.assert_close(solution.inputs[others], expected.inputs[others])
    assert not solution.converged[[0, 7]].any()


def test_what_raises_everywhere_is_an_error():
    for options in ({"bounds": WIDE}, {"starts": torch.full((20, 3), 9.0)}):
        with pytest.raises(ValueError, match="outside of the domain"):
            solve(inside(-1.0), TARGETS, **options)


@pytest.mark.parametrize("lost", [[3, 70], [3, 4, 5, 60, 61]])
def test_evidence_outside_is_left_out(lost):
    x = torch.rand(100, 3)
    x[lost] = 9.0
    y = NET(x).detach()
    keep = [row for row in range(100) if row not in lost]
    found, expected = (
        Proposer(
            function,
            evidence=Evidence.of(
                train=(x[[r for r in rows if r < 50]], y[[r for r in rows if r < 50]]),
                val=(x[[r for r in rows if r >= 50]], y[[r for r in rows if r >= 50]]),
            ),
            inverse=BACK,
            scale=([1.0] * 3, [1.0] * 2),
        ).propose(TARGETS[:5], bounds=([0.0] * 3, [1.0] * 3), num_starts=2)
        for function, rows in ((inside(), range(100)), (NET, keep))
    )
    torch.testing.assert_close(found.trust, expected.trust)


def test_an_inverse_that_raises_costs_its_start_alone():
    x = torch.rand(100, 3)
    y = NET(x).detach()
    evidence = Evidence.of(train=(x[:50], y[:50]), val=(x[50:], y[50:]))
    limit = TARGETS[:5].abs().amax(1).sort().values[2]
    found, expected = (
        Proposer(NET, evidence=evidence, inverse=inverse).propose(TARGETS[:5], num_starts=2)
        for inverse in (inside(float(limit), BACK), BACK)
    )
    assert found.converged.sum() >= expected.converged.sum() - 1


@pytest.mark.parametrize("count", [1, 2, 7, 64])
def test_rows_that_raise_are_nan_and_so_is_their_slope(count):
    x = torch.rand(count, 3)
    x[count // 2] = 9.0
    x.requires_grad_()
    y = evaluate_inside(inside(), x, shape=(2,))
    (slope,) = torch.autograd.grad(y.sum(), x)
    others = [row for row in range(count) if row != count // 2]
    torch.testing.assert_close(y[others], NET(x)[others])
    assert y[count // 2].isnan().all()
    assert slope[count // 2].isnan().all()
    assert slope[others].isfinite().all()
