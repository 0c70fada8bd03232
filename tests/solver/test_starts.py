import math

import torch

from lightning_invert.solver.model import Description
from lightning_invert.solver.starts import Pool
from lightning_invert.solver.targets import Targets
from lightning_invert.variables import Bounds
from tests.solver.maps import model_of, network, uniform

LOW, HIGH = -torch.ones(4).double(), torch.ones(4).double()
BOUNDS = Bounds(LOW, HIGH)


def test_each_target_gets_the_points_of_the_pool_that_come_nearest_to_it():
    net = network(4, 2)
    y = net(uniform(30, 4, seed=1)).detach()
    y[::3, 0] = math.nan
    low, high = y.nan_to_num(nan=-math.inf), y.nan_to_num(nan=math.inf)
    model = model_of(net, 4, net(uniform(30, 4, seed=1)).detach())
    pool = Pool.drawn(model, BOUNDS, Description(), seed=0, count=3)
    found = pool(Targets(low, high), Bounds(LOW.expand(30, 4), HIGH.expand(30, 4)))
    assert found.shape == (30, 3, 4)
    distances = (net(pool.inputs).detach() - y[:, None]) / model.output_spread
    nearest = distances.nan_to_num(nan=0.0).norm(dim=2).argsort(dim=1)[:, :3]
    torch.testing.assert_close(found, pool.inputs[nearest])


def test_where_the_function_is_not_finite_nothing_begins():
    def broken(x):
        return torch.where(x[:, :1] > 0, math.nan, x[:, 1:])

    y = torch.zeros(2, 3).double()
    y[1, :2] = math.nan
    low, high = y.nan_to_num(nan=-math.inf), y.nan_to_num(nan=math.inf)
    model = model_of(broken, 4, torch.tensor([[-1.0] * 3, [1.0] * 3]).double())
    box = Bounds(LOW.expand(2, 4), HIGH.expand(2, 4))
    found = Pool.drawn(model, BOUNDS, Description(), seed=0, count=8)(Targets(low, high), box)
    assert (found[:, :, 0] <= 0).all()
