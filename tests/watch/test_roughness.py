from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional

from lightning_invert.watch.points import Points
from lightning_invert.watch.resolution import resolve_maps
from lightning_invert.watch.roughness import has_dropout, is_staircase
from lightning_invert.watch.watcher import Watcher
from tests.watch.looks import look

X = torch.randn(100, 5, generator=torch.Generator().manual_seed(0))


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(5, 16), nn.Linear(16, 3)

    def forward(self, x):
        return self.last(functional.relu(self.first(x)))


class Float32(nn.Module):
    def forward(self, x):
        return x.float().relu() + 1


def perceptron(activation, width=16, depth=2):
    sizes = [5, *[width] * depth]
    layers = [m for a, b in pairwise(sizes) for m in (nn.Linear(a, b), activation())]
    return nn.Sequential(*layers, nn.Linear(width, 3))


def staircase(module, count=8, x=X):
    (watched,) = resolve_maps({"f": ""}, module)
    return is_staircase(watched, Points.of([x[:count]]))


@pytest.mark.parametrize("count", [2, 8])
@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (perceptron(nn.ReLU), True),
        (perceptron(nn.LeakyReLU), True),
        (perceptron(nn.ReLU, width=1000, depth=4), True),
        (Functional(), True),
        (nn.Sequential(perceptron(nn.ReLU), nn.Hardtanh()), True),
        (nn.Sequential(nn.BatchNorm1d(5), perceptron(nn.ReLU)), True),
        (perceptron(nn.SiLU), False),
        (perceptron(nn.GELU), False),
        (perceptron(nn.Tanh, width=1000, depth=4), False),
        (nn.Sequential(perceptron(nn.ReLU), nn.Tanh()), False),
        (nn.Linear(5, 3), False),
        (nn.Sequential(nn.Linear(5, 3), nn.Linear(3, 2)), False),
        (Float32(), False),
    ],
    ids=[
        "relu", "leaky", "wide relu", "functional", "hardtanh", "batch norm", "silu", "gelu", "tanh",
        "smooth at the end", "linear", "linear twice", "cannot be told",
    ],
)  # fmt: skip
def test_a_staircase_is_known_by_what_it_does(module, expected, count):
    torch.manual_seed(0)
    assert staircase(module, count) is expected


def test_units_do_not_matter():
    offset, spread = torch.tensor([1500.0, 0, 1e-3, 1e6, 0]), torch.tensor([50.0, 1, 1e-4, 1e3, 0])

    class Physical(nn.Module):
        def __init__(self, activation):
            super().__init__()
            self.net = perceptron(activation)

        def forward(self, x):
            return self.net((x - offset) / spread.clamp(min=1e-9))

    x = offset + spread * X
    assert staircase(Physical(nn.ReLU), x=x)
    assert not staircase(Physical(nn.SiLU), x=x)


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (nn.Sequential(nn.Linear(5, 5), nn.Dropout(0.1)), True),
        (nn.Sequential(nn.Linear(5, 5), nn.Dropout(0.0)), False),
        (nn.Linear(5, 5), False),
    ],
)
def test_dropout_counts_where_it_drops(module, expected):
    (watched,) = resolve_maps({"f": ""}, module)
    assert has_dropout(watched, Points.of([X[:2]])) is expected
    assert all(part.training and not part._forward_pre_hooks for part in module.modules())


def test_dropout_that_the_map_does_not_pass_is_not_its():
    module = nn.ModuleDict({"net": nn.Linear(5, 3), "head": nn.Dropout(0.5)})
    (watched,) = resolve_maps({"f": {"module": lambda x: module["net"](x)}}, module)
    assert not has_dropout(watched, Points.of([X[:2]]))


def test_it_is_said_once_and_of_all_maps_together(caplog):
    module = nn.ModuleDict(
        {"a": perceptron(nn.ReLU), "b": Functional(), "c": nn.Sequential(nn.Tanh(), nn.Dropout())}
    )
    watcher = Watcher({name: name for name in module})
    stream = torch.get_rng_state()
    with caplog.at_level("INFO"):
        for _ in range(2):
            look(watcher, module, [X])
    assert torch.equal(torch.get_rng_state(), stream)
    assert caplog.text.count("is piecewise linear") == caplog.text.count("with dropout") == 1
    assert "behind 'a', 'b' is piecewise linear" in caplog.text
    assert "behind 'c' is trained with dropout" in caplog.text


def test_nothing_is_said_of_what_is_smooth(caplog):
    with caplog.at_level("INFO"):
        look(Watcher(num_points=100), perceptron(nn.SiLU), [X])
    assert not caplog.text


def test_of_a_network_that_is_too_large_to_be_copied_nothing_is_said(monkeypatch):
    monkeypatch.setattr("lightning_invert.watch.roughness.MAX_NUMBERS_CAST", 100)
    assert not staircase(perceptron(nn.ReLU))
