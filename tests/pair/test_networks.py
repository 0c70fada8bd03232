import pytest
import torch
from torch import nn

from lightning_invert import LinearPlusNonlinear, ResidualMLP, SmoothMLP, Standardize


def test_residual_mlp_computes_its_formula():
    net = ResidualMLP(7, 4, width=5).eval()
    x = torch.randn(10, 7)
    first, second = net.hidden[0], net.hidden[3]
    hidden = torch.relu(torch.relu(x @ first.weight.T + first.bias) @ second.weight.T + second.bias)
    expected = (hidden + x @ net.skip.weight.T) @ net.head.weight.T + net.head.bias
    torch.testing.assert_close(net(x), expected)


def test_linear_plus_nonlinear_computes_its_formula():
    net = LinearPlusNonlinear(4, 7, width=3).eval()
    x = torch.randn(10, 4)
    first, second = net.nonlinear[0], net.nonlinear[3]
    bent = torch.sigmoid(x @ first.weight.T + first.bias) @ second.weight.T + second.bias
    torch.testing.assert_close(net(x), x @ net.linear.weight.T + net.linear.bias + bent)


def test_smooth_mlp_computes_its_formula():
    net = SmoothMLP(7, 4, width=5, depth=3)
    x = torch.randn(10, 7)

    def bent(layer, h):
        z = h @ layer.weight.T + layer.bias
        return z / (1 + torch.exp(-z))

    h = bent(net.first, x)
    for layer in net.hidden:
        h = h + bent(layer, h)
    expected = h @ net.head.weight.T + net.head.bias + x @ net.skip.weight.T
    torch.testing.assert_close(net(x), expected)


@pytest.mark.parametrize("network", [ResidualMLP, LinearPlusNonlinear])
def test_dropout_acts_in_training_alone(network):
    net, x = network(7, 4), torch.randn(10, 7)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))


def test_standardize_gives_mean_zero_and_spread_one_and_back_once_it_is_fitted():
    x = 5 + 3 * torch.randn(1000, 2, dtype=torch.float64)
    scale = Standardize()
    assert not scale.fitted
    assert torch.equal(scale(x), x)
    assert torch.equal(scale.inverse(x), x)
    scale.fit(x.mean(0), x.std(0))
    z = scale(x)
    torch.testing.assert_close(z.mean(0), torch.zeros(2).double())
    torch.testing.assert_close(z.std(0), torch.ones(2).double())
    torch.testing.assert_close(scale.inverse(z), x)


@pytest.mark.parametrize("cast", [nn.Module.half, nn.Module.bfloat16, nn.Module.float])
def test_standardize_keeps_all_digits_of_its_statistics_whatever_it_is_cast_to(cast):
    mean, std = torch.tensor([[1.7e9 + 0.125, 1e39], [17.0, 1e-60]], dtype=torch.float64)
    pair = cast(nn.Sequential(Standardize(mean, std), nn.Linear(2, 2)))
    assert torch.equal(pair[0].mean, mean)
    assert torch.equal(pair[0].std, std)
    assert pair[1].weight.dtype != torch.float64
    again = nn.Sequential(Standardize(), nn.Linear(2, 2))
    again.load_state_dict(pair.state_dict())  # of another size
    assert again[0].fitted
    assert torch.equal(again[0].mean, mean)


def test_standardize_gives_what_float32_holds_of_numbers_that_it_does_not_hold():
    x = torch.tensor([[1.7e9 + 1], [1.7e9 + 2.5]], dtype=torch.float64)
    scale = Standardize(*torch.tensor([[1.7e9 + 1], [0.5]], dtype=torch.float64))
    z = scale(x).float()
    assert z.tolist() == [[0.0], [3.0]]
    assert torch.equal(scale.inverse(z), x)


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        (torch.zeros(2), None),
        (torch.zeros(2), torch.ones(3)),
        (torch.zeros(2), torch.tensor([1.0, 0.0])),
        (torch.zeros(2), torch.tensor([1.0, torch.nan])),
        (torch.tensor([torch.inf, 0.0]), torch.ones(2)),
    ],
)
def test_standardize_refuses_statistics_that_make_no_sense(mean, std):
    with pytest.raises(ValueError, match="`std`"):
        Standardize(mean, std)
