"""Where outcomes spread least: what `Robust` proposes, and reports, by the true furnace.

Two pairs: one trained as that of the demo, one with fewer points and noise. Each is asked for the production and
the hot metal temperature of fresh operating points, without a cost and with `Robust`, at several shares of the known
settings that a proposal may be as unlike as. Settings are off by 2 kg of gas, 1 of wind and 0.1 % of oxygen. The
limit is a reported spread that is the true one, by draws around each proposal, and no miss.

    python benchmarks/robust.py [--targets 300] [--draws 2000] [--points 40000] [--epochs 40] [--write]
"""

from __future__ import annotations

import argparse
import time

import torch
from common import machine, markdown, put, quietly, trained
from torch import Tensor

from lightning_invert import ForwardInverseModule, Robust
from lightning_invert.datamodules import ProblemDataModule
from lightning_invert.problems import BlastFurnace

ERRORS = {"natural_gas": 2.0, "wind_rate": 1.0, "o2_fraction": 0.1}
WANTED = ("production_rate", "hot_metal_temperature")
COSTS = {
    "without a cost": None,
    "`Robust(errors)`": Robust(ERRORS),
    "`share=0.99`": Robust(ERRORS, share=0.99),
    "`share=None`": Robust(ERRORS, share=None),
}
HEAD = [
    "pair", "cost", "certified", "the true furnace misses by, median (95th percentile)",
    "reported spread, as a multiple of the true one (5th to 95th percentile)",
    "true spread, as a multiple of that without a cost (median)", "ms a target",
]  # fmt: skip


def true_spread(furnace: BlastFurnace, inputs: Tensor, draws: int) -> Tensor:
    """Return the standard deviation of each outcome around inputs (N, n) that are off, (N, m)."""
    generator = torch.Generator().manual_seed(0)
    names = [variable.name for variable in furnace.inputs]
    error = torch.tensor([ERRORS.get(name, 0.0) for name in names], dtype=torch.float64)
    shape = (draws, len(error))
    off = error * torch.randn(shape, generator=generator, dtype=torch.float64)
    return torch.stack([furnace.forward(x + off).std(0) for x in inputs.double()])


def percentiles(values: Tensor, *shares: float) -> list[float]:
    return torch.quantile(values.double().flatten(), torch.tensor(shares).double()).tolist()


def rows(name: str, pair: ForwardInverseModule, options: argparse.Namespace) -> list[list[str]]:
    furnace = BlastFurnace()
    y = furnace.forward(furnace.sample(options.targets, seed=11))
    outputs = [variable.name for variable in furnace.outputs]
    places = [outputs.index(output) for output in WANTED]
    targets = {output: y[:, place] for output, place in zip(WANTED, places, strict=True)}
    unit = pair.scale_y.std.double()[places]
    table, plain = [], None
    for words, cost in COSTS.items():
        begin = time.perf_counter()
        found = pair.propose(targets, setting_error=ERRORS, cost=cost, progress=False)
        took = 1e3 * (time.perf_counter() - begin) / options.targets
        spread = true_spread(furnace, found.inputs, options.draws)[:, places]
        missed = ((furnace.forward(found.inputs.double()) - y)[:, places] / unit).norm(dim=1)
        least, most = percentiles(found.outcome_spread.double()[:, places] / spread, 0.05, 0.95)
        total = (spread / unit).norm(dim=1)
        plain = total if plain is None else plain
        middle, far = percentiles(missed, 0.5, 0.95)
        table.append([
            name, words, f"{found.certified.double().mean():.0%}", f"{middle:.2g} ({far:.2g})",
            f"{least:.2f} to {most:.2f}", f"{(total / plain).median():.2f}", f"{took:.1f}",
        ])  # fmt: skip
        print(" | ".join(table[-1]), flush=True)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--targets", type=int, default=300)
    parser.add_argument("--draws", type=int, default=2000, help="around each proposal")
    parser.add_argument("--points", type=int, default=40_000)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--write", action="store_true", help="put the table into the docs")
    options = parser.parse_args()
    quietly()
    print(f"{machine()}; limit: multiples of 1 and a miss of 0")
    few = {"num_points": min(options.points, 3000), "noise": 0.01, "batch_size": 64}
    pairs = {
        f"{options.points} points": {"num_points": options.points},
        f"{few['num_points']} noisy points": few,
    }
    table = []
    for name, data in pairs.items():
        pair = trained(ProblemDataModule("blast_furnace", **data), options.epochs, seed=0)
        table += rows(name, pair, options)
    if options.write:
        ending = f"{options.targets} targets, {options.draws} draws; {machine()}."
        put("robust", f"\n{markdown(HEAD, table)}\n\n{ending}\n")


if __name__ == "__main__":
    main()
