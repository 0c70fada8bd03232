import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_invert import analyze, batched_jacobian, solve
from lightning_invert.watch.maps import MapError


class OverTime(nn.Module):
    """A recurrent network whose first dimension is time."""

    def __init__(self, kind, **options):
        super().__init__()
        self.layer = kind(3, 3, **options)

    def forward(self, x):
        return self.layer(x[:, None])[0][:, 0]


def causal(x):
    weights = torch.tril(torch.ones(len(x), len(x)))
    return weights / weights.sum(1, keepdim=True) @ x


def shifted(x):
    return torch.cat([x[:1], x[1:] + x[:-1]])


def middle(x):
    """Only a point in the middle depends on another: the one before the last, on the last."""
    return torch.cat([x[:-2], x[-2:-1] * x[-1:], x[-1:]])


MIXING = {
    "cumsum": lambda x: x.cumsum(0),
    "cumsum backwards": lambda x: x.flip(0).cumsum(0).flip(0),
    "attention": lambda x: torch.softmax(x @ x.T, dim=1) @ x,
    "causal attention": causal,
    "shifted": shifted,
    "one before the last": middle,
    "mean of the batch": lambda x: x - x.mean(0),
    "BatchNorm": nn.BatchNorm1d(3, track_running_stats=False),
    "windows of eight": lambda x: (
        x + nn.functional.pad(x[:-8], (0, 0, 8, 0)) if len(x) > 8 else shifted(x)
    ),
    "shares of a normalised batch": lambda x: torch.softmax(x - x.mean(0), dim=1),
    "no input but another row's": lambda x: x.roll(1, 0),
    "a thousandth": lambda x: x + 1e-3 * x.mean(0),
    "LSTM": OverTime(nn.LSTM),
    "GRU backwards too": OverTime(nn.GRU, bidirectional=True),
}


@pytest.mark.parametrize("function", MIXING.values(), ids=MIXING)
@pytest.mark.parametrize("count", [1, 2, 3, 64])
def test_a_function_that_mixes_rows_is_refused(function, count):
    x = torch.randn(count, 3)
    if 1 < count < 64:
        whole = torch.autograd.functional.jacobian(function, x)
        own = torch.eye(count, dtype=torch.bool)[:, None, :, None]
        assert whole.masked_fill(own, 0).abs().max() > 1e-6 * whole.abs().max()
    with pytest.raises(ValueError, match=r"mixes .*time.*batch_first"):
        batched_jacobian(function, x)
    batched_jacobian(function, x, check=False)


@pytest.mark.parametrize("count", [1, 5])
def test_whoever_asks_refuses_a_function_that_mixes_rows(count):
    function, x = MIXING["LSTM"], torch.randn(count, 3)
    with pytest.raises(MapError, match=r"mixes .*time.*batch_first"):
        analyze(function, x)
    with pytest.raises(MapError, match="truth mixes"):
        analyze(torch.tanh, x, truth=function)
    with pytest.raises(ValueError, match=r"`run 1` to treat .* mixes"):
        analyze(torch.tanh, x, runs=[function])
    with pytest.raises(ValueError, match="mixes"):
        solve(function, function(torch.cat([x, x]))[:count].detach(), starts=x)


MIXING_WITHOUT_A_GRADIENT_OR_FAR = {
    "divided by a detached spread": lambda x: x / x.detach().std(0),
    "scaled to the largest of the batch": lambda x: NET(x) / NET(x).detach().abs().max(),
    "a mean that no_grad takes": lambda x: x - torch.zeros_like(x) - x.detach().mean(0),
    "the difference to a day before": lambda x: x - nn.functional.pad(x[:-24], (0, 0, 24, 0)),
    "convolution over time": lambda x: (
        nn.functional.conv1d(x.T[None], torch.ones(3, 1, 3), padding=25, dilation=25, groups=3)[0].T
    ),
}


@pytest.mark.parametrize(
    "function",
    MIXING_WITHOUT_A_GRADIENT_OR_FAR.values(),
    ids=MIXING_WITHOUT_A_GRADIENT_OR_FAR,
)
def test_what_mixes_by_its_values_or_far_rows_is_refused(function):
    x = torch.randn(64, 3)
    other = torch.cat([x[:1], torch.randn(63, 3)]), torch.cat([torch.randn(63, 3), x[-1:]])
    assert any(
        not torch.allclose(function(y)[row], function(x)[row], rtol=1e-2)
        for y, row in zip(other, (0, -1), strict=True)
    )
    with pytest.raises(ValueError, match="mixes"):
        batched_jacobian(function, x)
    with pytest.raises(MapError, match="mixes"):
        analyze(function, x)


def test_a_map_that_mixes_rows_is_refused_where_its_jacobian_is_not_formed():
    with pytest.raises(MapError, match="mixes"):
        analyze(lambda x: x.repeat(1, 600).cumsum(0), torch.randn(2, 1100))


def counting(calls=()):
    calls = list(calls)

    def function(x):
        calls.append(1)
        return x * len(calls)

    return function


