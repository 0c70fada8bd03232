"""What a history of a furnace would have cost: the literature's loop beside `pair.backtest`, by the true furnace.

The furnace has seven settings and five outcomes, or four without the coke rate. A pair is trained as that of
the demo, with fewer points. The history: fresh operating points and their outcomes, measured with 1 %
noise. Each method looks for cheaper settings with these outcomes by the pair's F alone. It is judged by F,
as in the literature, and by the furnace without noise.

The literature's loop takes five steps x + J+ (y - F(x)) - pace (1 - J+ J) p, with prices p of length 1 and a
damped inverse J+, all in standard units, and clips to the bounds. It begins at I(y), or at the settings x in
force. Damping and pace are those of a grid that give the most rows that are cheaper with all outcomes
within 5 %, by F. The limit is the back-test with the true furnace in the place of F.

    python benchmarks/backtest.py [--points 40000] [--epochs 40] [--rows 400] [--seed 0] [--write]

It also prints the time of the proposals' windows.
"""

from __future__ import annotations

import argparse
import itertools
import time
import timeit
from collections.abc import Callable

import torch
from common import machine, markdown, put, quietly, trained
from torch import Tensor

from lightning_invert import ForwardInverseModule, Proposer, batched_jacobian
from lightning_invert.datamodules import ProblemDataModule
from lightning_invert.problems import BlastFurnace

NOISE = 0.01
PRICES = torch.tensor([3.0, 0.2, 0.4, 5.0, 0.01, 0.02, 0.1], dtype=torch.float64)
"""Of hydrogen, coal, gas, oxygen, the heat of both, and wind."""

STEPS = 5
GRID = tuple(itertools.product((1e-3, 1e-2, 1e-1), (0.03, 0.1, 0.3)))
"""Dampings and paces of the literature's loop, of which the best is taken."""

SHARES = (0.01, 0.05, 0.1)
NUM_WINDOWS = 20
LOOSE = 0.1
"""A tolerance in standard units at which all outcomes stay within 5 % of what was asked."""


def five_steps(
    pair: ForwardInverseModule, start: Tensor, y: Tensor, damping: float, pace: float
) -> Tensor:
    """Return where the literature's loop ends, (N, n)."""
    surrogate = pair.proposer.surrogate
    assert surrogate.units is not None
    assert surrogate.bounds is not None
    (unit_x, unit_y), bounds = surrogate.units, surrogate.bounds
    slope = PRICES * unit_x
    slope = slope / slope.norm()
    x = bounds.clamp(start)
    for _ in range(STEPS):
        jacobian = batched_jacobian(pair, x, check=False).double() * unit_x / unit_y[:, None]
        gram = jacobian @ jacobian.mT + damping * torch.eye(y.shape[1], dtype=torch.float64)
        back = jacobian.mT @ torch.linalg.inv(gram)
        missing = (y - surrogate.predict(x)) / unit_y
        along = slope - (back @ (jacobian @ slope)[:, :, None])[:, :, 0]
        step = (back @ missing[:, :, None])[:, :, 0] - pace * along
        x = bounds.clamp(x + unit_x * step)
    return x


def loop(pair: ForwardInverseModule, x: Tensor, y: Tensor, start: Tensor) -> tuple[Tensor, str]:
    """Return where the loop ends with the best damping and pace of the grid, by F, and what they are."""
    found = [five_steps(pair, start, y, *how) for how in GRID]
    spent, predict = x @ PRICES, pair.proposer.surrogate.predict
    worth = [(near(predict(z), y)[1].all(1) & (z @ PRICES < spent)).double().mean() for z in found]
    best = max(range(len(GRID)), key=worth.__getitem__)
    damping, pace = GRID[best]
    return found[best], f"damping {damping:g}, pace {pace:g}"


def near(outcomes: Tensor, y: Tensor) -> Tensor:
    """Return which outcomes are within each of the shares of what was asked, (3, N, m)."""
    return torch.stack([(outcomes - y).abs() <= share * y.abs() for share in SHARES])


def shares(parts: Tensor) -> str:
    """Write the shares of the rows that are within 1, 5 and 10 %, (3, N)."""
    return "/".join(f"{100 * share:.0f}" for share in parts.double().mean(1))


def percent(part: Tensor, of: Tensor) -> str:
    return f"{(100 * part / of).item():.1f} %".replace("-0.0", "0.0")


