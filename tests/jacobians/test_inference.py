"""Functions that hold tensors made in inference mode: a gradient passes through none of them."""

import functools
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from lightning_invert import (
    ConditioningPenalty,
    ForwardInverseModule,
    Interval,
    Near,
    analyze,
    batched_jacobian,
    singular_values,
    solve,
)
from lightning_invert.proposals.evidence import Evidence
from lightning_invert.proposals.proposer import Proposer
from lightning_invert.watch.maps import MapError
from lightning_invert.watch.watcher import Watcher
from tests.projects import Smooth, quiet_trainer
from tests.watch.looks import look

SCALE = torch.linspace(0.5, 1.5, 3)

torch.manual_seed(0)
NET = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))
BOX = ([-1.0] * 3, [1.0] * 3)
MADE = []
"""The tensors made in inference mode, to which the functions are proportional."""


def made():
    with torch.inference_mode():
        MADE.append(SCALE.clone())
    return MADE[-1]


def expected(x):
    return NET(x * SCALE)


class Attribute(nn.Module):
    """Keeps what it is given, and finds the tensor in it."""

    def __init__(self, kept, find=lambda kept: kept):
        super().__init__()
        self.net, self.kept, self.find = NET, kept, find

    def forward(self, x):
        return self.net(x * self.find(self.kept))


class Lazy(nn.Module):
    """Makes its cache when it is first evaluated, which is in inference mode."""

    def __init__(self):
        super().__init__()
        self.register_buffer("cache", None)
        with torch.inference_mode():
            self(torch.zeros(2, 3))
        MADE.append(self.cache)

    def forward(self, x):
        if self.cache is None:
            self.cache = torch.linspace(0.5, 1.5, 3)
        return NET(x * self.cache)


class WithWeights(nn.Module):
    """Its weights were made in inference mode, as those of a lazy module are in a first prediction."""

    def __init__(self):
        super().__init__()
        with torch.inference_mode():
            self.diagonal = weight_norm(nn.Linear(3, 3, bias=False))
            self.diagonal.weight = torch.diag(SCALE)
        MADE.append(self.diagonal.parametrizations.weight.original0)

    def forward(self, x):
        return NET(self.diagonal(x))


def in_a_closure():
    scale = made()
    return lambda x: NET(x * scale)


class OfItsOwn(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, scale):
        ctx.save_for_backward(scale)
        return x * scale

    @staticmethod
    def backward(ctx, slope):
        return slope * ctx.saved_tensors[0], None


def in_a_cache():
    cached = functools.cache(lambda: torch.linspace(0.5, 1.5, 3))
    with torch.inference_mode():
        MADE.append(cached())
    return lambda x: NET(x * cached())


def in_a_generator():
    scale = made()
    scales = (scale for _ in iter(int, 1))
    return lambda x: NET(x * next(scales))


CARRIERS = {
    "attribute": lambda: Attribute(made()),
    "set": lambda: Attribute({made()}, lambda kept: next(iter(kept))),
    "written in place": lambda: Attribute(made(), lambda kept: kept.mul_(1.0)),
    "lazy buffer": Lazy,
    "weights": WithWeights,
    "closure": in_a_closure,
    "cache": in_a_cache,
    "generator": in_a_generator,
    "function of its own": lambda: of_its_own(made()),
    "hook": lambda: hooked(),
}
"""Each operation is given the clones: where a tensor is held does not matter, but how it is used."""


def of_its_own(scale):
    return lambda x: NET(OfItsOwn.apply(x, scale))


def hooked():
    net, scale = nn.Sequential(nn.Identity(), NET), made()
    net[0].register_forward_hook(lambda module, args, output: output * scale)
    return net


@pytest.fixture(params=CARRIERS.values(), ids=CARRIERS)
def function(request):
    return request.param()


def test_a_jacobian_is_taken(function):
    x = torch.randn(5, 3)
    reference = batched_jacobian(expected, x)
    torch.testing.assert_close(batched_jacobian(function, x), reference)
    torch.testing.assert_close(batched_jacobian(function, x, create_graph=True), reference)


def test_it_is_analyzed(function):
    x = torch.randn(50, 3)
    reference = analyze(expected, x)
    found = analyze(function, x, truth=function, runs=[function])
    torch.testing.assert_close(found.singular_values, reference.singular_values)
    assert found.scalars["jacobian_error_p95"] < 1e-5


def test_it_is_solved_with_a_cost_of_its_kind(function):
    y = NET(torch.rand(5, 3)).detach()
    cost = lambda g: lambda x: g(x)[:, 0]
    reference = solve(expected, y, bounds=BOX, cost=cost(expected))
    found = solve(function, y, bounds=BOX, cost=cost(function))
    assert torch.equal(found.converged, reference.converged)
    torch.testing.assert_close(found.cost, reference.cost, rtol=1e-3, atol=1e-3)


