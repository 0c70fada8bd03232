import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn

from lightning_invert import LinearPlusNonlinear, ResidualMLP, Standardize, batched_jacobian
from lightning_invert.jacobians import pullback as home
from lightning_invert.jacobians.pullback import Pullback


def shared_by_two(x):
    z = nn.functional.linear(x.sin(), torch.ones(5, 5)).tanh() @ torch.eye(5)
    return z.tanh() + (z.sin() * z + z) * 2


KNOWN = {
    **{
        activation.__name__: activation()
        for activation in (
            nn.CELU,
            nn.ELU,
            nn.GELU,
            nn.Hardshrink,
            nn.Hardsigmoid,
            nn.Hardswish,
            nn.Hardtanh,
            nn.LeakyReLU,
            nn.LogSigmoid,
            nn.Mish,
            nn.PReLU,
            nn.ReLU,
            nn.ReLU6,
            nn.SELU,
            nn.SiLU,
            nn.Sigmoid,
            nn.Softplus,
            nn.Softshrink,
            nn.Softsign,
            nn.Tanh,
            nn.Tanhshrink,
        )
    },
    "affine": lambda x: (x - 2) / torch.arange(1.0, 6.0) * 3 + 1,
    "reversed": lambda x: 1 - 2 / (x.square() + 1) - torch.ones(5),
    "functions": lambda x: x.sin() * x.cos() + x.exp().log1p() + (x.abs() + 1).sqrt().log(),
    "powers": lambda x: x**3 + (x.square() + 1).rsqrt() + x.sinh() / x.cosh() + x.atan(),
    "choices": lambda x: torch.where(x > 0, x, 2 * x) + torch.minimum(x, x * x) + x.clamp(0, 1),
    "scaled sums": lambda x: torch.sub(torch.add(x, x, alpha=2), x * x, alpha=3),
    "products": lambda x: torch.addcmul(x, x, x) + torch.lerp(x, x * x, 0.3),
    "without bias": nn.Linear(5, 3, bias=False),
    "scaled product": lambda x: torch.addmm(torch.ones(3), x, torch.ones(5, 3), alpha=2.5),
    "wide layers": nn.Sequential(nn.Linear(5, 40), nn.Tanh(), nn.Linear(40, 20)),
    "shapes": lambda x: x.unflatten(1, (1, 5)).square().unsqueeze(1).clone().squeeze(1).flatten(1),
    "BatchNorm in evaluation mode": nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 3)).eval(),
    "shared by two": shared_by_two,
    "residual": ResidualMLP(5, 3).eval(),
    "linear plus nonlinear": LinearPlusNonlinear(5, 3).eval(),
    "standardised": nn.Sequential(Standardize(torch.ones(5), torch.ones(5) * 3), nn.Linear(5, 2)),
}

UNKNOWN = {
    "an average over the batch": lambda x: x - x.mean(0),
    "a broadcast": lambda x: x[:, :1] * torch.ones(5),
    "a sum over the row": lambda x: x / x.sum(1, keepdim=True),
    "a concatenation": lambda x: torch.cat([x, x], 1),
    "the points as columns": lambda x: (torch.ones(3, 5) @ x.T).T,
    "points among the rows": lambda x: nn.Linear(1, 2)(x[:, :, None]).flatten(1),
    "BatchNorm in training mode": nn.BatchNorm1d(5),
    "the same points": lambda x: x,
    "a gradient of its own": lambda x: torch.autograd.grad(x.tanh().sum(), x, create_graph=True)[0],
}


def prepared(function, points=6):
    x = torch.randn(points, 5).requires_grad_()
    y = function(x)
    return x, y, Pullback(x, y)


@pytest.mark.parametrize("name", KNOWN)
def test_carries_every_cotangent_as_autograd_does(name):
    x, y, pullback = prepared(KNOWN[name])
    assert pullback.supported
    cotangents = torch.randn(4, *y.shape)
    expected = [torch.autograd.grad(y, x, c, retain_graph=True)[0] for c in cotangents]
    torch.testing.assert_close(pullback(cotangents), torch.stack(expected))


@pytest.mark.parametrize("name", KNOWN)
def test_a_cotangent_of_all_points_is_the_same_as_one_of_each(name):
    _, y, pullback = prepared(KNOWN[name])
    cotangent = torch.randn(3, 1, *y.shape[1:])
    torch.testing.assert_close(pullback(cotangent), pullback(cotangent.expand(3, *y.shape)))


@pytest.mark.parametrize("name", UNKNOWN)
def test_leaves_alone_what_it_does_not_know(name):
    assert not prepared(UNKNOWN[name])[-1].supported


