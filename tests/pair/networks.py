"""Networks of other kinds than perceptrons: name -> what makes one, of n inputs and m outputs."""

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from torch.nn.utils import parametrizations


def perceptron(n, m):
    return nn.Sequential(nn.Linear(n, 8), nn.Tanh(), nn.Linear(8, m))


class Spectral(nn.Module):
    """A layer of a Fourier neural operator: complex weights, and real ones."""

    def __init__(self, n, m):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n // 2 + 1, 8, dtype=torch.cfloat))
        self.head = nn.Linear(16, m)

    def forward(self, x):
        modes = torch.fft.rfft(x, dim=1) @ self.weight
        return self.head(torch.tanh(torch.view_as_real(modes).flatten(1)))


class AllComplex(nn.Module):
    def __init__(self, n, m):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n, m, dtype=torch.cfloat))

    def forward(self, x):
        return (torch.fft.fft(x, dim=1) @ self.weight).abs()


class OfFourier(nn.Module):
    """Two layers of a Fourier neural operator, each with a path of real weights beside it."""

    def __init__(self, n, m):
        super().__init__()
        self.lift, self.head = nn.Linear(1, 4), nn.Linear(4 * n, m)
        weights = (torch.randn(2, 4, 4, dtype=torch.cfloat) / 4 for _ in range(2))
        self.weights = nn.ParameterList(weights)
        self.beside = nn.ModuleList(nn.Conv1d(4, 4, 1) for _ in range(2))

    def forward(self, x):
        h = self.lift(x[:, :, None]).mT
        for weight, beside in zip(self.weights, self.beside, strict=True):
            modes = torch.fft.rfft(h)
            mixed = torch.einsum("bik,kio->bok", modes[..., :2], weight[: modes.shape[-1]])
            h = torch.tanh(torch.fft.irfft(mixed, n=h.shape[-1]) + beside(h))
        return self.head(h.flatten(1))


class OfComplexLayers(nn.Sequential):
    def __init__(self, n, m):
        super().__init__(*(nn.Linear(*size, dtype=torch.cfloat) for size in ((n, 6), (6, m))))

    def forward(self, x):
        first, second = self
        return second(torch.tanh(first(torch.complex(x, 0 * x)))).real


class WithoutWeights(nn.Module):
    def __init__(self, n, m):
        super().__init__()
        self.register_buffer("matrix", torch.eye(n, m))

    def forward(self, x):
        return x @ self.matrix


class Attention(nn.Module):
    def __init__(self, n, m, attend):
        super().__init__()
        self.embed, self.attend, self.head = nn.Linear(1, 8), attend, nn.Linear(8 * n, m)

    def forward(self, x):
        h = self.embed(x[:, :, None])
        h = self.attend(h) if len([*self.attend.parameters()]) else self.attend(h, h, h)
        return self.head(h.flatten(1))


class ScaledDotProduct(nn.Module):
    def forward(self, q, k, v):
        return scaled_dot_product_attention(q, k, v)


class SelfAttention(nn.MultiheadAttention):
    def forward(self, h):
        return super().forward(h, h, h, need_weights=False)[0]


class Recurrent(nn.Module):
    def __init__(self, n, m):
        super().__init__()
        self.lstm, self.head = nn.LSTM(1, 6, batch_first=True), nn.Linear(6, m)

    def forward(self, x):
        return self.head(self.lstm(x[:, :, None])[0][:, -1])


class Counting(nn.Module):
    """Buffers of whole numbers, one of which each call changes."""

    def __init__(self, n, m):
        super().__init__()
        self.register_buffer("order", torch.arange(n).flip(0))
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))
        self.net = perceptron(n, m)

    def forward(self, x):
        self.calls += 1
        return self.net(x[:, self.order])


class OneWeightInDouble(nn.Module):
    """Its first weight is of another dtype than the others; so is what it returns."""

    def __init__(self, n, m):
        super().__init__()
        self.scale, self.net = nn.Parameter(torch.ones(m).double()), perceptron(n, m)

    def forward(self, x):
        return self.net(x).double() * self.scale


def tied(n, m):
    net = nn.Sequential(nn.Linear(n, n), nn.Tanh(), nn.Linear(n, n), nn.Linear(n, m))
    net[2].weight = net[0].weight
    return net


def with_a_first_layer(change):
    def make(n, m):
        net = perceptron(n, m)
        change(net[0])
        return net

    return make


NETWORKS = {
    "complex weights": Spectral,
    "complex weights alone": AllComplex,
    "complex layers": OfComplexLayers,
    "Fourier layers": OfFourier,
    "scaled dot product": lambda n, m: Attention(n, m, ScaledDotProduct()),
    "multi-head attention": lambda n, m: Attention(n, m, SelfAttention(8, 2, batch_first=True)),
    "transformer": lambda n, m: Attention(
        n, m, nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    ),
    "LSTM": Recurrent,
    "whole numbers in buffers": Counting,
    "one weight in float64": OneWeightInDouble,
    "tied weights": tied,
    "a frozen layer": with_a_first_layer(lambda layer: layer.requires_grad_(False)),
    "weight norm": with_a_first_layer(parametrizations.weight_norm),
    "spectral norm": with_a_first_layer(parametrizations.spectral_norm),
    "orthogonal": with_a_first_layer(parametrizations.orthogonal),
    "lazy": lambda n, m: nn.Sequential(nn.LazyLinear(8), nn.Tanh(), nn.LazyLinear(m)),
    "bfloat16": lambda n, m: perceptron(n, m).bfloat16(),
    "traced": lambda n, m: torch.jit.trace(perceptron(n, m), torch.zeros(2, n)),
    "compiled": lambda n, m: torch.compile(perceptron(n, m), backend="aot_eager"),
}
