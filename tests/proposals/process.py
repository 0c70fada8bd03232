import torch

from lightning_invert import ForwardInverseModule, SmoothMLP, Variable

INPUTS = (Variable("a", "m", -2.0, 2.0), Variable("b"), Variable("c", "s", -2.5, 2.5))


def process(x):
    return torch.stack([x[:, 0] + x[:, 1].sin(), x[:, 2] * (1 + 0.3 * x[:, 0])], 1)


def points(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 3, generator=generator, dtype=torch.float64).clamp(-2, 2)
    return x, process(x)


def known(pair, x, y, num_judged=200):
    """Let a pair know rows as if it had been trained on them."""
    pair.evidence.begin()
    pair.proposer.reset()
    for split, rows in (("val", slice(num_judged)), ("train", slice(num_judged, None))):
        pair.evidence.add(split, x[rows], y[rows])
        pair.evidence.complete(split)
    return pair


def untrained(**kwargs):
    return ForwardInverseModule(SmoothMLP(3, 2, width=8), SmoothMLP(2, 3, width=8), **kwargs).eval()


def scaled(pair, x, y):
    pair.scale_x.fit(x.mean(0), x.std(0))
    pair.scale_y.fit(y.mean(0), y.std(0))
