import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from torch import nn

from lightning_invert.jacobians import work
from lightning_invert.jacobians.work import MAX_WORK, Plan, flops_of, numbers_saved, plan
from lightning_invert.watch.watcher import Watcher
from tests.watch.looks import look
from tests.watch.reference import spectra_point_by_point


def elementwise(net, x):
    saved, m = numbers_saved(net, x)
    return work.MEMORY * (saved + x[0].numel() + m)


def test_products_are_counted_and_what_is_elementwise_is_added():
    net = nn.Sequential(nn.Linear(7, 64), nn.Tanh(), nn.Linear(64, 4))
    x = torch.randn(1, 7)
    assert numbers_saved(net, x) == (7 + 64, 4)
    assert flops_of(net, x) == 2 * (7 * 64 + 64 * 4) + work.MEMORY * (7 + 64 + 7 + 4)


def test_convolutions_cost_more_than_their_parameters():
    net = nn.Conv2d(3, 8, 3, padding=1)
    x = torch.randn(5, 3, 16, 16)
    assert flops_of(net, x) - elementwise(net, x) == 2 * 256 * 8 * 3 * 9


def test_only_the_shape_matters_and_only_that_of_a_point():
    net = nn.Sequential(nn.Linear(7, 64), nn.ReLU(), nn.Linear(64, 4))
    assert flops_of(net, torch.randn(100, 7)) == flops_of(net, torch.full((1, 7), torch.nan))


def test_counting_leaves_no_trace(capsys):
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 3))
    x = torch.randn(1, 1, 8, 8)
    state, hooks = torch.get_rng_state(), len(torch.nn.modules.module._global_forward_hooks)
    with torch.no_grad():
        assert flops_of(net, x) > 0
    assert capsys.readouterr() == ("", "")
    assert torch.equal(torch.get_rng_state(), state)
    assert len(torch.nn.modules.module._global_forward_hooks) == hooks
    assert all(not part._forward_hooks and not part._forward_pre_hooks for part in net.modules())
    assert all(parameter.grad is None for parameter in net.parameters())
    assert not x.requires_grad


def test_two_for_each_parameter_where_nothing_can_be_counted(monkeypatch):
    class Refusing:
        def __init__(self, **_):
            raise RuntimeError("not here")

    monkeypatch.setattr(work, "FlopCounterMode", Refusing)
    net, x = nn.Linear(7, 4, bias=False), torch.randn(1, 7)
    assert flops_of(net, x) - elementwise(net, x) == 2 * 28
    assert flops_of(net.forward, x) - elementwise(net, x) == 2 * 28
    assert flops_of(torch.sin, x) == elementwise(torch.sin, x)


def test_a_function_that_takes_a_derivative_is_counted():
    energy = nn.Sequential(nn.Linear(6, 20), nn.Tanh(), nn.Linear(20, 1))

    def force(x):
        with torch.enable_grad():
            x = x if x.requires_grad else x.requires_grad_()
            return torch.autograd.grad(energy(x).sum(), x, create_graph=True)[0]

    assert flops_of(force, torch.randn(1, 6)) > 2 * 2 * 140


@pytest.mark.parametrize(("m", "n", "width"), [(4, 7, 64), (64, 64, 256), (256, 256, 512)])
def test_what_is_formed_quickly_is_formed_at_all_points(m, n, width):
    net = nn.Sequential(
        nn.Linear(n, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, m)
    )
    assert plan(flops_of(net, torch.zeros(1, n)), (m, n), 256) == Plan(True, 256)


@pytest.mark.parametrize(
    ("flops", "shape", "formed"),
    [
        (80 * 10**6, (10, 3072), True),  # a ResNet: its 10 rows at fewer points
        (2 * 10**6, (784, 784), False),
        (150 * 10**6, (1000, 12288), False),
        (1000 * 10**6, (12288, 12288), False),
    ],
)
def test_large_maps_are_looked_at_with_less(flops, shape, formed):
    found = plan(flops, shape, 256)
    assert found.formed == formed
    assert found.num_points >= (32 if formed else 4)


@given(
    flops=st.integers(0, 10**13),
    shape=st.tuples(st.integers(1, 10**6), st.integers(1, 10**6)),
    num_points=st.integers(1, 10**6),
)
def test_a_plan_is_affordable_or_the_least(flops, shape, num_points):
    found = plan(flops, shape, num_points)
    assert 1 <= found.num_points <= num_points
    if found.formed:
        assert shape[0] * shape[1] <= work.MAX_ENTRIES
        assert found.num_points >= min(num_points, 32)
        assert found.num_points * work.work_of_forming(flops, *shape) <= MAX_WORK
        assert (found.probes, found.steps) == (0, 0)
    else:
        assert found.num_points >= min(num_points, 4)
        assert found.probes >= 3
        assert found.steps >= 4
        one = work.work_of_probing(flops, *shape, found.probes, found.steps)
        least = Plan(False, min(num_points, 4), 3, 4)
        assert found == least or found.num_points * one <= MAX_WORK


def test_more_work_never_buys_more():
    plans = [plan(10**digits, (784, 784), 256) for digits in (4, 6, 7, 8, 9, 10)]
    products = [p.num_points * p.probes * p.steps for p in plans if not p.formed]
    assert products == sorted(products, reverse=True)


SLOPES = {
    "grad": lambda f: torch.func.vmap(torch.func.grad(lambda z: f(z).sum())),
    "vjp": lambda f: lambda x: torch.func.vjp(f, x)[1](torch.ones(len(x), 4))[0],
    "jvp": lambda f: lambda x: torch.func.jvp(f, (x,), (torch.ones_like(x),))[1],
    "hessian": lambda f: torch.func.vmap(
        lambda z: torch.func.hessian(lambda w: f(w).square().sum())(z).sum(0)
    ),
}


class Slope(nn.Module):
    def __init__(self, kind):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 4))
        self.kind = kind

    def forward(self, x):
        return SLOPES[self.kind](self.net)(x)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize("kind", SLOPES)
def test_a_map_with_slopes_of_torch_func_is_watched(kind):
    module = Slope(kind)
    x = torch.randn(16, 3, generator=torch.Generator().manual_seed(0))
    (observation,) = look(Watcher(on_error="raise"), module, [x])
    expected = spectra_point_by_point(module, observation.inputs)
    np.testing.assert_allclose(observation.singular_values, expected, rtol=1e-4, atol=1e-6)
