"""Singular values of the Jacobians of a whole sample: against the loop, torch.func and JAX.

All contestants run in turns of 50 ms or one call, in one process, on the same network and points;
the ratio is of the medians. The limit is the time of one forward pass as measured and of min(m, n)
backward passes at the measured rate of matrix multiplication, plus the time of the eigenvalues
alone, shared by all threads.

    python benchmarks/spectrum.py [--seconds 3]        # JAX takes part where it is installed
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from common import in_turns, machine
from torch import nn

from lightning_invert import batched_jacobian, singular_values

SHAPES = [(1000, 7, 4, 64), (20000, 7, 4, 64), (512, 64, 64, 256), (128, 256, 256, 512)]


def network(n: int, m: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(n, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, m)
    ).eval()


def convolutional() -> nn.Sequential:
    """A small image encoder, 1 x 16 x 16 -> 32."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, stride=2, padding=1),
        nn.Tanh(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(512, 32),
    ).eval()


class Skip(nn.Module):
    """A perceptron with a skip connection, 7 -> 4."""

    def __init__(self, activation: type[nn.Module]):
        super().__init__()
        self.hidden = nn.Sequential(nn.Linear(7, 64), activation(), nn.Linear(64, 64), activation())
        self.skip = nn.Linear(7, 64)
        self.head = nn.Linear(64, 4)

    def forward(self, x):
        return self.head(self.hidden(x) + self.skip(x))


def ours(net: nn.Module, x: torch.Tensor) -> dict[str, Callable[[], object]]:
    return {
        "lightning_invert": lambda: singular_values(batched_jacobian(net, x)),
        "  its Jacobian": lambda: batched_jacobian(net, x),
    }


def torch_func(net: nn.Module, x: torch.Tensor) -> dict[str, Callable[[], object]]:
    jacobian = torch.func.vmap(torch.func.jacrev(lambda p: net(p[None])[0].flatten()))

    def run() -> torch.Tensor:
        with torch.no_grad():
            return torch.linalg.svdvals(jacobian(x).flatten(2).double())

    return {"torch.func": run}


def loop(net: nn.Module, x: torch.Tensor, points: int) -> dict[str, Callable[[], object]]:
    def run() -> None:
        for p in x[:points]:
            jacobian = torch.autograd.functional.jacobian(lambda q: net(q[None])[0].flatten(), p)
            torch.linalg.svdvals(jacobian.flatten(1))

    return {f"loop ({points} points)": run}


def jax_jit(net: nn.Sequential, x: torch.Tensor) -> dict[str, Callable[[], object]]:
    try:
        import jax
    except ImportError:
        return {}
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    layers = [
        (jnp.asarray(p.weight.detach().numpy()), jnp.asarray(p.bias.detach().numpy()))
        for p in net
        if isinstance(p, nn.Linear)
    ]

    def forward(p):
        for i, (weight, bias) in enumerate(layers):
            p = weight @ p + bias
            p = jnp.tanh(p) if i + 1 < len(layers) else p
        return p

    points = jnp.asarray(x.numpy())
    single = jax.jit(jax.vmap(jax.jacrev(forward)))
    both = jax.jit(
        lambda q: jnp.linalg.svd(
            jax.vmap(jax.jacrev(forward))(q).astype(jnp.float64), compute_uv=False
        )
    )
    return {
        "JAX jit": lambda: both(points).block_until_ready(),
        "  JAX's Jacobian": lambda: single(points).block_until_ready(),
    }


def jax_skip(net: Skip, x: torch.Tensor) -> dict[str, Callable[[], object]]:
    try:
        import jax
    except ImportError:
        return {}
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    weights = {name: jnp.asarray(p.detach().numpy()) for name, p in net.named_parameters()}
    activation = jax.nn.relu if isinstance(net.hidden[1], nn.ReLU) else jnp.tanh

    def linear(name, p):
        return weights[f"{name}.weight"] @ p + weights[f"{name}.bias"]

    def forward(p):
        hidden = activation(linear("hidden.2", activation(linear("hidden.0", p))))
        return linear("head", hidden + linear("skip", p))

    points = jnp.asarray(x.numpy())
    both = jax.jit(
        lambda q: jnp.linalg.svd(
            jax.vmap(jax.jacrev(forward))(q).astype(jnp.float64), compute_uv=False
        )
    )
    return {"JAX jit": lambda: both(points).block_until_ready()}


def limit(net: nn.Module, x: torch.Tensor, sigma_count: int, width: int) -> tuple[float, float]:
    """Return the least seconds of the Jacobian stage and of the eigenvalues."""
    a, b = torch.randn(4096, width), torch.randn(width, width)
    gram = torch.randn(len(x), sigma_count, sigma_count, dtype=torch.float64)
    gram = gram @ gram.mT
    with torch.no_grad():
        least = in_turns(
            {
                "forward": lambda: net(x),
                "matmul": lambda: a @ b,
                "eigenvalues": lambda: torch.linalg.eigvalsh(gram),
            },
            1.0,
        )
    weights = sum(p.numel() for p in net.parameters() if p.ndim == 2)
    backward = sigma_count * len(x) * weights * least["matmul"] / (a.numel() * width)
    return least["forward"] + backward, least["eigenvalues"] / torch.get_num_threads()


def report(title: str, times: dict[str, float], points: int, least: tuple[float, float]) -> None:
    print(f"\n{title}")
    best = times["lightning_invert"]
    for name, seconds in times.items():
        if name.startswith("loop"):
            seconds *= points / int(name.split("(")[1].split()[0])
            name = "loop (scaled)"
        ratio = f"{seconds / best:8.2f} x" if not name.startswith(" ") else ""
        print(f"  {name:22s} {1e3 * seconds:10.2f} ms {ratio}")
    if least[0]:
        stage = times["  its Jacobian"] / least[0]
        print(
            f"  limit                  {1e3 * sum(least):10.2f} ms  (Jacobian {1e3 * least[0]:.2f}: "
            f"ours is {stage:.2f} x that; eigenvalues {1e3 * least[1]:.2f})"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each shape")
    parser.add_argument("--shapes", type=int, default=len(SHAPES), help="so many of them")
    options = parser.parse_args()
    seconds = options.seconds
    print(machine("jax"))
    for points, n, m, width in SHAPES[: options.shapes]:
        torch.manual_seed(0)
        net, x = network(n, m, width), torch.randn(points, n)
        few = 50 if n < 64 else 8
        contestants = {**ours(net, x), **torch_func(net, x), **jax_jit(net, x)}
        times = in_turns(contestants, seconds) | in_turns(loop(net, x, few), seconds / 6)
        title = f"{points} points, {n} -> {m}, width {width}"
        report(title, times, points, limit(net, x, min(m, n), width))
    for activation in (nn.ReLU, nn.Tanh):
        torch.manual_seed(0)
        skip, x = Skip(activation).eval(), torch.randn(1000, 7)
        contestants = {**ours(skip, x), **torch_func(skip, x), **jax_skip(skip, x)}
        times = in_turns(contestants, seconds) | in_turns(loop(skip, x, 50), seconds / 6)
        title = f"1000 points, 7 -> 4, width 64, skip connection, {activation.__name__}"
        report(title, times, 1000, (0.0, 0.0))
    torch.manual_seed(0)
    image, x = convolutional(), torch.randn(512, 1, 16, 16)
    contestants = {**ours(image, x), **torch_func(image, x)}
    times = in_turns(contestants, seconds) | in_turns(loop(image, x, 8), seconds / 6)
    report("512 points, convolutional, 1x16x16 -> 32", times, 512, (0.0, 0.0))


if __name__ == "__main__":
    main()
