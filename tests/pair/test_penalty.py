import pytest
import torch
from torch import nn
from torch.autograd import gradcheck
from torch.func import functional_call

from lightning_invert import ConditioningPenalty, JacobianConsistency, ResidualMLP
from tests.jacobians.reference import jacobians_by_autograd


def net(n=5, m=3, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(n, 8), nn.Tanh(), nn.Linear(8, m)).double()


def test_the_penalty_is_that_of_autograds_jacobian():
    f, x = net(), torch.randn(6, 5, dtype=torch.float64)
    cond = torch.linalg.cond(jacobians_by_autograd(f, x))
    expected = 0.3 * (cond / 2.0).log().clamp(min=0).square().mean()
    found = ConditioningPenalty(0.3, limit=2.0, num_points=6)(f, x)
    assert found.item() == pytest.approx(expected.item(), rel=1e-9)


def test_the_term_of_the_slope_is_that_of_autograds_jacobians():
    f, i, y = net(5, 3), net(3, 5, seed=1), torch.randn(4, 3, dtype=torch.float64)
    product = jacobians_by_autograd(f, i(y).detach()) @ jacobians_by_autograd(i, y)
    expected = 2.0 * (product - torch.eye(3)).square().sum((1, 2)).mean() / 3
    found = JacobianConsistency(2.0)(f, i, y)
    assert found.item() == pytest.approx(expected.item(), rel=1e-9)


@pytest.mark.parametrize("kind", ["conditioning", "slope"])
def test_the_gradient_is_that_of_finite_differences(kind):
    f, i, x = net(), net(3, 5, seed=1), torch.randn(3, 5, dtype=torch.float64)
    names = [name for name, _ in f.named_parameters()]

    def term(*weights):
        def function(v):
            return functional_call(f, dict(zip(names, weights, strict=True)), (v,))

        if kind == "slope":
            return JacobianConsistency(1.0)(function, i, x[:, :3])
        return ConditioningPenalty(1.0, limit=1.5)(function, x)

    assert gradcheck(term, tuple(f.parameters()))


def test_the_gradient_is_finite_where_the_map_is_singular():
    f = nn.Linear(3, 2)
    with torch.no_grad():
        f.weight[1] = f.weight[0]
    for scale in (1.0, 0.0):
        with torch.no_grad():
            f.weight.mul_(scale)
        f.zero_grad()
        value = ConditioningPenalty()(f, torch.randn(4, 3))
        value.backward()
        assert value.isfinite()
        assert f.weight.grad.isfinite().all()


def test_below_the_limit_it_costs_nothing_and_only_the_first_points_count():
    f, x = net(), torch.randn(6, 5, dtype=torch.float64)
    penalty = ConditioningPenalty(limit=1e5)(f, x)
    penalty.backward()
    assert penalty.item() == 0
    assert all(p.grad is None or not p.grad.any() for p in f.parameters())
    few = ConditioningPenalty(limit=1.0, num_points=2)
    assert few(f, x) == few(f, x[:2])
    assert few(f, x) != few(f, x[2:])


def test_dropout_is_off_and_flags_and_random_streams_are_left_alone():
    f, i = ResidualMLP(5, 3), ResidualMLP(3, 5)
    f.train(), i.train()
    x, state = torch.randn(6, 5), torch.get_rng_state()
    first = ConditioningPenalty(limit=1.0)(f, x), JacobianConsistency()(f, i, x[:, :3])
    second = ConditioningPenalty(limit=1.0)(f, x), JacobianConsistency()(f, i, x[:, :3])
    assert first == second
    assert all(part.training for net in (f, i) for part in net.modules())
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_in_half_precision_have_a_penalty_in_float32(dtype):
    nets, x = (net(), net(3, 5, seed=1)), torch.randn(6, 5).to(dtype)

    def penalties(x):
        yield ConditioningPenalty(1.0, limit=1.0)(nets[0], x)
        yield JacobianConsistency(1.0)(*nets, x[:, :3])

    exacts = [exact.item() for exact in penalties(x.double())]
    for part in nets:
        part.to(dtype)
    for value, exact in zip(penalties(x), exacts, strict=True):
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(exact, rel=0.1)
        value.backward()
