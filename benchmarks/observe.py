"""What measured outcomes are worth: a furnace whose ore changes, and a surrogate with a local bias.

A pair proposes settings for outcomes of fresh points of the prior, the furnace says what is measured, noise
drawn anew, and `observe` takes it, ten rows at a time. After 40 rows the ore changes. Before and after, 50
further proposals are made: how far is the true furnace from their targets, and how many of the measured
outcomes lie in their bands, all at once? Without `observe`, the same pair goes on as it was.

    python benchmarks/observe.py [--repeats 6] [--runs 200] [--write docs]

``--runs`` are runs of 100 rows without any change: of these, 5 % at most may raise an alarm.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from statistics import median
from typing import NamedTuple
from unittest.mock import patch

import torch
from common import machine, markdown, put, quiet_trainer, quietly
from torch import Tensor

from lightning_invert import ForwardInverseModule, Proposer, SmoothMLP
from lightning_invert.datamodules import ProblemDataModule
from lightning_invert.problems import BlastFurnace, furnace_balance
from lightning_invert.proposals.drift import FALSE_ALARMS

NUM_POINTS, NOISE, BEFORE, BATCH, NEXT = 3000, 0.01, 40, 10, 50
AFTER = (10, 30)
ROWS = 100
CHANGES = {
    "wetter ore (moisture 95 → 110 kg/t)": {"MOISTURE": 110.0},
    "harder ore (direct reduction 33 → 35 %)": {"DIRECT_SHARE": 0.35},
    "both, and more (38 %, 115 kg/t)": {"DIRECT_SHARE": 0.38, "MOISTURE": 115.0},
}
BIAS = "F with a local bias (0.5 deviations of the production)"
FURNACE = BlastFurnace()


class Pair(NamedTuple):
    module: ForwardInverseModule
    unit: Tensor  # (4,), spread of the outcomes


def train(seed: int, epochs: int) -> Pair:
    data = ProblemDataModule(
        "blast_furnace", num_points=NUM_POINTS, noise=NOISE, seed=seed, batch_size=64
    )
    torch.manual_seed(seed)
    module = ForwardInverseModule(SmoothMLP(7, 4, width=64), SmoothMLP(4, 7, width=64), alpha=0.1)
    quiet_trainer(epochs, check_val_every_n_epoch=epochs).fit(module, datamodule=data)
    return Pair(module.eval(), data.statistics.output_std.double())


def ore(change: dict[str, float]) -> AbstractContextManager[object]:
    return patch.multiple(furnace_balance, **change) if change else nullcontext()


def furnace(x: Tensor, change: dict[str, float]) -> Tensor:
    with ore(change), torch.no_grad():
        return FURNACE.forward(x).double()


def fresh(count: int, seed: int, near: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """Outcomes of fresh points of the prior, of the box, and where ``near`` says so."""
    x = FURNACE.sample((4 if near is None else 100) * count, seed=seed)
    low, high = FURNACE.bounds
    x = x[((x >= low) & (x <= high)).all(1)]
    x = x if near is None else x[near(x)]
    y = FURNACE.forward(x)
    return y[y.isfinite().all(1)][:count]


class Trial(NamedTuple):
    """What 50 proposals were worth."""

    error: float  # median over the proposals, root mean square of the outputs
    held: float  # share in the bands


class Plant:
    """A furnace that is run by the proposals of a pair."""

    def __init__(self, proposer: Proposer, unit: Tensor, seed: int) -> None:
        self.proposer, self.unit = proposer, unit
        self.generator = torch.Generator().manual_seed(seed)

    def measure(self, x: Tensor, change: dict[str, float]) -> Tensor:
        noise = torch.randn(len(x), 4, generator=self.generator, dtype=torch.float64)
        return furnace(x, change) + NOISE * self.unit * noise

    def work(self, targets: Tensor, change: dict[str, float]) -> int | None:
        """Try proposals for these targets, and observe; return the alarm."""
        x = self.proposer.propose(targets, progress=False).inputs
        return self.proposer.observe(x, self.measure(x, change)).alarm

    def judge(self, targets: Tensor, change: dict[str, float]) -> Trial:
        proposal = self.proposer.propose(targets, progress=False)
        measured = self.measure(proposal.inputs, change)
        held = (measured >= proposal.outcome_low) & (measured <= proposal.outcome_high)
        missed = (furnace(proposal.inputs, change) - targets) / self.unit
        error = missed.square().mean(1).sqrt().nan_to_num(math.inf)
        return Trial(float(error.median()), float(held.all(1).double().mean()))


class Course(NamedTuple):
    """What happened in one run."""

    without: Trial
    observed: list[Trial]  # after AFTER rows
    delay: int | None


def run(
    pair: Pair,
    proposer: Proposer,
    change: dict[str, float],
    seed: int,
    near: Callable[[Tensor], Tensor] | None = None,
) -> Course:
    """Run the plant: rows without a change (not where F is biased from the start), then with it."""
    before = proposer.evidence.state_dict()
    plant, following = Plant(proposer, pair.unit, seed), fresh(NEXT, 1000 + seed, near)
    without, alarm, count = plant.judge(following, change), None, 0
    if change:
        for batch in range(BEFORE // BATCH):
            plant.work(fresh(BATCH, 2000 + 100 * seed + batch), {})
            count += BATCH
    observed = []
    for batch in range(max(AFTER) // BATCH):
        alarm = plant.work(fresh(BATCH, 3000 + 100 * seed + batch, near), change)
        if BATCH * (batch + 1) in AFTER:
            observed.append(plant.judge(following, change))
    proposer.evidence.load_state_dict(before)
    proposer.reset()
    return Course(without, observed, None if alarm is None else alarm - count + 1)


def biased(pair: Pair, seed: int) -> tuple[Proposer, Callable[[Tensor], Tensor]]:
    """The pair's F with a bump of its production about a point, and what lies near that point."""
    scale = pair.module.scale_x
    points = scale(FURNACE.sample(50, seed=seed))
    where = points[points.norm(dim=1).argmin()]

    def apart(x: Tensor) -> Tensor:
        return (scale(x) - where).norm(dim=1)

    def function(x: Tensor) -> Tensor:
        bump = 0.5 * (-apart(x).square() / 4).exp()[:, None]
        return pair.module(x) + bump * pair.unit * torch.tensor([0.0, 0.0, 1.0, 0.0]).double()

    evidence = pair.module.evidence
    return Proposer(
        function,
        evidence=evidence,
        inputs=FURNACE.inputs,
        outputs=FURNACE.outputs,
        scale=(scale.std.double(), pair.unit),
    ), lambda x: apart(x) < 1.8


