"""Inputs for wanted outputs: against SciPy target by target, and Adam on all targets at once.

The map is a residual SiLU network of the blast furnace, 7 -> 4, trained here; targets are outcomes of
10 000 operating points that it has not seen, and each begins at one point drawn from the box, the
same for all contestants. SciPy is `least_squares` (trf) with the exact Jacobian and `minimize`
(SLSQP), in float64, at their default tolerances, on as few targets as `--few` says; Adam takes 300
steps in units of the box, projected onto it. A target is solved whose residual is at most 1e-3
standard deviations. SLSQP begins where ours reached the target; its time for 10 000 targets is that for
few, times their number. The limit is what the evaluations and Jacobians of our steps take alone.

    python benchmarks/solve.py [--targets 10000] [--few 20] [--million]
"""

from __future__ import annotations

import argparse
import copy
import resource
import sys
import time

import numpy as np
import torch
from common import in_turns, machine
from scipy.optimize import least_squares, minimize
from torch import Tensor, nn

from lightning_invert import Linear, Standardize, batched_jacobian, solve
from lightning_invert.datamodules import ProblemDataModule
from lightning_invert.problems import MultilayerFilm

TOLERANCE = 1e-3
FUELS, MOST_FUEL = [1, 2], 60.0
"""Pulverised coal and natural gas, and the kg of both together that a constraint leaves."""

FILM_STEPS = 50
ADAM_STEPS, ADAM_RATE = 300, 0.1
"""Of rates from 0.003 to 0.3, constant or falling along a cosine, this one solves the most."""


class Surrogate(nn.Module):
    """A perceptron with skips in standard units, between physical ones."""

    def __init__(self, x: Tensor, y: Tensor, width: int = 64):
        super().__init__()
        n, m = x.shape[1], y.shape[1]
        self.scale_x, self.scale_y = (Standardize(z.mean(0), z.std(0)) for z in (x, y))
        self.lift, self.head, self.skip = nn.Linear(n, width), nn.Linear(width, m), nn.Linear(n, m)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(2))

    def forward(self, x):
        z = self.scale_x(x)
        h = self.lift(z)
        for layer in self.layers:
            h = h + layer(nn.functional.silu(h))
        return self.scale_y.inverse(self.head(nn.functional.silu(h)) + self.skip(z))


