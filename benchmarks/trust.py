"""Whether what a pair says of its proposals holds: bands, certification and trust, by the process itself.

Pairs of many sizes, good and poor, are trained on known processes and asked for outcomes of fresh points
of the process's prior inside its box: as they are ("plain"), at the least cost for random prices of both
signs ("least cost"), and stretched about the mean of the data by 1.6 ("stretched"). The process says what
is measured at what is proposed, noise drawn anew. A band holds if *all* outcomes lie inside.

Beside it: split conformal prediction with the joint score max_j |e_j| / std(e_j), one width for all
points, which is what libraries offer. And the same band as known from fewer validation rows.

    python benchmarks/trust.py [--problems sine,robot_arm] [--pairs 11] [--targets 300] [--seed 100]
                               [--keep FOLDER] [--write docs]

``--keep`` is a folder for what was found of each pair: pairs that are there are taken, not trained. The
limit is 90 %: a band that holds more is too wide.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from common import machine, markdown, put, quiet_trainer, quietly
from torch import Tensor, nn

from lightning_invert import Ensemble, ForwardInverseModule, Proposer, ResidualMLP, SmoothMLP
from lightning_invert.datamodules import ProblemDataModule
from lightning_invert.proposals.evidence import Evidence

NOISE = {"blast_furnace": 0.01}
STRETCH, NUM_PRICES = 1.6, 8
FEWER_ROWS = (30, 60, 100, 200)
KINDS = ("plain", "least cost", "stretched")
GOALS = {"plain": (0.87, 1.0), "least cost": (0.87, 0.9), "stretched": (0.80, 0.9)}


class Size(NamedTuple):
    points: int
    width: int
    epochs: int
    kind: str = "one network"


SMALL, MIDDLE, LARGE = Size(1500, 64, 40), Size(3000, 128, 30), Size(8000, 256, 20)
SIZES = (
    *(SMALL, MIDDLE, LARGE) * 3,
    Size(3000, 64, 30, "ensemble of three"), Size(4000, 64, 30, "rectifiers"),
)  # fmt: skip


def network(size: Size, n: int, m: int) -> nn.Module:
    if size.kind == "rectifiers":
        return ResidualMLP(n, m, width=size.width)
    net = SmoothMLP(n, m, width=size.width)
    return Ensemble(net, members=3) if size.kind == "ensemble of three" else net


def judge(name: str, size: Size, seed: int, count: int) -> dict[str, dict[str, float]]:
    """Train a pair, and return what was found of each kind of proposals."""
    noise = NOISE.get(name, 0.0)
    data = ProblemDataModule(name, num_points=size.points, noise=noise, seed=seed, batch_size=64)
    problem = data.problem
    n, m = len(problem.inputs), len(problem.outputs)
    torch.manual_seed(seed)
    pair = ForwardInverseModule(network(size, n, m), SmoothMLP(m, n, width=64), alpha=0.1)
    quiet_trainer(size.epochs, check_val_every_n_epoch=size.epochs).fit(pair, datamodule=data)
    pair.eval()
    unit, mean = data.statistics.output_std.double(), data.statistics.output_mean.double()
    reliability = pair.reliability
    assert reliability is not None
    conformal = unit * split_conformal(pair, unit)
    fewer = {rows: with_fewer_rows(pair, rows) for rows in FEWER_ROWS}
    generator = torch.Generator().manual_seed(seed)

    def fresh(count: int, seed: int) -> Tensor:
        x = problem.sample(4 * count, seed=seed)
        low, high = problem.bounds
        y = problem.forward(x[((x >= low) & (x <= high)).all(1)])
        return y[y.isfinite().all(1)][:count]

    def ask(targets: Tensor, cost: Tensor | None = None) -> dict[str, Tensor]:
        proposal = pair.propose(targets, cost=cost, progress=False)
        with torch.no_grad():
            true = problem.forward(proposal.inputs).double()
        drawn = torch.randn(true.shape, generator=generator, dtype=torch.float64)
        measured = true + noise * unit * drawn
        assert proposal.outcome_high is not None
        assert proposal.certified is not None
        assert proposal.trust is not None
        half = proposal.outcome_high - proposal.outputs
        missed = (measured - proposal.outputs).abs().nan_to_num(torch.inf)
        by_rows = {}
        for rows, proposer in fewer.items():
            with proposer.surrogate.evaluating():
                _, reach, beyond = proposer.knowledge.expect(proposal.inputs)
            by_rows[f"held, {rows} rows"] = (missed <= unit * reach).all(1)
            by_rows[f"alike, {rows} rows"] = (beyond <= 0).all(1)
        near = ((measured - targets) / unit).norm(dim=1) <= reliability.accuracy.norm()
        return {
            "converged": proposal.converged,
            "held": (missed <= half).all(1),
            "each": (missed <= half).double().mean(1),
            "conformal": (missed <= conformal).all(1),
            "width": (half / conformal).log().mean(1).exp(),
            "certified": proposal.certified,
            "trust": proposal.trust,
            "near": near,
            **by_rows,
            "error": ((true - targets) / unit).norm(dim=1).nan_to_num(torch.inf),
        }

    targets = fresh(count, 10_000 + seed)
    prices = [
        torch.randn(n, generator=generator, dtype=torch.float64) / data.statistics.input_std
        for _ in range(NUM_PRICES)
    ]
    each = max(1, count // NUM_PRICES)
    answers = {
        "plain": [ask(targets)],
        "least cost": [ask(fresh(each, 20_000 + seed + k), p) for k, p in enumerate(prices)],
        "stretched": [ask(mean + STRETCH * (targets - mean))],
    }
    return {kind: summary(parts) for kind, parts in answers.items()}


def with_fewer_rows(pair: ForwardInverseModule, count: int) -> Proposer:
    """Return what proposes by the same training rows and fewer validation rows."""
    train, val = (pair.evidence.rows(split) for split in ("train", "val"))
    assert train is not None
    assert val is not None
    evidence = Evidence.of(train=train, val=(val[0][:count], val[1][:count]))
    return Proposer(pair, evidence=evidence, members=pair.proposer.surrogate.members)


def split_conformal(pair: ForwardInverseModule, unit: Tensor) -> Tensor:
    """Half the width of the joint band of split conformal prediction, in standard units, (m,)."""
    rows = pair.evidence.rows("val")
    assert rows is not None
    with torch.no_grad():
        errors = (pair(rows[0].float()).double() - rows[1]) / unit
    spread = errors.square().mean(0).sqrt()
    scores = (errors.abs() / spread).amax(1)
    rank = min(math.ceil((len(scores) + 1) * 0.9), len(scores))
    return spread * scores.kthvalue(rank).values


def summary(parts: Sequence[dict[str, Tensor]]) -> dict[str, float]:
    """Shares among the proposals that reach their targets; those of all where it says so."""
    found = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    rows = found["converged"]

    def share(name: str, rows: Tensor = rows) -> float:
        return float(found[name][rows].double().mean())

    bad = found["error"][rows] >= found["error"][rows].quantile(0.9)
    by_price = [float(p["held"][p["converged"]].double().mean()) for p in parts]
    return {
        "converged": float(rows.double().mean()),
        **{name: share(name) for name in ("held", "each", "conformal", "trust", "near")},
        "certified, held": share("held", found["certified"]),
        **{f"held, {n} rows": share(f"held, {n} rows") for n in FEWER_ROWS},
        **{
            f"certified, held, {n} rows": share(f"held, {n} rows", rows & found[f"alike, {n} rows"])
            for n in FEWER_ROWS
        },
        "certified": float(found["certified"].double().mean()),
        "width": float(found["width"][rows].median()),
        "auroc": auroc(-found["trust"][rows], bad),
        "prices below 80 %": sum(share < 0.8 for share in by_price) / len(by_price),
    }


def auroc(score: Tensor, bad: Tensor) -> float:
    """Return how probable it is that one of the bad has the higher score than one of the others."""
    pairs = score[bad][:, None] - score[~bad]
    return float(((pairs > 0) + 0.5 * (pairs == 0)).double().mean())


Found = dict[str, list[dict[str, dict[str, float]]]]  # problem -> pairs -> kind -> name -> number


def tables(found: Found) -> str:
    every = [pair for pairs in found.values() for pair in pairs]
    rows, marks = [], []
    for kind in KINDS:
        for name, pairs in (*found.items(), ("all", every)):
            numbers = {key: [p[kind][key] for p in pairs] for key in pairs[0][kind]}

            def mean(key: str, numbers: dict[str, list[float]] = numbers) -> float:
                values = [value for value in numbers[key] if not math.isnan(value)]
                return sum(values) / max(1, len(values))

            rows.append([
                f"{kind}, {name}",
                f"{100 * mean('held'):.0f} ({100 * min(numbers['held']):.0f})",
                f"{100 * mean('conformal'):.0f} ({100 * min(numbers['conformal']):.0f})",
                f"{100 * mean('each'):.0f}", f"{mean('width'):.1f}",
                f"{100 * mean('converged'):.0f} / {100 * mean('certified'):.0f}",
                f"{100 * mean('certified, held'):.0f}",
                f"{mean('auroc'):.2f}", f"{100 * mean('trust'):.0f} / {100 * mean('near'):.0f}",
            ])  # fmt: skip
        least, share = GOALS[kind]
        kept = sum(p[kind]["held"] >= least for p in every) / len(every)
        marks.append(
            f"- {kind}: in {100 * kept:.0f} % of the pairs the band held for at least "
            f"{100 * least:.0f} % of the proposals (goal: {100 * share:.0f} % of the pairs)"
        )
    prices = sum(p["least cost"]["prices below 80 %"] for p in every) / len(every)
    marks.append(
        f"- least cost: for {100 * prices:.0f} % of the single sets of prices the band held for "
        "less than 80 % of the proposals"
    )
    head = [
        "", "held (worst)", "conformal (worst)", "each", "width", "reached / certified",
        "of these held", "AUROC", "trust / true",
    ]  # fmt: skip
    return "\n".join((markdown(head, rows), "", *marks, "", by_rows(every)))


def by_rows(every: list[dict[str, dict[str, float]]]) -> str:
    """Tell how often bands hold that are known from fewer validation rows."""
    rows = []
    for count in FEWER_ROWS:
        cells = [str(count)]
        for kind in KINDS:
            least, _ = GOALS[kind]
            for name in (f"held, {count} rows", f"certified, held, {count} rows"):
                shares = [p[kind][name] for p in every if not math.isnan(p[kind][name])]
                met = sum(share >= least for share in shares) / len(shares)
                cells.append(f"{100 * sum(shares) / len(shares):.0f} ({100 * met:.0f})")
        rows.append(cells)
    heads = [f"{kind}{of}" for kind in KINDS for of in (", all", ", certified")]
    return markdown(["validation rows", *heads], rows)


def draw(found: Found, file: Path) -> None:
    """Draw a dot for each pair: how often all outcomes lie in the band."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(KINDS), figsize=(9, 3.4), sharey=True, layout="constrained")
    for axis, kind in zip(axes, KINDS, strict=True):
        for place, pairs in enumerate(found.values()):
            for key, shift, colour in (("conformal", -0.15, "#999999"), ("held", 0.15, "#0072B2")):
                shares = [100 * pair[kind][key] for pair in pairs]
                label = {"conformal": "split conformal", "held": "this band"}[key]
                axis.plot(
                    [place + shift] * len(shares), shares, "o", color=colour, alpha=0.6, label=label
                )
        axis.axhline(90, color="black", linewidth=0.8)
        axis.set_title(kind)
        names = [name.replace("_", "\n") for name in found]
        axis.set_xticks(range(len(names)), names, fontsize=8)
        axis.set_ylim(0, 102)
    axes[0].set_ylabel("all outcomes inside, %")
    handles, labels = axes[0].get_legend_handles_labels()
    axes[0].legend(handles[:2], labels[:2], loc="lower left", fontsize=8)
    figure.savefig(file, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--problems", default="sine,robot_arm,ballistics,blast_furnace")
    parser.add_argument("--pairs", type=int, default=len(SIZES), help="pairs of each problem")
    parser.add_argument("--targets", type=int, default=300)
    parser.add_argument("--seed", type=int, default=100)
    parser.add_argument("--epochs", type=int, help="for all pairs; by default by their size")
    parser.add_argument("--keep", type=Path, help="a folder for what was found, which is added to")
    parser.add_argument("--write", type=Path, help="folder for the tables and the figure")
    args = parser.parse_args()
    quietly()
    torch.set_num_threads(1)  # small layers: more threads only wait for each other
    head = f"{machine('lightning')}; the limit is 90 %"
    print(head, flush=True)
    found: Found = {name: [] for name in args.problems.split(",")}
    for number, size in enumerate(SIZES[: args.pairs]):
        size = size._replace(epochs=args.epochs or size.epochs)
        for name, pairs in found.items():
            seed = args.seed + number
            file = None if args.keep is None else args.keep / f"{name}_{seed}_{size.points}.pt"
            if file is not None and file.exists():
                pairs.append(torch.load(file))
                continue
            pairs.append(judge(name, size, seed, args.targets))
            if file is not None:
                file.parent.mkdir(parents=True, exist_ok=True)
                torch.save(pairs[-1], file)
            shares = "  ".join(
                f"{k} {v['held']:.2f} x{v['width']:.1f}" for k, v in pairs[-1].items()
            )
            print(f"{name}, {size.points} points, {size.kind}: {shares}", flush=True)
    text = tables(found)
    print(text)
    if args.write is not None:
        images = args.write / "images"
        images.mkdir(exist_ok=True)
        draw(found, images / "bands.png")
        put("reliability", f"\n{text}\n\n{head}.\n", args.write)


if __name__ == "__main__":
    main()