def false_alarms(pair: Pair, runs: int) -> int:
    """Observe rows of the same process, drawn anew in each run, at settings that were proposed."""
    module, plant = pair.module, Plant(pair.module.proposer, pair.unit, 0)
    x = module.propose(fresh(1000, 77), progress=False).inputs
    before, alarms = module.evidence.state_dict(), 0
    for _ in range(runs):
        rows = torch.randint(len(x), (ROWS,), generator=plant.generator)
        for part in rows.split(ROWS // 4):
            alarm = module.observe(x[part], plant.measure(x[part], {})).alarm
        alarms += alarm is not None
        module.evidence.load_state_dict(before)
        module.proposer.reset()
    return alarms


def line(name: str, courses: list[Course]) -> list[str]:
    def middle(values: list[float], scale: float = 1.0, digits: int = 3) -> str:
        return f"{scale * median(values):.{digits}f}"

    delays = [course.delay for course in courses if course.delay is not None]
    never = len(courses) - len(delays)
    told = f"{median(delays):.0f} ({max(delays)})" if delays else "–"
    parts = [[c.without for c in courses], *zip(*(c.observed for c in courses), strict=True)]
    return [
        name, told + (f", none in {never} of {len(courses)}" if never else ""),
        *(middle([trial.error for trial in part]) for part in parts),
        *(middle([trial.held for trial in part], 100, 0) for part in parts),
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=6, help="runs of each change")
    parser.add_argument("--runs", type=int, default=200, help="runs without a change")
    parser.add_argument("--seed", type=int, default=300)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--write", type=Path, help="folder of the documentation")
    args = parser.parse_args()
    quietly()
    torch.set_num_threads(1)
    head = f"{machine('lightning')}; the limit is {100 * FALSE_ALARMS:.0f} % of false alarms"
    print(head, flush=True)
    pairs = [train(args.seed + number, args.epochs) for number in range(min(2, args.repeats))]
    rows = []
    for name, change in CHANGES.items():
        courses = [
            run(pair := pairs[k % len(pairs)], pair.module.proposer, change, args.seed + k)
            for k in range(args.repeats)
        ]
        rows.append(line(name, courses))
        print(rows[-1], flush=True)
    courses = []
    for k in range(args.repeats):
        pair = pairs[k % len(pairs)]
        proposer, near = biased(pair, args.seed + k)
        courses.append(run(pair, proposer, {}, args.seed + k, near))
    rows.append(line(BIAS, courses))
    print(rows[-1], flush=True)
    share = args.runs // len(pairs)
    alarms = sum(false_alarms(pair, share) for pair in pairs)
    errors = [f"after {count} rows" for count in AFTER]
    table = markdown(
        ["", "alarm after rows: median (largest)", "error without", *errors,
         "all outcomes in band, %: without", *errors],
        rows,
    )  # fmt: skip
    text = (
        f"{table}\n\nWithout a change, {alarms} of {share * len(pairs)} runs of {ROWS} rows raised an "
        f"alarm; at most {100 * FALSE_ALARMS:.0f} % may, however long they are."
    )
    print(text)
    if args.write is not None:
        put("observe", f"\n{text}\n\nMedians of {args.repeats} runs. {head}.\n", args.write)


if __name__ == "__main__":
    main()