def tables(
    settings: dict[str, Tensor],
    judges: dict[str, Callable[[Tensor], Tensor]],
    data: ProblemDataModule,
    x: Tensor,
    y: Tensor,
) -> str:
    """Return what each method saves, and how near the furnace comes to each outcome."""
    spent, saves, comes = x @ PRICES, [], []
    for name, z in settings.items():
        saved = spent - z @ PRICES
        inside = {judge: near(outcomes(z), y) for judge, outcomes in judges.items()}
        saves.append([
            name, f"{100 * (saved > 0).double().mean():.0f} %",
            f"{percent(saved.mean(), spent.mean())} ({percent(saved.median(), spent.median())})",
            *(shares((saved > 0) & part.all(2)) for part in inside.values()),
        ])  # fmt: skip
        comes.append([name, *map(shares, inside["the furnace"].unbind(2))])
    by = [f"cheaper and all outcomes within 1 / 5 / 10 %, by {judge}" for judge in judges]
    head = [f"7 → {y.shape[1]}", "cheaper", "saved, mean (median)", *by]
    names = [v.name.replace("_", " ") for v in data.outputs]
    if y.shape[1] == 5:
        saves.append(["*published, two runs*", "86 %, 27 %", "", "", ""])
    return "\n\n".join(
        (markdown(head, saves), markdown(["by the furnace, within 1 / 5 / 10 %", *names], comes))
    )


def judged(args: argparse.Namespace, *, coke_rate: bool) -> str:
    """Train a pair, let all methods look for cheaper settings, and return the tables."""
    furnace = BlastFurnace(coke_rate=coke_rate)
    data = ProblemDataModule(
        furnace, args.points, noise=NOISE, batch_size=min(512, args.points // 20), val_fraction=0.1,
        seed=args.seed,
    )  # fmt: skip
    pair = trained(data, args.epochs, args.seed)
    surrogate = pair.proposer.surrogate
    x = pair.proposer.bounds.clamp(furnace.sample(args.rows, seed=args.seed + 1000).double())
    generator = torch.Generator().manual_seed(args.seed)
    y = furnace.forward(x)
    y = y + NOISE * y.std(0) * torch.randn(y.shape, generator=generator, dtype=torch.float64)
    limit = Proposer(
        furnace.forward, evidence=pair.evidence, scale=surrogate.units, inputs=furnace.inputs
    )
    settings = {}
    with surrogate.evaluating():
        for name, start in (("I(y)", pair.inverse(y).double()), ("x", x)):
            ends, how = loop(pair, x, y, start)
            settings[f"five steps from {name}, {how}"] = ends
    for name, proposer, tolerance in (
        ("pair.backtest", pair.proposer, 1e-3),
        (f"pair.backtest, tolerance {LOOSE:g}", pair.proposer, LOOSE),
        (f"*limit: the furnace as F*, tolerance {LOOSE:g}", limit, LOOSE),
    ):
        began = time.perf_counter()
        proposal = proposer.backtest(x, y, PRICES, tolerance=tolerance, progress=False).proposal
        took = 1000 * (time.perf_counter() - began) / len(x)
        print(
            f"{name}: {took:.1f} ms a row; {proposal.converged.double().mean():.0%} reached",
            flush=True,
        )
        # What is not reached stays as it is.
        settings[name] = proposal.inputs.double().where(proposal.converged[:, None], x)
    asked = pair.propose(y[:NUM_WINDOWS], cost=PRICES, progress=False)
    took = min(timeit.repeat(lambda: pair.windows(asked, 0.1), number=1, repeat=3))
    print(
        f"windows: {1000 * took / asked.inputs.numel():.1f} ms a target and setting; the goal is 5 ms"
    )
    judges = {"F": lambda z: surrogate.predict(z).double(), "the furnace": furnace.forward}
    with surrogate.evaluating():
        return tables(settings, judges, data, x, y)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--points", type=int, default=40_000)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="the tables into the docs")
    args = parser.parse_args()
    quietly()
    head = machine("lightning")
    print(head, flush=True)
    text = "\n\n".join(judged(args, coke_rate=coke_rate) for coke_rate in (True, False))
    print(text)
    if args.write:
        put("back-test", f"\n{text}\n\n{args.rows} rows. {head}.\n")


if __name__ == "__main__":
    main()
