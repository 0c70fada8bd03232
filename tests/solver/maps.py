import torch
from torch import nn

from lightning_invert import Proposer
from lightning_invert.proposals.evidence import Evidence
from lightning_invert.solver.model import Model
from lightning_invert.solver.query import Query
from lightning_invert.solver.targets import Targets
from lightning_invert.variables import Bounds, Variable


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


def posed(n, m, count, *, gain=1.5, seed=0, reach=1.0):
    """A random network, its model, points to start from, and outcomes that others have."""
    net = network(n, m, gain=gain, seed=seed)
    with torch.no_grad():
        y = reach * net(uniform(count, n, seed=1))
    return net, model_of(net, n, y), uniform(count, n, seed=2), y


def linear_model(a, spread=1.0):
    """The map x @ a.T, (m, n), whose outputs have one spread."""
    ends = spread * torch.tensor([[-1.0], [1.0]], dtype=torch.float64).expand(2, len(a))
    return model_of(lambda x: x @ a.T, a.shape[1], ends)


def query_of(model, start, y, *, width=0.0, bounds=None, tolerance=1e-3, max_steps=50):
    """A question to the solver, within [-1, 1] where no bounds are given."""
    targets = Targets(y, y + width * model.output_spread)
    bounds = bounds or Bounds(-torch.ones_like(start), torch.ones_like(start))
    return Query(model, targets, bounds, None, tolerance=tolerance, max_steps=max_steps)


def proposer_of(function, n, levels=None, **ends):
    """A proposer for a function on [-1, 1]^n, some of whose inputs have levels."""
    x = uniform(80, n, seed=0)
    with torch.no_grad():
        known = x[:40], function(x[:40])
        held = x[40:], function(x[40:])
    ends = {"low": -1.0, "high": 1.0, **ends}
    inputs = [Variable(f"x{j}", levels=(levels or {}).get(j, ()), **ends) for j in range(n)]
    return Proposer(
        function, evidence=Evidence.of(train=known, val=held), inputs=inputs, scale=(1.0, 1.0)
    )


def linear(n, m, seed):
    """A random matrix, and the function that it is."""
    a = uniform(m, n, seed=seed)
    return a, lambda x: x @ a.to(x).T
