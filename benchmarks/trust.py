"""Whether what a pair says of its proposals holds: bands, trust and the choice among solutions.

A pair, F an ensemble of three, is trained on each known process and asked for outcomes of fresh points
of the process's prior inside its box ("in"), and for the same stretched about the mean of the data by
1.6 ("out"). The process itself says what comes out at what is proposed. Errors are distances from the
target in standard units (the spread of the outcomes): Euclidean, and per output the root mean square,
which is less by the root of the number of outputs. Where the process has no outcome they are infinite.

    python benchmarks/trust.py [--problems sine,robot_arm] [--seeds 1] [--targets 1000] [--epochs 60]
                               [--keep FOLDER] [--write docs]

``--keep`` is a folder for the trained pairs: those that are there are taken, not trained. The limit is
F's error at points that it has not seen, per output, against the process without noise.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from common import machine, markdown, put, quiet_trainer, quietly
from torch import Tensor

from lightning_invert import Ensemble, ForwardInverseModule, SmoothMLP
from lightning_invert.datamodules import ProblemDataModule
from lightning_invert.problems import Problem
from lightning_invert.proposals.proposal import Proposal

POINTS = {"blast_furnace": 24_000}
NOISE = {"blast_furnace": 0.01}
MEMBERS, STRETCH = 3, 1.6
TERMS = ("constant", "neighbours", "members", "distance")
RANGE = ("least", "mean", "most")


class Bench:
    """A process, its data, and the pair that is trained on them."""

    def __init__(self, name: str, seed: int, epochs: int, keep: Path | None) -> None:
        self.noise = NOISE.get(name, 0.0)
        self.data = ProblemDataModule(
            name, num_points=POINTS.get(name, 12_500), noise=self.noise, data_seed=seed,
            batch_size=128,
        )  # fmt: skip
        self.problem: Problem = self.data.problem
        file = None if keep is None else keep / f"{name}_{seed}_{epochs}.ckpt"
        if file is not None and file.exists():
            self.pair = ForwardInverseModule.load_from_checkpoint(file)
        else:
            torch.manual_seed(seed)
            n, m = len(self.problem.inputs), len(self.problem.outputs)
            forward = Ensemble(SmoothMLP(n, m), members=MEMBERS)
            self.pair = ForwardInverseModule(forward, SmoothMLP(m, n))
            trainer = quiet_trainer(epochs, check_val_every_n_epoch=epochs)
            trainer.fit(self.pair, datamodule=self.data)
            if file is not None:
                trainer.save_checkpoint(file)
        self.pair.eval()
        self.unit = self.data.statistics.output_std.double()

    def wanted(self, count: int, stretch: float) -> Tensor:
        """Outcomes of fresh points of the prior inside the box, stretched about the data's mean."""
        fresh = self.problem.sample(3 * count, seed=10_000)
        low, high = self.problem.bounds
        outcomes = self.problem.forward(fresh[((fresh >= low) & (fresh <= high)).all(1)])
        outcomes = outcomes[outcomes.isfinite().all(1)][:count]
        mean = self.data.statistics.output_mean
        return mean + stretch * (outcomes - mean)

    def errors(self, x: Tensor, targets: Tensor) -> Tensor:
        """How far from the targets the process is, in standard units: (N,)."""
        missed = ((self.problem.forward(x) - targets) / self.unit).norm(dim=1)
        return missed.detach().nan_to_num(torch.inf)

    def limit(self) -> float:
        x = self.problem.sample(1000, seed=10_001)
        with torch.no_grad():
            missed = (self.pair(x) - self.problem.forward(x)) / self.unit
        return float(missed.square().nanmean().sqrt())

    def terms(self) -> str:
        """Which terms of the variance were kept, and in how many of the outputs."""
        assert self.pair.reliability is not None
        kept = (self.pair.reliability.weights > 0).sum(1).tolist()
        m = len(self.problem.outputs)
        return ", ".join(f"{t} {k}/{m}" for t, k in zip(TERMS, kept, strict=True) if k)

    def judged(self, count: int, stretch: float) -> dict[str, float]:
        targets = self.wanted(count, stretch)
        begin = time.perf_counter()
        self.pair.proposer.reset()
        reliability = self.pair.reliability
        measured_by = time.perf_counter()
        found = self.pair.propose(targets, progress=False)
        proposed = time.perf_counter()
        assert reliability is not None
        assert found.trust is not None
        with torch.no_grad():
            true = self.problem.forward(found.inputs)
            generator = torch.Generator().manual_seed(7)
            noise = torch.randn(true.shape, generator=generator, dtype=true.dtype)
            measured = true + self.noise * self.unit * noise
            own = self.pair.inverse(targets)
        error = self.errors(found.inputs, targets)
        others = found.alternatives
        residuals = torch.cat([found.residual[:, None], others.residual], 1).nan_to_num(torch.inf)
        least = torch.cat([found.inputs[:, None], others.inputs], 1)
        least = least[torch.arange(len(least)), residuals.argmin(1)]
        accurate = ((measured - targets) / self.unit).norm(dim=1) <= reliability.accuracy.norm()
        bad = error >= error.quantile(0.9)
        return {
            "converged": share(found.converged),
            **spread("error", error),
            **spread("own", self.errors(own, targets)),
            **spread("least", self.errors(least, targets)),
            **covered("measured", found, measured, torch.ones_like(found.converged)),
            **covered("measured, converged", found, measured, found.converged),
            **covered("true", found, true, torch.ones_like(found.converged)),
            **covered("true, converged", found, true, found.converged),
            "scale": needed(found, measured),
            "trust": auroc(-found.trust, bad),
            "condition": auroc(found.condition, bad),
            "said": float(found.trust.mean()),
            "was": share(accurate),
            "measure": measured_by - begin,
            "propose": (proposed - measured_by) / len(targets),
        }


