"""Where `torch.set_default_device` names another device, all is as without; meta stands for a GPU."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import nn

from lightning_invert import Interval, Near, analyze, batched_jacobian, solve
from lightning_invert.datamodules import ProblemDataModule, TabularDataModule
from lightning_invert.datamodules.pair import PairDataset
from lightning_invert.problems import KNOWN
from lightning_invert.watch.watcher import Watcher
from tests.callbacks.fits import pair
from tests.watch.looks import look

X = torch.randn(60, 5, generator=torch.Generator().manual_seed(0))
Y = X[:8, :3] / 10
BOUNDS = ([-3.0] * 5, [3.0] * 5)


@contextmanager
def on_another_device():
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_device(None)
        # torch 2.6 asks what is left there for its device, and fails in every test after this one.
        vars(torch._GLOBAL_DEVICE_CONTEXT).clear()


class Net(nn.Module):
    """Makes a tensor on the default device, and does not need it."""

    def __init__(self, n=5, m=3):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(n, 8), nn.Tanh(), nn.Linear(8, m))
        self.devices = set()

    def forward(self, x):
        self.devices.add(torch.empty(1).device.type)
        return self.net(x)


torch.manual_seed(0)
NET, WIDE = Net().eval(), Net(1100, 1100).eval()
PAIR = pair().eval()


def watch(module, x, **options):
    (observation,) = look(Watcher(on_error="raise", **options), module, [x])
    return observation.singular_values


ANSWERS = {
    "look": lambda: watch(NET, X, num_points=50),
    "float64": lambda: watch(NET, X, precision="float64"),
    "probed": lambda: watch(WIDE, torch.full((4, 1100), 0.1, device="cpu")),
    "analyze": lambda: analyze(NET, X, directions=True, runs=[NET], truth=NET).singular_values,
    "standardized": lambda: analyze(NET, X.numpy(), scale="standardized").singular_values,
    "jacobian": lambda: batched_jacobian(NET, X),
    "graph": lambda: batched_jacobian(NET, X, create_graph=True).detach(),
    "solve": lambda: solve(NET, Y, bounds=BOUNDS).inputs,
    "cost": lambda: solve(NET, Y.tolist(), bounds=BOUNDS, cost=[1.0] * 5).inputs,
    "near": lambda: (
        solve(NET, Interval(low=Y.tolist(), high=Y + 1), bounds=BOUNDS, cost=Near([0.0] * 5)).inputs
    ),
    "propose": lambda: PAIR.propose([[0.1, 0.2]], bounds=([-3.0] * 3, [3.0] * 3)).inputs,
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_answers_are_the_same(kind):
    expected = ANSWERS[kind]()
    NET.devices.clear()
    with on_another_device():
        found = ANSWERS[kind]()
    assert torch.equal(torch.as_tensor(found), torch.as_tensor(expected))
    assert NET.devices <= {"meta"}  # the user's own code is left alone


@pytest.mark.parametrize("kind", [*KNOWN, "tabular"])
def test_data_modules_hold_the_same_rows(tmp_path, kind):
    table = tmp_path / "rows.csv"
    np.savetxt(table, X.numpy(), delimiter=",", header="a,b,c,d,e", comments="")

    def rows():
        data = (
            TabularDataModule(table, inputs=["a", "b"], outputs=["c"])
            if kind == "tabular"
            else ProblemDataModule(kind, num_points=50, noise=0.1)
        )
        return [*data.statistics, *data.load()]

    expected = rows()
    with on_another_device():
        found = rows()
    assert all(map(torch.equal, found, expected))


def test_batches_are_fetched_where_the_data_are():
    data = PairDataset(X, X[:, :2])
    with on_another_device():
        x, y = data.__getitems__([3, 1])
    assert torch.equal(x, X[[3, 1]])
    assert torch.equal(y, X[[3, 1], :2])