def trained(x: Tensor, y: Tensor, epochs: int) -> Surrogate:
    torch.manual_seed(0)
    net = Surrogate(x, y)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    steps = epochs * -(-len(x) // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(64):
            loss = ((net(x[rows]) - y[rows]) / net.scale_y.std).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return net.eval()


def adam(net: nn.Module, y: Tensor, start: Tensor, low: Tensor, high: Tensor, spread: Tensor):
    z = ((start - low) / (high - low)).requires_grad_()
    optimizer = torch.optim.Adam([z], lr=ADAM_RATE)
    for _ in range(ADAM_STEPS):
        loss = ((net(low + (high - low) * z) - y) / spread).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            z.clamp_(0, 1)
    with torch.no_grad():
        return ((net(low + (high - low) * z) - y) / spread).norm(dim=1)


class OneByOne:
    """The same problem for SciPy, in units of the box and of the outputs' spread."""

    def __init__(self, net, low, high, spread):
        self.net, self.low, self.width, self.spread = net, low, high - low, spread

    def point(self, z: np.ndarray) -> Tensor:
        return self.low + self.width * torch.as_tensor(z, dtype=self.low.dtype)[None]

    def missing(self, z, y):
        with torch.no_grad():
            return ((self.net(self.point(z))[0] - y) / self.spread).double().numpy()

    def jacobian(self, z, y):
        found = batched_jacobian(self.net, self.point(z), check=False)[0]
        return (found * self.width / self.spread[:, None]).double().numpy()

    def reach(self, y: Tensor, start: Tensor) -> np.ndarray:
        """Return the residuals of SciPy's trust region."""
        z = ((start - self.low) / self.width).double().clamp(1e-6, 1 - 1e-6).numpy()
        costs = [
            least_squares(self.missing, a, self.jacobian, bounds=(0, 1), args=(b,)).cost
            for a, b in zip(z, y, strict=True)
        ]
        return np.sqrt(2 * np.array(costs))

    def cheapest(
        self, y: Tensor, begin: Tensor, prices: Tensor, fuel: float = np.inf
    ) -> list[float]:
        """Return the costs that SLSQP comes to, NaN where it gives up, with so much fuel at most."""
        slope = (prices * self.width).double().numpy()
        weights = np.where(np.isin(np.arange(len(slope)), FUELS), self.width.numpy(), 0)
        room = fuel - self.low[FUELS].sum().item()
        least = {"type": "ineq", "fun": lambda z: room - weights @ z, "jac": lambda z: -weights}
        costs = []
        for a, b in zip((begin - self.low) / self.width, y, strict=True):
            found = minimize(
                lambda z: (slope @ z, slope),
                a.double().numpy(),
                jac=True,
                bounds=[(0, 1)] * len(slope),
                constraints=[
                    {"type": "eq", "fun": self.missing, "jac": self.jacobian, "args": (b,)},
                    *([least] if room < np.inf else []),
                ],
                method="SLSQP",
                options={"maxiter": 200},
            )
            good = found.success and np.abs(self.missing(found.x, b)).max() < TOLERANCE
            costs.append(found.fun + (self.low @ prices).item() if good else np.nan)
        return costs


def seconds(run) -> tuple[float, object]:
    begin = time.perf_counter()
    found = run()
    return time.perf_counter() - begin, found


def furnace(options: argparse.Namespace) -> None:
    count = options.targets
    data = ProblemDataModule("blast_furnace", num_points=5000, num_test_points=count, noise=0.0)
    x, y = (part.float() for part in data.load())
    net = trained(x, y, options.epochs)
    targets = torch.cat([batch[1] for batch in data.test_dataloader()])
    low, high = (torch.tensor([getattr(v, end) for v in data.inputs]) for end in ("low", "high"))
    spread = net.scale_y.std
    generator = torch.Generator().manual_seed(0)
    start = low + (high - low) * torch.rand(count, len(low), generator=generator)
    given = {"bounds": (low, high), "scale": (high - low, spread), "tolerance": TOLERANCE}

    print(f"\n{count} targets of a furnace's surrogate, 7 -> 4, from one start each")
    times = in_turns(
        {
            "ours": lambda: solve(net, targets, starts=start, **given),
            "evaluations": lambda: net(start).detach(),
            "jacobians": lambda: batched_jacobian(net, start, check=False),
        },
        options.seconds,
    )
    found = solve(net, targets, starts=start, **given)
    outside = torch.maximum(low - found.inputs, found.inputs - high).clamp(min=0).max()
    each = 1e6 * times["ours"] / count
    line(f"ours (at most {outside:g} outside)", each, each, found.converged)
    steps = found.steps.double().mean().item()
    least = 1e6 * steps * (times["evaluations"] + times["jacobians"]) / count
    print(f"  {'limit':42s} {least:10.1f} us: {steps:.1f} evaluations and Jacobians")
    took, residual = seconds(lambda: adam(net, targets, start, low, high, spread))
    line(f"Adam, {ADAM_STEPS} steps", 1e6 * took / count, each, residual <= TOLERANCE)
    reference = OneByOne(
        copy.deepcopy(net).double(), *(part.double() for part in (low, high, spread))
    )
    few = slice(0, options.few)
    took, residual = seconds(lambda: reference.reach(targets[few].double(), start[few].double()))
    line(
        f"SciPy trf ({options.few} targets)",
        1e6 * took / options.few,
        each,
        torch.as_tensor(residual <= TOLERANCE),
    )
    share = found.converged[few].float().mean()
    print(f"  {'ours on those':42s} {'':26s} {share:8.1%} solved")
    took, several = seconds(lambda: solve(net, targets, **given))
    line("ours, 8 starts a target", 1e6 * took / count, each, several.converged)

    prices = torch.tensor([3.0, 0.2, 0.4, 5.0, 0.01, 0.02, 0.1])
    for fuel in (np.inf, MOST_FUEL):
        limited = fuel < np.inf
        more = {"constraints": Linear(dict.fromkeys(FUELS, 1), high=fuel)} if limited else {}
        print("\nthe same at the least price" + f", with at most {fuel:g} kg of fuel" * limited)
        took, begin = seconds(lambda more=more: solve(net, targets, starts=start, **given, **more))
        each = 1e6 * took / count
        line("ours, without a price", each, each, begin.converged)
        asked = {"starts": start, "cost": prices, **given, **more}
        took, cheap = seconds(lambda asked=asked: solve(net, targets, **asked))
        each = 1e6 * took / count
        line("ours", each, each, cheap.converged)
        rows = begin.converged.nonzero()[: options.few, 0]
        parts = [part.double() for part in (targets[rows], begin.inputs[rows], prices)]
        took, best = seconds(lambda parts=parts, fuel=fuel: reference.cheapest(*parts, fuel))
        best = torch.tensor(best)
        line(f"SciPy SLSQP ({len(rows)} targets)", 1e6 * took / len(rows), each, best.isfinite())
        good = (cheap.cost[rows] <= best + 0.01 * best.abs())[best.isfinite()].float().mean()
        print(f"  ours are within 1 % of its optimum, or below: {good:.1%}; optimal: ", end="")
        print(f"{cheap.optimal[cheap.converged].float().mean():.1%} of those solved")
        if limited:
            sums = cheap.inputs[:, FUELS].double().sum(1)
            print(f"  {cheap.binding.float().mean():.1%} at the constraint, ", end="")
            print(f"none above by more than {(sums - fuel).clamp(min=0).max():.1g} kg")

    if options.million:
        million = targets[torch.arange(1_000_000) % count]
        before = peak()
        took, many = seconds(lambda: solve(net, million, num_starts=1, **given))
        held = sum(t.nbytes for t in vars(many).values() if isinstance(t, Tensor)) / 2**20
        print(
            f"\n1 000 000 targets: {took:.0f} s; peak memory {before:.0f} -> {peak():.0f} MiB, ",
            end="",
        )
        print(f"of which the result is {held:.0f}; {many.converged.float().mean():.1%} solved")


def random_network(n: int, m: int, width: int, count: int) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(n, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, m)
    )
    start, x = 2 * torch.rand(count, n) - 1, 2 * torch.rand(count, n) - 1
    with torch.no_grad():
        y = net(x)
    given = {"bounds": (-1.0, torch.ones(n)), "scale": (1.0, y.std(0)), "starts": start}
    solve(net, y, **given)
    took, found = seconds(lambda: solve(net, y, **given))
    each = 1e6 * took / count
    line(f"{n} -> {m}, width {width}, {count} targets", each, each, found.converged)