def test_proposals_are_made_and_the_very_tensors_put_back(function):
    x = torch.rand(80, 3)
    y = expected(x).detach()
    evidence = Evidence.of(train=(x[:40], y[:40]), val=(x[40:], y[40:]))
    proposal, reference = (
        Proposer(
            f,
            evidence=evidence,
            inverse=lambda y, f=f: f(y.repeat(1, 2)[:, :3]).repeat(1, 2)[:, :3],
        ).propose(y[:3], cost=lambda x, f=f: f(x)[:, 1])
        for f in (function, expected)
    )
    torch.testing.assert_close(proposal.cost, reference.cost, rtol=1e-3, atol=1e-3)
    with torch.inference_mode():
        torch.testing.assert_close(function(x), expected(x))
        for tensor in MADE:
            tensor.mul_(2)
        torch.testing.assert_close(function(x), expected(2 * x))
        for tensor in MADE:
            tensor.div_(2)


def test_where_no_clone_can_be_given_the_reason_is_told():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = made()

        def forward(self, x):
            return x * self.scale

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        function, x = torch.jit.script(Scaled()), torch.randn(3, 3)
    words = r"made in inference mode.*clone.*inference_mode=False"
    with pytest.raises(RuntimeError, match=words):
        batched_jacobian(function, x)
    with pytest.raises(RuntimeError, match=words):
        solve(function, [[0.0, 0.0, 0.0]], bounds=BOX)
    with pytest.raises(MapError, match=words):
        analyze(function, x)


def test_what_solving_counts_stays_counted():
    calls, scale = [], made()

    def function(x):
        calls.append(len(x))
        return NET(x * scale)

    solve(function, [[0.0, 0.0]], bounds=BOX)
    assert calls


with torch.inference_mode():
    X, PRICES = torch.rand(40, 3), torch.tensor([1.0, 2.0, 3.0])
    Y, ENDS, WITHIN = NET(X), torch.ones(3), torch.zeros(40)
KNOWN = Evidence.of(train=(X[:20], Y[:20]), val=(X[20:], Y[20:]))

TAKING = {
    "batched_jacobian": lambda: batched_jacobian(NET, X),
    "forward mode": lambda: batched_jacobian(NET, X, mode="forward"),
    "with a graph": lambda: batched_jacobian(NET, X, create_graph=True).detach(),
    "analyze": lambda: analyze(NET, X, truth=NET, directions=True).singular_values,
    "float64": lambda: analyze(NET, [(X, Y)], precision="float64").singular_values,
    "solve": lambda: (
        solve(NET, Y, bounds=(-ENDS, ENDS), starts=X, cost=PRICES, fixed={0: WITHIN}).inputs
    ),
    "near": lambda: (
        solve(
            NET,
            Interval(Y, Y + 0.1),
            bounds=BOX,
            starts=X,
            cost=Near(X, PRICES),
            scale=(ENDS, ENDS[:2]),
        ).inputs
    ),
    "propose": lambda: (
        Proposer(NET, evidence=KNOWN, scale=(PRICES, ENDS[:2]))
        .propose(Y[:3], bounds=(-ENDS, ENDS), cost=PRICES)
        .inputs
    ),
    "singular values": lambda: singular_values(torch.diag_embed(X)),
    "penalty": lambda: ConditioningPenalty(0.1)(NET, X).detach(),
    "look": lambda: look(Watcher(num_points=9), NET, [X])[0].singular_values,
}


@pytest.mark.parametrize("take", TAKING.values(), ids=TAKING)
def test_numbers_made_in_inference_mode_are_taken_inside_and_outside_of_it(take):
    outside = take()
    with torch.inference_mode():
        torch.testing.assert_close(take(), outside)


@pytest.mark.slow
def test_a_pair_proposes_after_a_validation(tmp_path):
    torch.manual_seed(0)
    pair = ForwardInverseModule(Lazily(3, 2), Lazily(2, 3))
    data = Smooth()
    trainer = quiet_trainer(tmp_path)
    trainer.fit(pair, datamodule=data)
    pair.forward_net.cache = pair.inverse_net.cache = None
    trainer.validate(pair, datamodule=data, verbose=False)
    assert pair.forward_net.cache.is_inference()
    _, y = data.load()
    box = ([0.0] * 3, [2e3] * 3)
    found = pair.propose(y[:5], bounds=box)
    assert pair.forward_net.cache.is_inference()
    pair.forward_net.cache = pair.inverse_net.cache = None
    torch.testing.assert_close(found.inputs, pair.propose(y[:5], bounds=box).inputs)


class Lazily(nn.Module):
    def __init__(self, n, m):
        super().__init__()
        self.linear, self.cache = nn.Linear(n, m), None

    def forward(self, x):
        if self.cache is None:
            self.cache = torch.ones_like(x[:1])
        return torch.tanh(self.linear(x * self.cache))
