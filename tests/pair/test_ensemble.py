import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss

from lightning_invert import (
    Ensemble,
    ForwardInverseModule,
    LinearPlusNonlinear,
    ResidualMLP,
    SmoothMLP,
    batched_jacobian,
)
from lightning_invert.pair.loss import pair_loss
from tests.pair.fitting import saved
from tests.projects import Smooth, quiet_trainer


@pytest.fixture
def ensemble():
    return Ensemble(SmoothMLP(3, 2, width=8))


@pytest.fixture
def batch():
    return torch.randn(16, 3), torch.randn(16, 2)


@pytest.mark.parametrize("members", [1, 2, 5])
def test_it_is_the_mean_of_its_members(members, batch):
    ensemble, (x, _) = Ensemble(SmoothMLP(3, 2, width=8), members), batch
    each = torch.stack([network(x) for network in ensemble.networks])
    assert each.shape == (members, 16, 2)
    assert torch.equal(ensemble.members(x), each)
    torch.testing.assert_close(ensemble(x), each.mean(0))


@pytest.mark.parametrize(
    "network",
    [
        SmoothMLP(3, 2),
        ResidualMLP(3, 2),
        LinearPlusNonlinear(3, 2),
        nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.PReLU(), nn.Linear(4, 2)),
    ],
    ids=lambda network: type(network).__name__,
)
def test_members_are_of_one_shape_and_drawn_apart(network):
    begun = [parameter.clone() for parameter in network.parameters()]
    first, *others = Ensemble(network).networks
    assert first is network
    assert all(map(torch.equal, begun, first.parameters()))
    layers = [layer for layer in nn.ModuleList(others).modules() if isinstance(layer, nn.Linear)]
    weights = [layer.weight.flatten()[0].item() for layer in layers]
    assert len({*weights}) == len(weights)
    assert [str(other) for other in others] == [str(first)] * 2


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale, self.linear = nn.Parameter(torch.ones(1)), nn.Linear(3, 2)

    def forward(self, x):
        return self.scale * self.linear(x)


def test_a_network_that_cannot_be_drawn_anew_is_named_and_may_be_listed(batch):
    with pytest.raises(ValueError, match=r"`network` .* 'scale' did not change.* list of networks"):
        Ensemble(Scaled())
    each = [Scaled(), Scaled()]
    ensemble = Ensemble(each)
    assert [*ensemble.networks] == each
    assert ensemble.members(batch[0]).shape == (2, 16, 2)
    Ensemble(Scaled(), members=1)


@pytest.mark.parametrize(
    ("network", "members", "words"),
    [
        ([], None, "`network`"),
        ([nn.Linear(3, 2)] * 2, None, "`network` .* each once"),
        ([nn.Linear(3, 2), nn.Linear(3, 2)], 3, "`members` to be 2, as `network` has"),
    ],
)
def test_a_list_that_is_no_ensemble_is_refused(network, members, words):
    with pytest.raises(ValueError, match=words):
        Ensemble(network, members)


@pytest.mark.parametrize("options", [{"alpha": 0.0}, {"alpha": 0.8}, {"forward_only": True}])
def test_each_member_is_trained_by_its_own_loss(options, ensemble, batch):
    x, y = batch
    pair_loss(ensemble, SmoothMLP(2, 3), x, y, **{"alpha": 0.5, **options}).total.backward()
    found = [parameter.grad for parameter in ensemble.parameters()]
    each = sum(mse_loss(network(x), y) for network in ensemble.networks) / 3
    torch.testing.assert_close(found, [*torch.autograd.grad(each, ensemble.parameters())])


def test_its_losses_are_those_of_its_mean(ensemble, batch):
    (x, y), inverse = batch, SmoothMLP(2, 3)
    loss = pair_loss(ensemble, inverse, x, y, alpha=0.25)
    each = torch.stack([mse_loss(network(x), y) for network in ensemble.networks]).mean()
    torch.testing.assert_close(loss.y_hat, ensemble(x))
    torch.testing.assert_close(loss.forward, mse_loss(ensemble(x), y))
    torch.testing.assert_close(loss.consistency, mse_loss(ensemble(inverse(y)), y))
    torch.testing.assert_close(loss.total, each + 0.75 * loss.inverse + 0.25 * loss.consistency)


class Parts(nn.Module):
    def __init__(self):
        super().__init__()
        self.members = nn.ModuleList([nn.Linear(3, 4), nn.Linear(4, 2)])

    def forward(self, x):
        return self.members[1](self.members[0](x))


def test_submodules_called_members_make_no_ensemble(batch):
    parts, (x, y) = Parts(), batch
    loss = pair_loss(parts, nn.Linear(2, 3), x, y, alpha=0.0)
    torch.testing.assert_close(loss.total - loss.inverse, mse_loss(parts(x), y))
    pair = ForwardInverseModule(parts, nn.Linear(2, 3)).eval()
    assert pair.pair.members(x) is None
    assert pair.propose(torch.zeros(5, 2), bounds=([-1.0] * 3, [1.0] * 3)).inputs.shape == (5, 3)


def test_its_jacobian_is_the_mean_of_its_members(ensemble, batch):
    x = batch[0]
    each = [torch.func.vmap(torch.func.jacrev(network))(x) for network in ensemble.networks]
    torch.testing.assert_close(batched_jacobian(ensemble, x), torch.stack(each).mean(0))


def test_a_pair_trains_logs_and_keeps_it(ensemble, tmp_path):
    module = ForwardInverseModule(ensemble, alpha=0.5)
    again = ForwardInverseModule.load_from_checkpoint(saved(module, tmp_path)).eval()
    assert isinstance(again.forward_net, Ensemble)
    x, y = next(iter(Smooth().val_dataloader()))
    assert torch.equal(again(x), module.eval()(x))
    found = quiet_trainer(tmp_path).validate(again, datamodule=Smooth(), verbose=False)[0]
    error = again.scale_y(again(x)) - again.scale_y(y)
    assert found["val/forward"] == pytest.approx(error.square().mean().item(), rel=1e-4)
