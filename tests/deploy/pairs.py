import copy

import torch
from torch import nn

from lightning_invert import ForwardInverseModule, Variable
from lightning_invert.deploy.maps import frozen_copy, physical_map
from tests.jacobians.reference import jacobians_by_autograd

INPUTS = (
    Variable("time", "s", 1.7e9, 1.7e9 + 60),
    Variable("<img src=x onerror=alert(1)>", "m³/h", None, 5.0),
    Variable("Wärme \"quer\" 'ab' \\ \n", "°C", float("-inf"), float("nan")),
)
OUTPUTS = (Variable("rate", "t/d", 0.0), Variable("日本 {gas}", "", 1, 2))


class Attention(nn.Module):
    # Each column is a token; the columns of one point see each other.
    def __init__(self, n, m):
        super().__init__()
        self.embed = nn.Linear(1, 4)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.head = nn.Linear(4 * n, m)

    def forward(self, x):
        tokens = self.embed(x[..., None])
        mixed, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        return self.head((tokens + mixed).flatten(1))


class Changed(nn.Linear):
    """A linear network 3 -> 2 whose outputs go through a function."""

    def __init__(self, change):
        super().__init__(3, 2)
        self.change = change

    def forward(self, x):
        return self.change(super().forward(x))


def normed(n, m):
    return nn.Sequential(
        nn.Linear(n, 8), nn.LayerNorm(8), nn.GELU(), nn.Dropout(0.5), nn.Linear(8, m)
    )


def pair_of(forward_net, inverse_net, *, dtype=torch.float32, named=True):
    """A pair 3 -> 2 whose first setting is a time stamp."""
    pair = ForwardInverseModule(forward_net, inverse_net).to(dtype)
    for scale, mean, std in (
        (pair.scale_x, [1.7e9 + 30, 300.0, 1e-6], [17.0, 2.0, 1e-8]),
        (pair.scale_y, [8000.0, -2.0], [5000.0, 0.5]),
    ):
        scale.fit(*(torch.tensor(values, dtype=torch.float64) for values in (mean, std)))
    if named:
        pair.inputs, pair.outputs = INPUTS, OUTPUTS
    return pair


def points(pair, name, rows, seed=3):
    scale = pair.scale_x if name == "forward" else pair.scale_y
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(rows, len(scale.mean), generator=generator, dtype=torch.float64)
    return scale.mean + scale.std * z


def forward_map(network):
    """The forward map of a pair with this network, as it is traced."""
    return physical_map(frozen_copy(pair_of(network, nn.Linear(2, 3))), "forward")


def truth(pair, name):
    """The map in float64, (N, n) -> (N, m), in physical units."""
    f, i = (copy.deepcopy(net).eval().double() for net in (pair.forward_net, pair.inverse_net))
    x_mean, x_std, y_mean, y_std = (
        part.double() for scale in (pair.scale_x, pair.scale_y) for part in (scale.mean, scale.std)
    )

    def forward(x):
        return f((x - x_mean) / x_std) * y_std + y_mean

    def inverse(y):
        return i((y - y_mean) / y_std) * x_std + x_mean

    return {"forward": forward, "inverse": inverse, "round_trip": lambda y: forward(inverse(y))}[
        name
    ]


def off(pair, name, x, outputs, jacobians):
    """How far outputs and Jacobians are from autograd's in float64, as shares of the largest."""
    function = truth(pair, name)
    expected = function(x).detach()
    slopes = jacobians_by_autograd(function, x)
    domain = pair.scale_x if name == "forward" else pair.scale_y
    image = pair.scale_x if name == "inverse" else pair.scale_y
    standard = domain.std / image.std[:, None]
    errors = (
        ((torch.as_tensor(outputs) - expected) / image.std).abs().max()
        / ((expected - image.mean) / image.std).abs().max(),
        ((torch.as_tensor(jacobians) - slopes) * standard).abs().max()
        / (slopes * standard).abs().max(),
    )
    return max(error.item() for error in errors)