def film(count: int) -> None:
    """The spectrum of a multilayer film, by its own transfer matrices: more outputs than inputs."""
    problem = MultilayerFilm()
    low, high = problem.bounds
    x, start = problem.sample(2 * count, seed=0).split(count)
    y = problem.forward(x)
    given = {
        "bounds": (low, high), "scale": (high - low, 0.1), "starts": start, "max_steps": FILM_STEPS,
    }  # fmt: skip
    few = y[:2], {**given, "starts": start[:2]}
    solve(problem.forward, few[0], **few[1])
    took, found = seconds(lambda: solve(problem.forward, y, **given))
    each = 1e6 * took / count
    n, m = len(problem.inputs), len(problem.outputs)
    line(f"film {n} -> {m}, {count} targets", each, each, found.converged)


def line(name: str, each: float, ours: float, solved: Tensor) -> None:
    share = solved.float().mean()
    print(f"  {name:42s} {each:10.1f} us a target {each / ours:8.1f} x  {share:8.1%} solved")


def peak() -> float:
    """Return the largest memory that the process held so far, in MiB."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 2**20 if sys.platform == "darwin" else most / 2**10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--targets", type=int, default=10_000)
    parser.add_argument("--few", type=int, default=20, help="targets that SciPy solves")
    parser.add_argument("--epochs", type=int, default=60, help="of the surrogate's training")
    parser.add_argument("--seconds", type=float, default=10.0, help="for ours")
    parser.add_argument("--million", action="store_true", help="a million targets, too")
    options = parser.parse_args()
    print(machine("scipy"))
    furnace(options)
    print("\nrandom networks, one start each")
    few = max(1, options.targets // 20)
    for n, m, width, count in (
        (7, 4, 64, options.targets),
        (16, 16, 128, 4 * few),
        (64, 64, 256, few),
    ):
        random_network(n, m, width, count)
    film(few)


if __name__ == "__main__":
    main()
