import random
import threading
from collections import Counter, OrderedDict, deque
from contextlib import suppress

import numpy as np
import pytest
import torch
import torchmetrics
from torch import nn

from lightning_invert.watch.isolation import isolated
from tests.identity import everything_of, streams
from tests.subclasses import labelled


class Restless(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.frozen = nn.Parameter(torch.ones(3), requires_grad=False)
        self.register_buffer("mean", torch.zeros(3))
        self.metric = torchmetrics.MeanMetric()
        self.curve = torchmetrics.CatMetric()
        self.hidden = torch.zeros(3)
        self.array = np.zeros(3)
        self.state = (torch.zeros(2), torch.zeros(2))
        self.recent = OrderedDict(a=1)
        self.calls = 0
        self.seen, self.last = [], deque([1], maxlen=2)
        self.cache = {"deep": [torch.zeros(3)]}
        self.generator = torch.Generator().manual_seed(0)
        self.streams = [np.random.default_rng(0), random.Random(0)]
        self.own_stream, self.counts = np.random.default_rng(1), Counter()
        self.hidden_in_a_list = [nn.BatchNorm1d(3)]

    def forward(self, x):
        self.mean += x.detach().mean(0)
        self.hidden = self.hidden + 1
        self.cache["deep"][0] += 1
        self.cache["new"] = 1
        self.array += 1
        self.calls += 1
        self.state[0].add_(1)
        self.recent["b"] = 2
        self.seen.append(x)
        self.last.append(self.calls)
        self.metric(x.detach().mean())
        self.curve.update(x.detach()[:, 0])
        self.made_on_the_way = True
        self.frozen.data = self.frozen.data * 0.9
        with torch.no_grad():
            self.frozen.mul_(0.9)
            self.linear.weight.clamp_(-0.1, 0.1)
        self.counts["calls"] += 1
        self.hidden_in_a_list[0](x.detach())
        self.own_stream.random(), [stream.random() for stream in self.streams]
        noise = torch.randn(1) + torch.randn(1, generator=self.generator)
        return self.linear(x) + noise + np.random.rand() + random.random()


def test_large_data_is_not_copied(monkeypatch):
    monkeypatch.setattr("lightning_invert.jacobians.snapshot.MAX_NUMBERS", 10)
    monkeypatch.setattr("lightning_invert.jacobians.snapshot.MAX_PARTS", 10)
    module = nn.Linear(2, 2)
    module.data, module.rows = torch.zeros(100), [torch.zeros(1) for _ in range(100)]
    with isolated(module):
        module.data += 1
        module.rows[0] += 1
        module.rows.append(3)
    # Known and stated: what is as large as that is data, of which a forward changes no part.
    assert module.data.sum() == 100
    assert len(module.rows) == 100


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_what_cannot_be_put_back_is_no_hindrance():
    module, frozen = nn.Linear(3, 3), np.zeros(3)
    frozen.flags.writeable = False
    module.table = frozen
    module.sparse = torch.eye(3).to_sparse()
    module.meta = torch.empty(3, device="meta")
    module.spread = torch.full((1,), torch.nan).expand(5)
    module.nested = torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)])
    module.lazy = nn.LazyLinear(3)
    module.scripted = torch.jit.trace(nn.Linear(3, 3), torch.zeros(1, 3))
    with isolated(module):
        module(torch.zeros(1, 3))


def test_a_log_that_is_a_function_of_the_project_s_own_stays():
    class Sphere(nn.Module):
        def log(self, x):
            return 2 * x

    module = Sphere()
    with isolated(module):
        assert module.log(3) == 6


class Uncopyable:
    def __deepcopy__(self, memo):
        raise TypeError

    __copy__ = __reduce_ex__ = __deepcopy__


class StubbornList(list):
    def copy(self):
        raise RuntimeError


ODD = {
    "nothing": int,
    "a tensor subclass": lambda: labelled(torch.zeros(3)),
    "a tensor subclass in a list": lambda: [labelled(torch.zeros(3)), 1],
    "a lock": threading.Lock,
    "an object that cannot be copied": Uncopyable,
    "a collection that cannot be copied": lambda: {"list": StubbornList([1])},
    "an array of objects": lambda: np.array([Uncopyable()], dtype=object),
}


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_a_forward_that_changes_everything_changes_nothing_whatever_cannot_be_copied(odd, fails):
    class LightningModule(Restless):
        logged = ()

        def log(self, name):
            self.logged = (*self.logged, name)

    module = LightningModule()
    module.odd = value = odd()
    module(torch.randn(4, 3))
    before = everything_of(module), streams()
    with suppress(Interrupted), isolated(module):
        for _ in range(3):
            module(torch.randn(4, 3))
        module.log("while looking")
        module.odd = None
        assert everything_of(module) != before[0]
        if fails:
            raise Interrupted
    assert (everything_of(module), streams()) == before
    assert module.odd is value
    assert "log" not in vars(module)
    module.log("after")
    assert module.logged == ("after",)


@pytest.mark.parametrize("draws", [0, 1])
def test_a_device_s_generator_is_set_only_where_a_look_drew_from_it(draws, monkeypatch):
    # To set it is no trifle: cuDNN then draws the dropout of recurrent layers anew.
    generator, set_states = torch.Generator().manual_seed(3), []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: generator.get_state())
    monkeypatch.setattr(
        torch.cuda, "set_rng_state", lambda state, device: set_states.append((state, device))
    )
    before = generator.get_state()
    with isolated(nn.Linear(2, 2)):
        torch.rand(draws, generator=generator)
    assert [device for _, device in set_states] == [0] * draws
    assert all(torch.equal(state, before) for state, _ in set_states)
