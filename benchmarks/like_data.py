"""What keeping proposals like the data buys, and costs: prices and `Robust`, by the true furnace.

Two pairs: one trained as that of the demo, one with fewer points, both with 1 % noise. Each is asked for the outcomes of
fresh operating points: all four at random prices of both signs, other ones for each target, or the production and
the hot metal temperature alone, where these spread least. Settings are off by 2 kg of gas, 1 of wind and 0.1 % of
oxygen. *Share* is that of `LikeData`, or of `Robust`. *Saved*: what is saved of what the prices alone save, against
the settings that were in force; of the targets that both reach. The limit: no miss, and a reported spread that is
the true one, by draws around each proposal.

    python benchmarks/like_data.py [--targets 300] [--draws 2000] [--points 40000] [--epochs 40] [--write]
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import torch
from common import machine, markdown, put, quietly, trained
from torch import Tensor

from lightning_invert import ForwardInverseModule, LikeData, Proposal, Robust
from lightning_invert.datamodules import ProblemDataModule
from lightning_invert.problems import BlastFurnace

ERRORS = {"natural_gas": 2.0, "wind_rate": 1.0, "o2_fraction": 0.1}
NOISE = 0.01
SHARES = (None, 0.99, 0.9)
HEAD = [
    "pair", "asked", "share", "reached, %", "certified, %", "the true furnace misses by, median (95th percentile)",
    "all measured outcomes in the band, %", "saved, %", "spread: reported / true, 5th to 95th percentile", "true spread / without a cost",
    "time / without a share",
]  # fmt: skip


class Judge:
    """Asks one pair, and holds what it proposes against the furnace."""

    def __init__(self, name: str, pair: ForwardInverseModule, options: argparse.Namespace) -> None:
        self.name, self.pair, self.draws = name, pair, options.draws
        self.furnace = BlastFurnace()
        self.now = self.furnace.sample(options.targets, seed=11).double()
        self.y = self.furnace.forward(self.now)
        self.unit = pair.scale_y.std.double()
        names = [variable.name for variable in pair.inputs or ()]
        self.error = torch.tensor([ERRORS.get(name, 0.0) for name in names], dtype=torch.float64)
        generator = torch.Generator().manual_seed(0)
        self.prices = torch.randn(self.now.shape, generator=generator, dtype=torch.float64)
        self.prices = self.prices / pair.scale_x.std.double()

    def rows(self) -> list[list[str]]:
        whole, two = self.y, self.y.clone()
        two[:, [0, 3]] = torch.nan
        plain, alone, table = self.asked(two)[0], None, []
        first = 0.0
        for share in SHARES:
            like = () if share is None else LikeData(share)
            found, took = self.asked(whole, cost=self.prices, constraints=like)
            alone = found if alone is None else alone
            first = first or took
            ends = [self.saved(found, alone), "", "", f"{took / first:.1f}"]
            table.append([*self.head("prices", share, found, whole), *ends])
            print(" | ".join(table[-1]), flush=True)
        first = 0.0
        for share in SHARES:
            found, took = self.asked(two, cost=Robust(ERRORS, share))
            spreads = self.spread_words(found, plain)
            first = first or took
            ends = ["", *spreads, f"{took / first:.1f}"]
            table.append([*self.head("`Robust`", share, found, two), *ends])
            print(" | ".join(table[-1]), flush=True)
        return table

    def asked(self, targets: Tensor, **ways: Any) -> tuple[Proposal, float]:
        begin = time.perf_counter()
        found = self.pair.propose(targets, setting_error=ERRORS, progress=False, **ways)
        return found, time.perf_counter() - begin

    def head(self, asked: str, share: float | None, found: Proposal, targets: Tensor) -> list[str]:
        true = self.furnace.forward(found.inputs.double())
        missed = ((true - targets) / self.unit).nan_to_num(0.0).norm(dim=1)[found.converged]
        middle, far = percentiles(missed, 0.5, 0.95)
        generator = torch.Generator().manual_seed(1)
        assert found.outcome_low is not None
        assert found.outcome_high is not None
        luck = torch.randn(true.shape, generator=generator, dtype=torch.float64)
        seen = true + NOISE * self.unit * luck
        held = ((found.outcome_low <= seen) & (seen <= found.outcome_high)).all(1)[found.converged]
        return [
            self.name, asked, "–" if share is None else f"{share:g}", percent(found.converged),
            percent(found.certified), f"{middle:.2g} ({far:.2g})", percent(held),
        ]  # fmt: skip

    def saved(self, found: Proposal, alone: Proposal) -> str:
        both = found.converged & alone.converged
        saved = [
            ((self.now - way.inputs.double()) * self.prices).sum(1)[both].mean()
            for way in (found, alone)
        ]
        return f"{100 * float(saved[0] / saved[1]):.0f}"

    def spread_words(self, found: Proposal, plain: Proposal) -> tuple[str, str]:
        spread, usual = (self.true_spread(way.inputs.double()) for way in (found, plain))
        assert found.outcome_spread is not None
        wanted = [1, 2]
        least, most = percentiles((found.outcome_spread.double() / spread)[:, wanted], 0.05, 0.95)
        total, before = ((each / self.unit)[:, wanted].norm(dim=1) for each in (spread, usual))
        return f"{least:.2f} to {most:.2f}", f"{(total / before).median():.2f}"

    def true_spread(self, inputs: Tensor) -> Tensor:
        """Return the standard deviation of each outcome around inputs (N, n) that are off, (N, m)."""
        shape, generator = (self.draws, len(self.error)), torch.Generator().manual_seed(0)
        off = self.error * torch.randn(shape, generator=generator, dtype=torch.float64)
        return torch.stack([self.furnace.forward(x + off).std(0) for x in inputs])


def percent(which: Tensor | None) -> str:
    return "–" if which is None or not len(which) else f"{100 * which.double().mean():.0f}"


def percentiles(values: Tensor, *shares: float) -> list[float]:
    if not values.numel():
        return [torch.nan] * len(shares)
    return torch.quantile(values.double().flatten(), torch.tensor(shares).double()).tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--targets", type=int, default=300)
    parser.add_argument("--draws", type=int, default=2000, help="around each proposal")
    parser.add_argument("--points", type=int, default=40_000)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--write", action="store_true", help="put the table into the docs")
    options = parser.parse_args()
    quietly()
    print(f"{machine()}; limit: a miss of 0, and reported spreads of 1")
    few = min(options.points, 3000)
    pairs: dict[str, dict[str, Any]] = {
        f"{options.points:,} points": {"num_points": options.points},
        f"{few:,} points": {"num_points": few, "batch_size": 64},
    }
    table = []
    for name, data in pairs.items():
        pair = trained(
            ProblemDataModule("blast_furnace", noise=NOISE, **data), options.epochs, seed=0
        )
        table += Judge(name, pair, options).rows()
    if options.write:
        ending = f"{options.targets} targets, {options.draws} draws; {machine()}."
        put("like-data", f"\n{markdown(HEAD, table)}\n\n{ending}\n")


if __name__ == "__main__":
    main()
