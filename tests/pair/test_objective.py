import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss

from lightning_invert import AlphaSchedule, ConstantAlpha, LinearDecayAlpha, consistency_loss
from lightning_invert.pair.ensemble import Ensemble
from lightning_invert.pair.loss import pair_loss


@pytest.fixture
def pair():
    return nn.Linear(7, 4), nn.Linear(4, 7), torch.randn(16, 7), torch.randn(16, 4)


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.5, 1.0])
def test_loss_is_the_stated_sum(pair, alpha):
    f, i, x, y = pair
    loss = pair_loss(f, i, x, y, alpha=alpha)
    expected = mse_loss(f(x), y) + (1 - alpha) * mse_loss(i(y), x) + alpha * mse_loss(f(i(y)), y)
    torch.testing.assert_close(loss.total, expected)
    torch.testing.assert_close(loss.consistency, consistency_loss(f, i, y))
    torch.testing.assert_close(loss.y_hat, f(x))


@pytest.mark.parametrize("trains_forward", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_consistency_trains_the_inverse_and_the_forward_only_where_it_may(
    pair, alpha, trains_forward
):
    f, i, x, y = pair
    loss = pair_loss(f, i, x, y, alpha=alpha, consistency_trains_forward=trains_forward)
    loss.total.backward()
    consistency = alpha * mse_loss(f(i(y)), y)
    of_f = mse_loss(f(x), y) + (consistency if trains_forward else 0)
    of_i = (1 - alpha) * mse_loss(i(y), x) + consistency
    (for_f,) = torch.autograd.grad(of_f, f.weight, retain_graph=True)
    (for_i,) = torch.autograd.grad(of_i, i.weight)
    torch.testing.assert_close(f.weight.grad, for_f)
    torch.testing.assert_close(i.weight.grad, for_i)
    assert f.weight.requires_grad


def test_a_frozen_forward_stays_frozen(pair):
    f, i, x, y = pair
    f.requires_grad_(False)
    pair_loss(f, i, x, y, alpha=1.0).total.backward()
    assert f.weight.grad is None
    assert not f.weight.requires_grad


def test_forward_weights_are_released_even_if_the_network_fails(pair):
    f, i, x, y = pair

    class Fails(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.calls = f, 0

        def forward(self, x):
            self.calls += 1
            if self.calls == 2:
                raise RuntimeError("no")
            return self.inner(x)

    with pytest.raises(RuntimeError, match="no"):
        pair_loss(Fails(), i, x, y, alpha=0.5)
    assert f.weight.requires_grad


def test_reference_schedule_falls_from_a_tenth_to_zero_in_500_epochs():
    schedule = LinearDecayAlpha()
    for epoch in (0, 1, 250, 499, 500, 1000):
        assert schedule(epoch) == pytest.approx(0.1 * max(0, 1 - epoch / 500))


def test_schedules_are_values_and_their_base_is_abstract():
    assert LinearDecayAlpha(0.2, 10) == LinearDecayAlpha(0.2, 10)
    assert ConstantAlpha(0.2) != ConstantAlpha(0.3)
    with pytest.raises(NotImplementedError):
        AlphaSchedule()(0)


@pytest.mark.parametrize(
    ("forward", "inverse", "name"),
    [
        (nn.Linear(3, 1), nn.Linear(2, 3), "forward_net"),
        (nn.Linear(3, 4), nn.Linear(2, 3), "forward_net"),
        (Ensemble(nn.Linear(3, 4), 2), nn.Linear(2, 3), "forward_net"),
        (nn.Linear(3, 2), nn.Linear(2, 1), "inverse_net"),
        (nn.Sequential(nn.Linear(3, 1), nn.Flatten(0)), nn.Linear(2, 3), "forward_net"),
    ],
    ids=str,
)
def test_a_network_of_another_size_than_the_data_is_named(forward, inverse, name):
    # Torch would broadcast one column to all of them.
    with pytest.raises(ValueError, match=f"`{name}` to return shape .*or None"):
        pair_loss(forward, inverse, torch.rand(5, 3), torch.rand(5, 2), alpha=0.5)
