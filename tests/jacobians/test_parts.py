"""Functions that take only some numbers of rows."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_invert import analyze, batched_jacobian, solve
from lightning_invert.jacobians.evaluation import in_parts
from lightning_invert.proposals.evidence import Evidence
from lightning_invert.proposals.proposer import Proposer

torch.manual_seed(0)
NET = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))
BACK = nn.Linear(2, 3)
BOX = ([-3.0] * 3, [3.0] * 3)


class WithState(nn.Module):
    """A state of 32 rows, which starts a recurrent network and is added."""

    def __init__(self):
        super().__init__()
        self.gru, self.net = nn.GRU(3, 3, batch_first=True), NET
        self.register_buffer("state", torch.zeros(32, 3))

    def forward(self, x):
        hidden, _ = self.gru(x[:, None], torch.zeros(1, 32, 3))
        return self.net(x + 0 * hidden[:, 0] + self.state)


def refusing(is_taken, net=NET):
    def function(x):
        if not is_taken(len(x)):
            raise ValueError(f"I take no {len(x)} rows")
        return net(x)

    return function


FUNCTIONS = {
    "view of 32": lambda x: NET(x.view(32, -1)),
    "state": WithState(),
    "groups of 32": lambda x: NET(x.reshape(-1, 32, 3)).reshape(-1, 2),
    "exactly 24": refusing(lambda n: n == 24),
    "one": refusing(lambda n: n == 1),
    "at most 64": refusing(lambda n: n <= 64),
    "even": refusing(lambda n: n % 2 == 0),
    "at least 5": refusing(lambda n: n >= 5),
}
GUESSED = {name: f for name, f in FUNCTIONS.items() if name not in {"exactly 24", "one"}}


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_a_size_that_is_offered_is_found(function):
    size = {"exactly 24": 24, "one": 1}.get(
        next(name for name, f in FUNCTIONS.items() if f is function), 32
    )
    x = torch.randn(5 * size, 3)
    batches = DataLoader(TensorDataset(x[: 4 * size + 1]), size)
    found, expected = analyze(function, batches), analyze(NET, batches)
    torch.testing.assert_close(found.singular_values, expected.singular_values)
    torch.testing.assert_close(found.outputs, expected.outputs)
    torch.testing.assert_close(
        batched_jacobian(function, x[:size]), batched_jacobian(NET, x[:size])
    )
    y = NET(x[:size]).detach()
    found, expected = (solve(f, y, bounds=BOX) for f in (function, NET))
    assert torch.equal(found.converged, expected.converged)
    torch.testing.assert_close(found.residual, expected.residual, atol=1e-3, rtol=0)


@pytest.mark.parametrize("count", [1, 200])
@pytest.mark.parametrize("function", GUESSED.values(), ids=GUESSED)
def test_a_size_that_is_a_power_of_two_is_found_whatever_is_offered(function, count):
    x = torch.randn(count, 3)
    for graph in (False, True):
        found = batched_jacobian(function, x, create_graph=graph)
        torch.testing.assert_close(found, batched_jacobian(NET, x))
    expected = analyze(NET, x)
    torch.testing.assert_close(analyze(function, x).singular_values, expected.singular_values)
    y = NET(x[:3]).detach()
    found, expected = (
        solve(f, y, bounds=BOX, cost=cost, num_starts=2)
        for f, cost in ((function, lambda x: function(x)[:, 0]), (NET, lambda x: NET(x)[:, 0]))
    )
    assert torch.equal(found.converged, expected.converged)
    torch.testing.assert_close(found.cost, expected.cost, atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("function", GUESSED.values(), ids=GUESSED)
def test_proposals_are_made(function):
    x = torch.rand(100, 3)
    y = NET(x).detach()
    evidence = Evidence.of(train=(x[:50], y[:50]), val=(x[50:], y[50:]))
    found, expected = (
        Proposer(f, evidence=evidence, inverse=inverse).propose(y[:5], num_starts=2)
        for f, inverse in ((function, refusing(lambda n: n == 32, BACK)), (NET, BACK))
    )
    torch.testing.assert_close(found.trust, expected.trust, atol=1e-3, rtol=1e-3)
    assert torch.equal(found.converged, expected.converged)


def test_what_fails_at_every_size_says_what_is_wrong_at_that_of_its_batches():
    sizes = []

    def function(x):
        sizes.append(len(x))
        raise RuntimeError(f"broken at {len(x)}")

    with pytest.raises(RuntimeError, match="broken at 4"):
        in_parts(function, 4, 2)(torch.randn(7, 3))
    assert sizes == [7, 4, 2]


def test_what_works_at_hand_is_asked_once():
    sizes = []

    def function(x):
        sizes.append(len(x))
        return x

    in_parts(function, 4)(torch.randn(7, 3))
    assert sizes == [7]


def test_rows_that_a_function_changed_before_it_failed_are_not_tried_again():
    with pytest.raises(RuntimeError, match="invalid for input"):
        in_parts(lambda x: x.add_(1).view(4, 3), 4)(torch.randn(7, 3))


def test_rows_of_another_argument_go_with_theirs():
    x, z = torch.randn(70, 3), torch.randn(70, 3)
    function = in_parts(lambda x, z: refusing(lambda n: n == 32)(x * z), 32)
    torch.testing.assert_close(function(x, z), NET(x * z))


@pytest.mark.parametrize(
    "function",
    [lambda x: x.mean(0, keepdim=True), lambda x: x.sort(0).values[:2], torch.sum],
    ids=["mean", "two largest", "sum"],
)
def test_what_returns_no_row_for_each_point_is_refused(function):
    with pytest.raises((ValueError, RuntimeError), match=r"one row for each|mixes"):
        analyze(function, torch.randn(9, 3))
    with pytest.raises(ValueError, match=r"one row for each|mixes"):
        batched_jacobian(function, torch.randn(9, 3))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: NET(x.view(x.size(0), -1)),
        lambda x: torch.fft.rfft(x).real.contiguous()[:, :2],
        lambda x: torch.stack([NET(row) for row in x]),
        lambda x: NET(x.squeeze()) / (1 + 0 * x.max()),
    ],
    ids=["view", "fft", "stack", "max"],
)
def test_no_points_have_no_jacobians(function):
    assert batched_jacobian(function, torch.zeros(0, 3)).shape == (0, 2, 3)
    empty = batched_jacobian(function, torch.zeros(0, 3, dtype=torch.float32), create_graph=True)
    assert empty.shape == (0, 2, 3)
