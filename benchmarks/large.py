"""A look at maps whose Jacobians are large, as planned, against its passes alone.

`plan` decides from the shapes and the operations of one evaluation whether the Jacobian is formed at
all points, formed at a part of them, or probed. The limit is the time of the forward and backward
passes alone, the latter in batches of 64. The memory is the growth of the process's peak in a look.

    python benchmarks/large.py [--points 256] [--turns 3] [--only ResNet,UNet]
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from itertools import pairwise
from multiprocessing import get_context

import torch
from common import machine
from torch import Tensor, nn

from lightning_invert import batched_jacobian, singular_values
from lightning_invert.jacobians.lanczos import probe_jacobians
from lightning_invert.jacobians.work import Plan, flops_of, plan


def perceptron(*sizes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for n, m in pairwise(sizes):
        layers += [nn.Linear(n, m), nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def convolution(n: int, m: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(n, m, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(m), nn.SiLU()
    )


def classifier() -> nn.Sequential:
    """3 x 64 x 64 -> 1000, 1.5 million parameters."""
    return nn.Sequential(
        convolution(3, 32, 2),
        convolution(32, 64, 2),
        convolution(64, 128, 2),
        convolution(128, 256),
        nn.MaxPool2d(2),
        convolution(256, 256),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(256, 1000),
    )


class UNet(nn.Module):
    """3 x s x s -> 3 x s x s, 0.5 million parameters at a width of 32."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.first = convolution(3, width)
        self.down = convolution(width, 2 * width, 2)
        self.deep = convolution(2 * width, 4 * width, 2)
        self.bottom = convolution(4 * width, 4 * width)
        self.up = nn.ConvTranspose2d(4 * width, 2 * width, 2, stride=2)
        self.merge = convolution(4 * width, 2 * width)
        self.top = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.last = nn.Sequential(convolution(2 * width, width), nn.Conv2d(width, 3, 1))

    def forward(self, x: Tensor) -> Tensor:
        a = self.first(x)
        b = self.down(a)
        c = self.bottom(self.deep(b))
        d = self.merge(torch.cat([self.up(c), b], 1))
        return self.last(torch.cat([self.top(d), a], 1))


class Residual(nn.Module):
    def __init__(self, n: int, m: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            convolution(n, m, stride),
            nn.Conv2d(m, m, 3, padding=1, bias=False),
            nn.BatchNorm2d(m),
        )
        self.skip = nn.Conv2d(n, m, 1, stride=stride) if (n, stride) != (m, 1) else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.relu(self.body(x) + self.skip(x))


def resnet() -> nn.Sequential:
    """3 x 32 x 32 -> 10: ResNet-8, 0.1 million parameters."""
    return nn.Sequential(
        convolution(3, 16),
        Residual(16, 16, 1),
        Residual(16, 32, 2),
        Residual(32, 64, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    )


MAPS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "ResNet 3072 -> 10": (resnet, (3, 32, 32)),
    "autoencoder 784 -> 784": (lambda: perceptron(784, 512, 64, 512, 784), (784,)),
    "bottleneck 1200 -> 1200": (lambda: perceptron(1200, 256, 1200), (1200,)),
    "UNet 3072 -> 3072": (UNet, (3, 32, 32)),
    "classifier 12288 -> 1000": (classifier, (3, 64, 64)),
    "UNet 12288 -> 12288": (UNet, (3, 64, 64)),
}


def timed(run: Callable[[], object]) -> float:
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def peak() -> float:
    """Return the largest memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def look(net: nn.Module, x: Tensor, chosen: Plan) -> None:
    x = x[: chosen.num_points]
    if chosen.formed:
        singular_values(batched_jacobian(net, x))
    else:
        probe_jacobians(net, x, probes=chosen.probes, steps=chosen.steps)


def passes(net: nn.Module, x: Tensor, chosen: Plan, m: int) -> float:
    """Return the seconds of the planned look's forward and backward passes."""
    rows = min(64, len(x))
    points = x[:rows].clone().requires_grad_()
    y = net(points)

    def backward() -> None:
        torch.autograd.grad(y, points, torch.ones_like(y), retain_graph=True)

    backward()
    with torch.no_grad():
        forward_seconds = min(timed(lambda: net(x[:rows])) for _ in range(3)) / rows
    backward_seconds = min(timed(backward) for _ in range(3)) / rows
    if chosen.formed:
        return chosen.num_points * (forward_seconds + m * backward_seconds)
    pairs = chosen.num_points * chosen.probes
    return pairs * (forward_seconds + (1 + 2 * chosen.steps) * backward_seconds)


def measure(name: str, points: int, turns: int) -> None:
    torch.manual_seed(0)
    make, event = MAPS[name]
    net, x = make().eval(), torch.randn(points, *event)
    with torch.no_grad():
        n, m = x[0].numel(), net(x[:1]).numel()
    flops = flops_of(net, x[:1])
    chosen = plan(flops, (m, n), points)
    print(f"\n{name}: worth {flops / 1e6:.1f} MFLOP a point, {points} points")
    print(f"  {chosen}")
    net(x[:1])
    before = peak()
    seconds = min(timed(lambda: look(net, x, chosen)) for _ in range(turns))
    print(f"  planned {seconds:8.2f} s, {peak() - before:5.0f} MiB")
    limit = passes(net, x, chosen, m)
    print(f"  limit   {limit:8.2f} s: the look takes {seconds / limit:.1f} x its passes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=256)
    parser.add_argument("--turns", type=int, default=3, help="the best of so many")
    parser.add_argument("--only", default="", help="the maps whose names begin so, after commas")
    options = parser.parse_args()
    print(machine(), flush=True)
    for name in (name for name in MAPS if name.startswith(tuple(options.only.split(",")))):
        # The peak of a process never falls: each map has one of its own.
        arguments = (name, options.points, options.turns)
        process = get_context("spawn").Process(target=measure, args=arguments)
        process.start()
        process.join()
        if process.exitcode:
            raise SystemExit(process.exitcode)


if __name__ == "__main__":
    main()
