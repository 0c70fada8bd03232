import pytest
import torch
from torch import nn

from lightning_invert import ForwardInverseModule, InvertibilityCallback, Near, solve
from tests.projects import Smooth, quiet_trainer

BOX = ([-1.0, -1.0], [1.0, 1.0])


def view_by_size(x):
    return torch.tanh(x).view(x.size(0), -1)


def fourier(x):
    return torch.fft.rfft(torch.cat([x, x.flip(1)], 1)).real[:, :2] * torch.tensor([1.0, 0.5])


def in_double(x):
    assert len(x) > 0, "evaluated at zero rows"
    return torch.tanh(x.double())


def largest(x):
    return x / x.abs().max().clamp(min=1e3) * 1e3


def counted(x):
    assert len(x) > 0, "evaluated at zero rows"
    return torch.stack([x.sum(1), x[:, 0] * x[:, 1]], 1)


def price(x):
    assert len(x) > 0, "priced at zero rows"
    return x.square().sum(1)


TARGETS = {
    "all reached": [[0.1, 0.2], [0.3, 0.0]],
    "none reached": [[50.0, 50.0], [-50.0, 50.0]],
    "one reached": [[0.1, 0.2], [50.0, 50.0]],
    "one free": [[0.1, torch.nan], [50.0, torch.nan]],
}


@pytest.mark.parametrize(
    ("targets", "cost"),
    [*zip(TARGETS.values(), [price, [1.0, 2.0], Near([0.0, 0.0]), None], strict=True)],
    ids=TARGETS,
)
@pytest.mark.parametrize("function", [view_by_size, fourier, largest, counted, in_double])
def test_a_function_that_fails_at_zero_rows_is_solved(function, targets, cost):
    solution = solve(function, targets, bounds=BOX, cost=cost)
    reference = solve(
        lambda x: function(x) if len(x) else x,
        targets,
        bounds=BOX,
        cost=(lambda x: price(x) if len(x) else x.sum(1)) if cost is price else cost,
    )
    assert torch.equal(solution.converged, reference.converged)
    torch.testing.assert_close(solution.inputs, reference.inputs)


class ViewBySize(nn.Module):
    def __init__(self, n, m):
        super().__init__()
        self.linear = nn.Linear(n, m)

    def forward(self, x):
        return torch.tanh(self.linear(x)).view(x.size(0), -1)


def test_a_pair_that_fails_at_zero_rows_is_watched_and_proposes(tmp_path):
    pair = ForwardInverseModule(ViewBySize(3, 2), ViewBySize(2, 3))
    watch = InvertibilityCallback(reachable_steps=3)
    data = Smooth()
    quiet_trainer(tmp_path, callbacks=[watch]).fit(pair, datamodule=data)
    assert "reachable_fraction" in watch.observations[0].scalars
    _, y = data.load()
    assert pair.propose(y[:5], bounds=([0.0] * 3, [2e3] * 3)).inputs.isfinite().all()
