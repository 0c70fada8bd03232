"""The least price under constraints: against SciPy's SLSQP and trust-constr, from the same starts.

Random networks 6 -> 3 of weights up to `gain` times the usual ones, and known processes by their own equations, in
float64; targets are outcomes of points at which the constraints hold. Each target has eight starts, as `solve` takes
them: of 512 random points those with the nearest outcomes. Every contestant begins at all eight, has exact
Jacobians, and its cheapest solution counts. Solved is a target whose residual is at most 1e-3 of the outcomes'
spread, at a point that violates no constraint by more than 1e-3. Costs are compared where both solve: within 1 % of
theirs or below, and in brackets how often ours, or theirs, is more than 1 % the cheaper. SciPy may take 300 steps,
and solves few targets, one by one; its time is a target's. The limit is what the evaluations and Jacobians of our
steps take alone.

    python benchmarks/constraints.py [--targets 10000] [--few 60] [--fewer 4] [--only arm] [--write]
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from common import machine, markdown, put
from scipy.optimize import BFGS, Bounds, NonlinearConstraint, minimize
from torch import Tensor, nn

from lightning_invert import Constraint, Linear, batched_jacobian, solve
from lightning_invert.problems import Ballistics, RobotArm

TOLERANCE, STEPS, STARTS = 1e-3, 300, 8
HEAD = [
    "problem", "solved: ours / SLSQP / trust-constr", "cost within 1 % of SLSQP's", "of trust-constr's",
    "worst violation: ours / SLSQP / trust-constr", "ms a target: ours", "times faster than SLSQP / trust-constr",
]  # fmt: skip


class Case(NamedTuple):
    """A map, a box, constraints as ours and as functions of a point with their ends, and prices."""

    function: Callable[[Tensor], Tensor]
    low: Tensor
    high: Tensor
    constraints: list[Linear | Constraint]
    prices: Tensor

    @property
    def rows(self) -> list[tuple[Callable[[Tensor], Tensor], float, float]]:
        rows = []
        for part in self.constraints:
            ends = (
                -np.inf if part.low is None else part.low,
                np.inf if part.high is None else part.high,
            )
            function = getattr(part, "function", None)
            if isinstance(part, Linear):
                weights = torch.zeros_like(self.low)
                for index, weight in part.weights.items():
                    weights[index] = weight
                function = lambda x, a=weights: x @ a
            rows.append((lambda x, f=function: f(x).reshape(len(x), -1), *ends))
        return rows

    def violation(self, x: Tensor) -> Tensor:
        """Return how far points are beyond an end, (N,)."""
        most = x.new_zeros(len(x))
        for function, low, high in self.rows:
            value = function(x)
            most = torch.maximum(most, torch.maximum(low - value, value - high).amax(1))
        return most


def network(gain: float) -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(6, 48), nn.Tanh(), nn.Linear(48, 48), nn.Tanh(), nn.Linear(48, 3)
    ).double()  # fmt: skip
    with torch.no_grad():
        for weights in net.parameters():
            weights.mul_(gain)
    return net.eval().requires_grad_(False)


def cases() -> dict[str, Case]:
    kinds: dict[str, list[Linear | Constraint]] = {
        "sum at most": [Linear({0: 1, 1: 1, 2: 1}, high=0.4)],
        "order and total": [Linear({0: 1, 1: -1}, low=0.0), Linear(dict.fromkeys(range(4), 1), 0.3, 0.3)],
        "ball": [Constraint(lambda x: x[:, :3].square().sum(1), high=0.8)],
        "sphere": [Constraint(lambda x: x.square().sum(1), low=1.5, high=1.5)],
    }  # fmt: skip
    one = torch.ones(6).double()
    prices = torch.linspace(-1, 1, 6).double()
    found = {
        f"network, gain {gain:g}: {kind}": Case(network(gain), -one, one, parts, prices)
        for gain in (1.5, 3.0)
        for kind, parts in kinds.items()
    }
    arm, throw = RobotArm(), Ballistics()
    found["robot arm: joints turn by 1.5 in all"] = Case(
        arm.forward, *arm.bounds, [Constraint(lambda x: x[:, 1:].square().sum(1), high=1.5**2)],
        torch.tensor([1.0, 0.3, -0.2, 0.1]).double(),
    )  # fmt: skip
    found["ballistics: energy and order"] = Case(
        throw.forward, *throw.bounds,
        [Constraint(lambda x: x[:, 3].square() / 2 + 0.1 * x[:, 1], high=0.8), Linear({0: 1, 1: 1}, low=1.2)],
        torch.tensor([0.2, 1.0, -0.3, 0.5]).double(),
    )  # fmt: skip
    return found


class OneByOne:
    """A case for SciPy, in units of the box and of the outcomes' spread."""

    def __init__(self, case: Case, spread: Tensor):
        self.case, self.width, self.spread = case, case.high - case.low, spread
        self.slope = (case.prices * self.width).numpy()
        self.scale = np.linalg.norm(self.slope)

    def at(
        self, function: Callable[[Tensor], Tensor], z: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return values (k,) and Jacobian (k, n) of a function at a point."""
        x = (self.case.low + self.width * torch.from_numpy(z))[None].requires_grad_()
        with torch.enable_grad():
            y = function(x)[0]
            rows = [torch.autograd.grad(part, x, retain_graph=True)[0][0] for part in y]
        return y.detach().numpy(), (torch.stack(rows) * self.width).numpy()

    def cheapest(self, method: str, target: Tensor, start: Tensor) -> np.ndarray:
        """Return the point that a method comes to."""
        parts: list[tuple[Callable[[Tensor], Tensor], float, float]] = [
            (lambda x: (self.case.function(x) - target) / self.spread, 0.0, 0.0), *self.case.rows
        ]  # fmt: skip
        limits: list[Any] = []
        for function, low, high in parts:
            if method == "trust-constr":
                limits.append(
                    NonlinearConstraint(
                        lambda z, f=function: self.at(f, z)[0], low, high, hess=BFGS(),
                        jac=lambda z, f=function: self.at(f, z)[1],
                    )
                )  # fmt: skip
                continue
            for sign, end in ((1, low), (-1, high))[: 1 if low == high else 2]:
                if np.isfinite(end):
                    limits.append({
                        "type": "eq" if low == high else "ineq",
                        "fun": lambda z, f=function, s=sign, e=end: s * (self.at(f, z)[0] - e),
                        "jac": lambda z, f=function, s=sign: s * self.at(f, z)[1],
                    })  # fmt: skip
        n = len(self.slope)
        own = {"ftol": 1e-9} if method == "SLSQP" else {"gtol": 1e-6, "xtol": 1e-8}
        z = ((start - self.case.low) / self.width).clamp(0, 1).numpy()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = minimize(
                lambda z: (self.slope @ z / self.scale, self.slope / self.scale), z, jac=True,
                method=method, bounds=Bounds(np.zeros(n), np.ones(n)), constraints=limits,
                options={"maxiter": STEPS, **own},
                **({} if method == "SLSQP" else {"hess": lambda z: np.zeros((n, n))}),
            )  # fmt: skip
        return (self.case.low + self.width * torch.from_numpy(found.x)).numpy()


class Outcome(NamedTuple):
    """How N targets ended: which are solved, at which cost, and the largest violation of what is reached."""

    solved: Tensor
    cost: Tensor
    worst: float
    seconds: float


def judged(case: Case, x: Tensor, y: Tensor, spread: Tensor, seconds: float) -> Outcome:
    """Judge points (N, S, n) for targets (N, m): the cheapest that solves its target counts."""
    flat = x.flatten(0, 1)
    with torch.no_grad():
        outcomes = case.function(flat).reshape(*x.shape[:2], -1)
        beyond = case.violation(flat).reshape(x.shape[:2])
    reached = ((outcomes - y[:, None]) / spread).norm(dim=2) <= 1.001 * TOLERANCE
    cost = (x @ case.prices).masked_fill(~reached | (beyond > TOLERANCE), torch.inf).amin(1)
    worst = beyond[reached].max().item() if reached.any() else np.nan
    return Outcome(cost.isfinite(), cost, worst, seconds)


def theirs(case: Case, method: str, y: Tensor, starts: Tensor, spread: Tensor) -> Outcome:
    one, begin = OneByOne(case, spread), time.perf_counter()
    points = [
        [one.cheapest(method, target, start) for start in own]
        for target, own in zip(y, starts, strict=True)
    ]
    took = (time.perf_counter() - begin) / max(1, len(y))
    x = torch.from_numpy(np.array(points)).reshape(len(y), STARTS, len(case.low))
    return judged(case, x, y, spread, took)


def compared(ours: Outcome, other: Outcome) -> str:
    count = len(other.solved)
    both = ours.solved[:count] & other.solved
    excess = ((ours.cost[:count] - other.cost) / other.cost.abs())[both]
    share = (excess <= 0.01).double().mean()
    return f"{share:.0%} ({int((excess < -0.01).sum())}, {int((excess > 0.01).sum())} of {int(both.sum())})"


def nearest_starts(case: Case, y: Tensor, spread: Tensor, points: Tensor) -> Tensor:
    """Return for each target the points with the nearest outcomes, (N, STARTS, n)."""
    with torch.no_grad():
        outcomes = case.function(points) / spread
    return points[torch.cdist(y / spread, outcomes).topk(STARTS, dim=1, largest=False).indices]


def row(name: str, case: Case, options: argparse.Namespace) -> list[str]:
    generator = torch.Generator().manual_seed(0)
    count, width = options.targets, case.high - case.low
    x, points = (
        case.low + width * torch.rand(size, len(width), generator=generator, dtype=torch.float64)
        for size in (count, 512)
    )
    given = {"bounds": (case.low, case.high), "constraints": case.constraints, "progress": False}
    x = solve(lambda z: z, x, starts=x, scale=(width, width), **given).inputs
    with torch.no_grad():
        y = case.function(x)
    spread = y.std(0)
    starts = nearest_starts(case, y, spread, points)
    given |= {"scale": (width, spread), "tolerance": TOLERANCE, "cost": case.prices}
    solve(case.function, y[:50], starts=starts[:50], **given)
    begin = time.perf_counter()
    found = solve(case.function, y, starts=starts, **given)
    each = (time.perf_counter() - begin) / count
    ours = judged(case, found.inputs[:, None], y, spread, each)
    begin, steps = time.perf_counter(), found.steps.double().mean().item()
    with torch.no_grad():
        case.function(points)
    batched_jacobian(case.function, points, check=False)
    least = 1e3 * STARTS * steps * (time.perf_counter() - begin) / len(points)
    print(f"limit: {least:.2f} ms a target, {steps:.1f} evaluations and Jacobians from a start")
    few = {"SLSQP": options.few, "trust-constr": options.fewer}
    others = [theirs(case, name, y[:part], starts[:part], spread) for name, part in few.items()]
    shares = [ours.solved[: options.few], *(part.solved for part in others)]
    return [
        name,
        " / ".join(f"{solved.double().mean():.0%}" for solved in shares),
        *(compared(ours, other) for other in others),
        " / ".join(f"{part.worst:.0e}" for part in (ours, *others)),
        f"{1e3 * each:.2f}",
        " / ".join(f"{part.seconds / each:.0f}" for part in others),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--targets", type=int, default=10000, help="that ours solves at once")
    parser.add_argument("--few", type=int, default=60, help="targets that SLSQP solves")
    parser.add_argument("--fewer", type=int, default=4, help="targets that trust-constr solves")
    parser.add_argument("--only", default="", help="problems whose names hold this")
    parser.add_argument("--write", action="store_true", help="put the table into the docs")
    options = parser.parse_args()
    print(machine("scipy"))
    rows = []
    for name, case in cases().items():
        if options.only not in name:
            continue
        rows.append(row(name, case, options))
        print(" | ".join(rows[-1]), flush=True)
    if options.write:
        ending = (
            f"{options.targets} targets, {options.few} of them for SLSQP and {options.fewer} for "
            f"trust-constr. {machine('scipy')}."
        )
        put("constraints", f"\n{markdown(HEAD, rows)}\n\n{ending}\n")


if __name__ == "__main__":
    main()