def test_leaves_alone_what_does_not_depend_on_the_points():
    x = torch.randn(6, 5).requires_grad_()
    assert not Pullback(x, torch.ones(6, 5) * nn.Parameter(torch.ones(5))).supported


@settings(max_examples=40, deadline=None)
@given(
    widths=st.lists(st.integers(1, 20), min_size=1, max_size=4),
    points=st.integers(1, 7),
    seed=st.integers(0, 2**16),
)
def test_of_any_perceptron_equals_autograds(widths, points, seed):
    torch.manual_seed(seed)
    layers = [
        nn.Sequential(nn.Linear(n, m), nn.Tanh())
        for n, m in zip([5, *widths], widths, strict=False)
    ]
    x, y, pullback = prepared(nn.Sequential(*layers), points)
    cotangents = torch.randn(2, *y.shape)
    expected = [torch.autograd.grad(y, x, c, retain_graph=True)[0] for c in cotangents]
    torch.testing.assert_close(pullback(cotangents), torch.stack(expected))


@pytest.mark.parametrize("name", ["skip", "skipped"])
def test_a_cotangent_of_all_points_stays_one_through_either_side_of_a_sum(name, monkeypatch):
    skip, hidden = nn.Linear(5, 4), nn.Sequential(nn.Linear(5, 4), nn.Tanh())
    rows = []
    original = home._through_linear

    def watched(*arguments):
        rule = original(*arguments)
        return lambda g, owned: (rows.append(g.shape[1]), rule(g, owned))[1]

    monkeypatch.setattr(home, "_through_linear", watched)
    x = torch.randn(6, 5).requires_grad_()
    y = skip(x) + hidden(x) if name == "skip" else hidden(x) + skip(x)
    pulled = Pullback(x, y)(torch.eye(4)[:, None])
    assert sorted(rows) == [1, 6]
    expected = [torch.autograd.grad(y[:, i].sum(), x, retain_graph=True)[0] for i in range(4)]
    torch.testing.assert_close(pulled, torch.stack(expected))


def test_depth_is_no_limit():
    x = torch.randn(2, 5).requires_grad_()
    y = x
    for _ in range(5000):
        y = y + 1
    torch.testing.assert_close(Pullback(x, y)(torch.eye(5)[:, None])[:, 0], torch.eye(5))


def test_a_nan_stays_at_its_point():
    x = torch.randn(3, 5)
    x[1] = torch.nan
    x.requires_grad_()
    pulled = Pullback(x, KNOWN["wide layers"](x))(torch.eye(20)[:, None])
    assert pulled[:, 1].isnan().all()
    assert pulled[:, [0, 2]].isfinite().all()


def test_gradients_of_parameters_are_not_touched():
    net = KNOWN["residual"]
    x, _, pullback = prepared(net)
    pullback(torch.ones(1, 1, 3))
    assert all(p.grad is None for p in net.parameters())
    assert x.grad is None


READ_FROM_NODES = ["_input_metadata", "_saved_mat2", "_saved_alpha", "_saved_training"]


def reads_all(x):
    """A graph of which all private attributes are read."""
    y = KNOWN["BatchNorm in evaluation mode"](x)
    return torch.addmm(torch.ones(3), y, torch.arange(12.0).view(3, 4)[:, :3], alpha=2.5)


def test_torch_still_calls_by_these_names_what_is_read_from_its_nodes(monkeypatch):
    read = set()
    original = home._private
    monkeypatch.setattr(
        home, "_private", lambda node, name: (read.add(name), original(node, name))[1]
    )
    assert prepared(KNOWN["wide layers"])[-1].supported
    assert prepared(reads_all)[-1].supported
    assert read == set(READ_FROM_NODES)


@pytest.mark.parametrize("name", READ_FROM_NODES)
@pytest.mark.parametrize("how", ["gone", "none", "another"])
def test_where_torch_s_nodes_have_changed_autograd_serves(name, how, monkeypatch):
    def changed(node, asked):
        if asked != name:
            return getattr(node, asked)
        if how == "gone":
            raise AttributeError(name)
        return None if how == "none" else [torch.ones(2, 2)]

    monkeypatch.setattr(home, "_private", changed)
    x, y, pullback = prepared(reads_all)
    assert not pullback.supported
    expected = torch.stack(
        [torch.autograd.grad(y[:, i].sum(), x, retain_graph=True)[0] for i in range(3)], 1
    )
    torch.testing.assert_close(batched_jacobian(reads_all, x.detach()), expected)


def test_what_autograd_refuses_is_left_for_it_to_say():
    x = torch.randn(6, 5).requires_grad_()
    hidden = x.tanh()
    y = hidden * 2
    with torch.no_grad():
        hidden.zero_()
    assert not Pullback(x, y + hidden.tanh() * 0 + x.tanh() @ torch.ones(5, 5)).supported