def until_all_have_converged(x):
    """Newton's steps to the square root of 1 + x², until the last of the rows is near."""
    y = torch.ones_like(x)
    while ((y.detach() ** 2 - 1 - x.detach() ** 2).abs() > 1e-3).any():
        y = (y + (1 + x**2) / y) / 2
    return y


ROWWISE = {
    "in float16": lambda x: (x.half() @ torch.ones(3, 3).half()).float(),
    "in bfloat16": lambda x: torch.tanh(x.bfloat16() @ torch.ones(3, 3).bfloat16()).float(),
    "another each time": counting(),
    "a solver that stops by all rows": until_all_have_converged,
    "a constant": lambda x: 0 * x + 1,
    "a huge range": lambda x: torch.exp(30 * x),
    "inf in some rows": lambda x: 1 / (x - x) * (x > 0) + x,
    "experts by rows": lambda x: torch.where(x[:, :1] > 0, x, 1e6 * x),
    "attention within a row": lambda x: (
        torch.softmax(x[:, :, None] * x[:, None], 2) @ x[:, :, None]
    )[..., 0],
    "tanh": torch.tanh,
    "LSTM": lambda x: LSTM(x[:, None])[0][:, 0],
    "random": lambda x: x + torch.randn_like(x),
    "to rounding": lambda x: torch.fft.ifft(torch.fft.fft(x, dim=0), dim=0).real,
    "but for a thousand-millionth": lambda x: x.double() + 1e-9 * x.double().mean(0),
    "NaN in one row": lambda x: x * torch.where(torch.arange(len(x)) == 1, torch.nan, 1.0)[:, None],
}


@pytest.mark.parametrize("function", ROWWISE.values(), ids=ROWWISE)
def test_a_function_of_rows_is_not_refused(function):
    batched_jacobian(function, torch.randn(5, 3))
    analyze(function, torch.randn(40, 3))


def test_a_module_in_evaluation_mode_is_checked_once():
    calls = []
    net = nn.BatchNorm1d(3).eval()
    net.register_forward_hook(lambda *_: calls.append(1))
    batched_jacobian(net, torch.randn(5, 3))
    first = len(calls)
    batched_jacobian(net, torch.randn(5, 3))
    assert len(calls) == first + 1


def test_a_module_is_checked_again_when_it_or_a_part_of_it_goes_into_training_mode():
    net, x = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)).eval(), torch.randn(5, 3)
    batched_jacobian(net, x)
    net[1].train()
    with pytest.raises(ValueError, match="mixes"):
        batched_jacobian(net, x)
    net[1].eval()
    batched_jacobian(net, x)


def test_a_module_is_checked_again_for_points_of_another_shape():
    class MixesSquares(nn.Module):
        def forward(self, x):
            return x - x.mean(0) if x.shape[1] == x.shape[2] else x

    net = MixesSquares().eval()
    batched_jacobian(net, torch.randn(5, 3, 2))
    with pytest.raises(ValueError, match="mixes"):
        batched_jacobian(net, torch.randn(5, 2, 2))


torch.manual_seed(0)
LSTM = nn.LSTM(3, 4, batch_first=True)
NET = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))
ONE = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))


def refuses_one(x):
    if len(x) == 1:
        raise ValueError("Expected more than 1 value per channel")
    return NET(x)


SQUEEZING = {
    "squeeze": (lambda x: NET(x).squeeze(), NET),
    "squeeze of one output": (lambda x: ONE(x).squeeze(), ONE),
    "squeeze(0)": (lambda x: NET(x).squeeze(0), NET),
    "squeeze of the input": (lambda x: NET(x.squeeze()), NET),
    "refuses one row": (refuses_one, NET),
}


@pytest.mark.parametrize(("function", "plain"), SQUEEZING.values(), ids=SQUEEZING)
class TestALoneRow:
    @pytest.mark.parametrize("graph", [False, True])
    def test_has_its_jacobian(self, function, plain, graph):
        x = torch.randn(1, 3)
        jacobian = batched_jacobian(function, x, create_graph=graph)
        torch.testing.assert_close(jacobian, batched_jacobian(plain, x))
        assert jacobian.requires_grad == graph

    def test_is_analyzed_as_the_last_of_a_loader(self, function, plain):
        loader = DataLoader(TensorDataset(torch.randn(129, 3)), 64)
        observation, expected = analyze(function, loader), analyze(plain, loader)
        assert observation.num_points == 129
        torch.testing.assert_close(observation.singular_values, expected.singular_values)

    def test_is_solved(self, function, plain):
        bounds = ([-3.0] * 3, [3.0] * 3)
        for count in (1, 20):
            targets = plain(torch.randn(count, 3)).detach()
            solution = solve(function, targets, bounds=bounds)
            reference = solve(plain, targets, bounds=bounds)
            torch.testing.assert_close(solution.residual, reference.residual, atol=1e-3, rtol=0)
            assert torch.equal(solution.converged, reference.converged)
