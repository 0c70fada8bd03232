"""Maps with known or random behaviour, in the form in which the parts of the solver take them."""

import torch
from torch import nn

from lightning_invert.solver.model import Model
from lightning_invert.solver.query import Query
from lightning_invert.variables import Bounds


def network(n, m, *, gain=1.0, width=48, seed=0, dtype=torch.float64):
    """A random network, more curved the larger its weights."""
    generator = torch.Generator().manual_seed(seed)
    net = nn.Sequential(
        nn.Linear(n, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, m)
    ).double()
    with torch.no_grad():
        for part in net:
            if isinstance(part, nn.Linear):
                limit = gain / part.in_features**0.5
                for weights in (part.weight, part.bias):
                    weights.uniform_(-limit, limit, generator=generator)
    return net.to(dtype)


def uniform(*shape, seed):
    """Points of [-1, 1]^n, float64."""
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.rand(*shape, generator=generator, dtype=torch.float64) - 1


def model_of(function, n, outputs):
    """A function whose inputs are measured as they are, and outputs in the spread of some."""
    return Model(function, outputs.shape[1], torch.ones(n).double(), outputs.std(0).double())


def query_of(model, targets, bounds, cost=None, tolerance=1e-3, max_steps=50):
    """A question to the solver whose starts are given elsewhere."""
    return Query(model, targets, bounds, cost, tolerance=tolerance, max_steps=max_steps)


def unit_bounds(x):
    return Bounds(-torch.ones_like(x), torch.ones_like(x))
