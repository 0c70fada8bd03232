"""Does choosing a checkpoint by conditioning give better proposals than choosing it by the loss?

A pair of SmoothMLP learns the furnace from few noisy points at a constant learning rate, so that it
overfits. Every few epochs all scalars are kept that a project without a truth can monitor, and
beside them what is truly the case at fresh points: how far the process is from the target at I(y),
and at what `solve` finds through F from there; how wrong F's Jacobian is; how many of the truly
fragile points (kappa > 100) it knows. Then each rule picks one epoch of each run, and is compared
with the lowest `val/forward` run by run: the geometric mean of the ratios, with the 95 % interval of
Student's t over the runs. The limit is the epoch that is truly best, which no rule can know.

    python benchmarks/stopping.py [--runs 8] [--epochs 201] [--write]
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable

import torch
from common import machine, markdown, put, quiet_trainer, quietly, resimulation_error
from lightning.pytorch import Callback, seed_everything
from scipy.stats import spearmanr, t as student
from torch import Tensor

from lightning_invert import (
    ForwardInverseModule,
    SmoothMLP,
    Thresholds,
    batched_jacobian,
    singular_values,
    solve,
)
from lightning_invert.callbacks import InvertibilityCallback
from lightning_invert.datamodules import ProblemDataModule
from lightning_invert.problems import BlastFurnace

REGIMES = {
    "small": {"num_points": 300, "noise": 0.1},
    "cleaner": {"num_points": 500, "noise": 0.02},
}
BASE = "lowest val/forward"
Looks = list[dict[str, float]]


class Judge:
    """What is true of a pair, at points that it has not seen."""

    def __init__(self, num_targets: int, num_points: int):
        self.problem = BlastFurnace()
        self.x = self.problem.sample(num_points, seed=1234)
        with torch.no_grad():
            self.y = self.problem.forward(self.x)
        self.stds = self.x.std(0), self.y.std(0)
        self.targets = self.y[:num_targets]
        self.jacobian = self.standardised(self.problem.jacobian(self.x))
        self.fragile = self.is_fragile(self.jacobian)
        self.box = self.problem.bounds

    def standardised(self, jacobian: Tensor) -> Tensor:
        return jacobian.double() * self.stds[0] / self.stds[1][:, None]

    @staticmethod
    def is_fragile(jacobian: Tensor) -> Tensor:
        return Thresholds().condition(singular_values(jacobian)) >= 100.0

    def __call__(self, pair: ForwardInverseModule) -> dict[str, float]:
        jacobian = self.standardised(batched_jacobian(pair.forward, self.x, check=False))
        off = (jacobian - self.jacobian).flatten(1).norm(dim=1)
        fragile = self.is_fragile(jacobian)
        with torch.no_grad():
            proposed = pair.inverse(self.targets)
            outcome = (pair(self.x) - self.y) / self.stds[1]
        found = solve(
            pair.forward,
            self.targets,
            bounds=self.box,
            starts=proposed,
            scale=(self.box[1] - self.box[0], self.stds[1]),
        )
        proposal, solved = (
            resimulation_error(self.problem, x.double(), self.targets, self.stds[1])
            for x in (proposed, found.inputs)
        )
        both = (fragile & self.fragile).sum()
        return {
            "rmse": outcome.square().mean().sqrt().item(),
            "proposal": proposal.median().item(),
            "solved": solved.median().item(),
            "solved_p95": solved.quantile(0.95).item(),
            "jacobian": (off / self.jacobian.flatten(1).norm(dim=1)).median().item(),
            "f1": (2 * both / (fragile.sum() + self.fragile.sum())).item(),
        }


class Record(Callback):
    """Keeps the monitored scalars and the truth every few epochs; after the watching callback."""

    def __init__(self, judge: Judge, every: int):
        self.judge, self.every, self.looks = judge, every, []

    def on_validation_end(self, trainer, pair):
        if trainer.current_epoch % self.every:  # when the callback looks
            return
        seen = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.looks.append({**seen, "epoch": trainer.current_epoch + 1, **self.judge(pair)})


def run(regime: dict[str, float], seed: int, judge: Judge, options: argparse.Namespace) -> Looks:
    seed_everything(seed, verbose=False)
    data = ProblemDataModule("blast_furnace", **regime, seed=seed, batch_size=32)
    pair = ForwardInverseModule(
        SmoothMLP(7, 4, width=128),
        SmoothMLP(4, 7, width=128),
        alpha=0.1,
        learning_rate=2e-3,
        adam={"schedule": "constant", "weight_decay": 0.0},
    )
    record = Record(judge, options.every)
    watch = InvertibilityCallback(every_n_validations=options.every, figures=False)
    trainer = quiet_trainer(options.epochs, callbacks=[watch, record], num_sanity_val_steps=0)
    trainer.fit(pair, datamodule=data)
    return record.looks


def lowest(scalar: str) -> Callable[[Looks], dict[str, float]]:
    return lambda looks: min(looks, key=lambda look: look[scalar])


def near_best(loss: str, share: float, scalar: str) -> Callable[[Looks], dict[str, float]]:
    """Of the epochs whose loss is within a share of the best, take that with the lowest scalar."""

    def pick(looks: Looks) -> dict[str, float]:
        limit = (1 + share) * min(look[loss] for look in looks)
        return lowest(scalar)([look for look in looks if look[loss] <= limit])

    return pick


F_COND, I_COND, ROUND_COND = (
    f"invertibility/{name}/log10_cond_p95" for name in ("forward", "inverse", "round_trip")
)
SLOPE = "invertibility/round_trip/jacobian_consistency_error"
RULES = {
    BASE: lowest("val/forward"),
    "lowest val/loss": lowest("val/loss"),
    "lowest consistency_error": lowest("invertibility/round_trip/consistency_error"),
    "lowest forward/log10_cond_p95": lowest(F_COND),
    "lowest round_trip/log10_cond_p95": lowest(ROUND_COND),
    "lowest jacobian_consistency_error": lowest(SLOPE),
    "val/forward within 2 %, then forward/log10_cond_p95": near_best("val/forward", 0.02, F_COND),
    "val/forward within 10 %, then forward/log10_cond_p95": near_best("val/forward", 0.1, F_COND),
    "val/forward within 10 %, then round_trip/log10_cond_p95": near_best(
        "val/forward", 0.1, ROUND_COND
    ),
    "val/forward within 10 %, then jacobian_consistency_error": near_best(
        "val/forward", 0.1, SLOPE
    ),
    "val/forward within 10 %, then val/consistency": near_best(
        "val/forward", 0.1, "val/consistency"
    ),
    "last epoch": lambda looks: looks[-1],
    "limit: truly best I(y)": lowest("proposal"),
    "limit: truly best after solve": lowest("solved"),
}
OUTCOMES = {"proposal": "I(y)", "solved": "after `solve`", "jacobian": "Jacobian of F"}
MONITORED = (
    "val/forward",
    "val/loss",
    "val/consistency",
    F_COND,
    I_COND,
    ROUND_COND,
    SLOPE,
)


def ratio(logarithms: list[float]) -> str:
    """Return the geometric mean with its 95 % interval over the runs."""
    mean = statistics.mean(logarithms)
    if len(logarithms) < 2:
        return f"{math.exp(mean):.2f}"
    half = student.ppf(0.975, len(logarithms) - 1) * statistics.stdev(logarithms)
    half /= math.sqrt(len(logarithms))
    low, high = math.exp(mean - half), math.exp(mean + half)
    return f"{math.exp(mean):.2f} [{low:.2f}, {high:.2f}]"


def comparison(runs: list[Looks]) -> str:
    """Return each rule's true errors as ratios to those of the lowest val/forward."""
    rows = []
    for name, rule in RULES.items():
        pairs = [(rule(looks), RULES[BASE](looks)) for looks in runs]
        epoch = statistics.median(picked["epoch"] for picked, _ in pairs)
        row = [name, f"{epoch:g}"]
        for outcome in OUTCOMES:
            if name == BASE:
                size = statistics.geometric_mean(base[outcome] for _, base in pairs)
                row.append(f"1 (= {size:.3g})")
            else:
                row.append(ratio([math.log(a[outcome] / b[outcome]) for a, b in pairs]))
        rows.append(row)
    return markdown(["checkpoint", "epoch", *OUTCOMES.values()], rows)