def share(marked: Tensor) -> float:
    return float(marked.double().mean())


def spread(name: str, errors: Tensor) -> dict[str, float]:
    return {f"{name} {q}": float(errors.quantile(q)) for q in (0.5, 0.95)}


def covered(name: str, found: Proposal, outcome: Tensor, rows: Tensor) -> dict[str, float]:
    """Of each output, how many of the rows' outcomes are inside the band: least, mean and most."""
    inside = (outcome >= found.outcome_low) & (outcome <= found.outcome_high)
    shares = inside[rows].double().mean(0)
    found = (shares.amin(), shares.mean(), shares.amax())
    return {f"{name} {what}": float(share) for what, share in zip(RANGE, found, strict=True)}


def needed(found: Proposal, outcome: Tensor) -> float:
    """By what the bands would have to be multiplied to hold 90 % of the outcomes that converged."""
    assert found.outcome_high is not None
    ratio = ((outcome - found.outputs) / (found.outcome_high - found.outputs)).abs()
    return float(ratio[found.converged].nan_to_num(torch.inf).quantile(0.9, dim=0).mean())


def auroc(score: Tensor, bad: Tensor) -> float:
    """How probable it is that one of the bad has the higher score than one of the others."""
    score = score.nan_to_num(torch.inf)
    pairs = score[bad][:, None] - score[~bad]
    return float(((pairs > 0) + 0.5 * (score[bad][:, None] == score[~bad])).mean())


def averaged(runs: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: sum(run[name] for run in runs) / len(runs) for name in runs[0]}


def tables(found: dict[tuple[str, str], dict[str, float]], outputs: dict[str, int]) -> str:
    """What comes out at what is proposed, and whether it was said."""
    errors, said = [], []
    for (name, where), of in found.items():
        root = outputs[name] ** 0.5

        def both(which: str, of: dict[str, float] = of, root: float = root) -> str:
            middle, high = of[f"{which} 0.5"], of[f"{which} 0.95"]
            return f"{middle / root:.2g} / {high / root:.2g} ({middle:.2g} / {high:.2g})"

        def band(which: str, of: dict[str, float] = of) -> str:
            return " / ".join(f"{100 * of[f'{which} {what}']:.0f}" for what in RANGE)

        title = f"{name}, {where}"
        errors.append(
            [title, f"{100 * of['converged']:.0f}", *map(both, ("error", "least", "own"))]
        )
        said.append([
            title, *map(band, ("measured", "measured, converged", "true", "true, converged")),
            f"{of['scale']:.2f}", f"{of['trust']:.3f}", f"{of['condition']:.2f}",
            f"{100 * of['said']:.0f} / {100 * of['was']:.0f}",
            f"{of['measure']:.1f}", f"{1e3 * of['propose']:.0f}",
        ])  # fmt: skip
    first = markdown(
        ["", "converged, %", "chosen by trust", "by residual", "inverse network"], errors
    )
    second = markdown(
        ["", "measured in band, %", "of those converged", "true in band, %", "of those converged",
         "band times this holds 90 %", "AUROC of trust", "of the condition number", "accurate, %: said / was",
         "s to measure", "ms a target"], said,
    )  # fmt: skip
    return (
        "True errors, median / 95th percentile, per output; in brackets Euclidean:\n\n"
        f"{first}\n\nBands (least / mean / most of the outputs; 90 is meant) and trust:\n\n{second}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--problems", default="sine,robot_arm,ballistics,blast_furnace")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--targets", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--keep", type=Path, help="a folder of trained pairs, which is added to")
    parser.add_argument("--write", type=Path, help="folder for the tables")
    args = parser.parse_args()
    quietly()
    torch.set_num_threads(1)  # small layers: more threads only wait for each other
    head = machine("lightning")
    print(head, flush=True)
    found: dict[tuple[str, str], dict[str, float]] = {}
    notes, outputs = [], {}
    for name in args.problems.split(","):
        runs: dict[str, list[dict[str, float]]] = {"in": [], "out": []}
        for seed in range(args.seeds):
            bench = Bench(name, seed, args.epochs, args.keep)
            for where, stretch in (("in", 1.0), ("out", STRETCH)):
                runs[where].append(bench.judged(args.targets, stretch))
            notes.append(f"{name}: limit {bench.limit():.2g}, terms kept: {bench.terms()}")
            print(notes[-1], flush=True)
            outputs[name] = len(bench.problem.outputs)
        for where, of in runs.items():
            found[name, where] = averaged(of)
            shown = "  ".join(f"{k} {v:.3g}" for k, v in found[name, where].items())
            print(f"  {where}: {shown}", flush=True)
    text = tables(found, outputs)
    print(text)
    if args.write is not None:
        page = args.write / "solve.md"
        if not page.exists():
            page = args.write / "reliability_table.md"
            page.write_text("<!-- reliability -->\n<!-- end of reliability -->\n")
        noted = "\n".join(f"- {note}" for note in notes)
        put(page, "reliability", f"\n{text}\n\n{noted}\n\nSeeds: {args.seeds}. {head}.\n")


if __name__ == "__main__":
    main()