def tracking(runs: list[Looks]) -> str:
    """Return how a scalar goes with the truth over a run's epochs: Spearman's rho, mean of runs."""
    rows = []
    for scalar in MONITORED:
        row = [f"`{scalar}`"]
        for outcome in OUTCOMES:
            found = [
                float(
                    spearmanr([look[scalar] for look in looks], [look[outcome] for look in looks])[
                        0
                    ]
                )
                for looks in runs
            ]
            row.append(f"{statistics.mean(found):+.2f}")
        rows.append(row)
    return markdown(["scalar", *OUTCOMES.values()], rows)


def settled(looks: Looks, epochs: int) -> Looks:
    """Leave the first tenth out, where the loss still falls fast and everything goes with it."""
    return [look for look in looks if look["epoch"] > epochs / 10]


def report(name: str, runs: list[Looks], options: argparse.Namespace) -> None:
    rules = comparison(runs)
    scalars = tracking([settled(looks, options.epochs) for looks in runs])
    print(f"\n{name}: {REGIMES[name]}, {len(runs)} runs\n{rules}\n\n{scalars}", flush=True)
    if options.write:
        put(f"{name}, rules", rules)
        put(f"{name}, scalars", scalars)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=201)
    parser.add_argument("--every", type=int, default=5, help="epochs between looks")
    parser.add_argument("--targets", type=int, default=200)
    parser.add_argument("--points", type=int, default=2000, help="where the Jacobian is judged")
    parser.add_argument("--write", action="store_true", help="into docs/explanations/stopping.md")
    options = parser.parse_args()
    quietly()
    print(machine("lightning"))
    judge = Judge(options.targets, options.points)
    for name, regime in REGIMES.items():
        begin = time.process_time()
        runs = [run(regime, seed, judge, options) for seed in range(options.runs)]
        report(name, runs, options)
        print(f"{time.process_time() - begin:.0f} s of CPU time")


if __name__ == "__main__":
    main()
