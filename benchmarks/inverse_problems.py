"""How near to the wanted outcome the true process comes: the field's benchmark of inverse design.

10 000 training points of each known problem; targets are outcomes of fresh points of its prior that
lie in the box, so that each can be reached.
r_T is the mean over the targets of the least re-simulation error among T proposals, in the order in
which a method ranks them: the mean square, over the outputs, of true outcome minus target. Outcomes
are in the problem's own units, the furnace's in standard units. All methods that use a surrogate use
the same. What is NaN (a throw that never lands) counts 100.

The published figures are those of S. Ren, W. Padilla and J. Malof, Benchmarking deep inverse models
over time, and the neural-adjoint method, NeurIPS 2020, read off a figure: good to a fifth.

    python benchmarks/inverse_problems.py [--problems sine,robot_arm] [--seeds 3] [--targets 500]
                                          [--epochs 150] [--adjoint 5] [--write docs]

``--adjoint`` is how many targets the neural adjoint is given, which takes ten seconds each. The limit
is the error of the surrogate at points that it has not seen, squared, which is printed too.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from common import machine, quiet_trainer, quietly
from torch import Tensor

from lightning_invert import ForwardInverseModule, SmoothMLP, Solution, solve
from lightning_invert.datamodules import ProblemDataModule

TRIES = (1, 10, 50)
NOISE = {"blast_furnace": 0.01}
TRAINING, STARTS, LOST = 10_000, 64, 100.0
ADJOINT_STEPS, ADJOINT_STARTS, ADJOINT_RATE = 300, 2048, 0.5

PUBLISHED = {
    "neural adjoint": {
        "ballistics": (5e-3, 8e-5, 5e-6), "sine": (1e-3, 3e-5, 1.8e-6),
        "robot_arm": (2.2e-4, 1e-5, 2.7e-6),
    },
    "cINN": {
        "ballistics": (2.4e-2, 4.3e-4, 2.5e-5), "sine": (0.58, 1e-2, 3.7e-4),
        "robot_arm": (1.5e-3, 1.1e-5, 4.6e-6),
    },
    "tandem": {"ballistics": (8.1e-3,), "sine": (2.4e-2,), "robot_arm": (5.4e-4,)},
}  # fmt: skip


class Bench:
    """A problem with its data, and the pair that is trained on them."""

    def __init__(self, name: str, seed: int, epochs: int, targets: int) -> None:
        torch.manual_seed(seed)
        self.data = ProblemDataModule(
            name, num_points=round(TRAINING / 0.9), val_fraction=0.1, noise=NOISE.get(name, 0.0),
            seed=seed, batch_size=128,
        )  # fmt: skip
        self.problem, self.name = self.data.problem, name
        self.n, self.m = len(self.problem.inputs), len(self.problem.outputs)
        self.pair = self.fitted(ForwardInverseModule(self.net(), self.net(True), alpha=0.1), epochs)
        seen = self.data._splits["train"]
        self.x, self.y = seen.inputs, seen.outputs
        self.statistics = self.data.statistics
        fresh = self.problem.sample(3 * targets, seed=10_000 + seed)
        low, high = self.problem.bounds
        fresh = fresh[((fresh >= low) & (fresh <= high)).all(1)]
        outcomes = self.problem.forward(fresh)
        self.targets = outcomes[outcomes.isfinite().all(1)][:targets]
        unit = self.statistics.output_std if name == "blast_furnace" else torch.ones(self.m)
        self.unit = unit.double()
        with torch.no_grad():
            self.limit = float(self.errors(fresh[:, None], self.pair(fresh)).nanmean())

    def net(self, inverse: bool = False) -> SmoothMLP:
        return SmoothMLP(self.m, self.n) if inverse else SmoothMLP(self.n, self.m)

    def fitted(self, pair: ForwardInverseModule, epochs: int) -> ForwardInverseModule:
        # Validated once, for the rows by which its proposals are judged.
        quiet_trainer(epochs, check_val_every_n_epoch=max(1, epochs)).fit(
            pair, datamodule=self.data
        )
        return pair.eval()

    def errors(self, proposals: Tensor, targets: Tensor) -> Tensor:
        """Re-simulation errors, (N, T), of proposals (N, T, n)."""
        found = self.problem.forward(proposals.flatten(0, 1)).reshape(*proposals.shape[:2], -1)
        missed = ((found - targets[:, None]) / self.unit).square().mean(-1)
        return missed.nan_to_num(LOST).detach()

    def nearest(self, targets: Tensor, count: int) -> Tensor:
        """The training points whose outcomes are nearest, as indices, (N, count)."""
        spread = self.statistics.output_std
        distance = torch.cdist(targets / spread, self.y / spread)
        return distance.topk(count, largest=False).indices


def inverse_network(bench: Bench, targets: Tensor) -> Tensor:
    with torch.no_grad():
        return bench.pair.inverse(targets)[:, None]


def tandem(bench: Bench, epochs: int) -> Callable[[Bench, Tensor], Tensor]:
    pair = ForwardInverseModule(
        bench.pair.forward_net, bench.net(True), alpha=1.0, forward_training={"frozen": True}
    )
    bench.fitted(pair, epochs)

    def propose(bench: Bench, targets: Tensor) -> Tensor:
        with torch.no_grad():
            return pair.inverse(targets)[:, None]

    return propose


def neighbours(bench: Bench, targets: Tensor) -> Tensor:
    return bench.x[bench.nearest(targets, max(TRIES))]


def solved(bench: Bench, targets: Tensor) -> Tensor:
    start = torch.cat(
        [inverse_network(bench, targets), bench.x[bench.nearest(targets, STARTS - 1)]], 1
    )
    return ranked(
        solve(
            bench.pair, targets, bounds=bench.problem.bounds, starts=start, tolerance=1e-6,
            progress=False,
        )
    )  # fmt: skip


def proposed(bench: Bench, targets: Tensor) -> Tensor:
    """Solve from as many starts, and take first what is expected to err least."""
    return ranked(
        bench.pair.propose(
            targets, bounds=bench.problem.bounds, num_starts=STARTS, tolerance=1e-6, progress=False
        )
    )


def ranked(found: Solution) -> Tensor:
    """The best proposals; the very best stands for those that a target has fewer of."""
    kept = [found.inputs, *found.alternatives.inputs.unbind(1)]
    rows = torch.stack(kept[: max(TRIES)], 1)
    return torch.where(rows.isnan().any(-1, keepdim=True), rows[:, :1], rows)


def anchored(bench: Bench, targets: Tensor) -> Tensor:
    """Solve from training points, each for a target that is shifted by the surrogate's error there."""
    count = max(TRIES)
    near = bench.nearest(targets, count).flatten()
    low, high = bench.problem.bounds
    x = bench.x[near].clamp(low, high)
    with torch.no_grad():
        error = bench.pair(bench.x[near]) - bench.y[near]
    wanted = targets.repeat_interleave(count, 0) + error
    found = solve(bench.pair, wanted, bounds=(low, high), starts=x, tolerance=1e-6, progress=False)
    moved = ((found.inputs - x) / bench.statistics.input_std).norm(dim=1)
    order = (moved + 1e3 * found.residual).reshape(-1, count).argsort(1)
    proposals = found.inputs.reshape(-1, count, bench.n)
    return proposals.gather(1, order[..., None].expand_as(proposals))


def adjoint(bench: Bench, targets: Tensor) -> Tensor:
    """The neural adjoint as published: gradient descent on the surrogate's inputs by Adam."""
    scale_x, scale_y, net = bench.pair.scale_x, bench.pair.scale_y, bench.pair.forward_net
    box = [scale_x(end[None]).float() for end in bench.problem.bounds]
    middle, half = (box[0] + box[1]) / 2, (box[1] - box[0]) / 2
    best = []
    for wanted in scale_y(targets).float():
        x = (middle + half * (2 * torch.rand(ADJOINT_STARTS, bench.n) - 1)).requires_grad_()
        optimizer = torch.optim.Adam([x], lr=ADJOINT_RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, ADJOINT_STEPS)
        for _ in range(ADJOINT_STEPS):
            missed = (net(x) - wanted).square().mean(1)
            outside = ((x - middle).abs() - half).relu().mean(1)
            optimizer.zero_grad()
            (missed + outside).sum().backward()
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            missed = (net(x) - wanted).square().mean(1)
            best.append(x[missed.topk(max(TRIES), largest=False).indices].detach())
    return scale_x.inverse(torch.stack(best))


def flow(bench: Bench, epochs: int) -> Callable[[Bench, Tensor], Tensor]:
    import zuko

    model = zuko.flows.NSF(bench.n, bench.m, transforms=4, hidden_features=(128, 128))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    x, y = bench.pair.scale_x(bench.x).float(), bench.pair.scale_y(bench.y).float()
    epochs = max(1, epochs // 3)
    steps = epochs * (len(x) // 256 + 1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(256):
            loss = -model(y[rows]).log_prob(x[rows]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()

    def propose(bench: Bench, targets: Tensor) -> Tensor:
        with torch.no_grad():
            drawn = model(bench.pair.scale_y(targets).float()).sample((max(TRIES),))
        return bench.pair.scale_x.inverse(drawn.transpose(0, 1))

    return propose


def measured(name: str, seed: int, args: argparse.Namespace) -> dict[str, dict[str, object]]:
    bench = Bench(name, seed, args.epochs, args.targets)
    print(
        f"{name}, seed {seed}; limit: surrogate's mean square error {bench.limit:.1e}", flush=True
    )
    methods: dict[str, Callable[[Bench, Tensor], Tensor]] = {
        "pair.propose": proposed,
        "pair + solve": solved,
        "pair + solve, anchored": anchored,
        "inverse network": inverse_network,
        "tandem": tandem(bench, args.epochs // 2),
        "nearest neighbours": neighbours,
        "conditional flow": flow(bench, args.epochs),
        "neural adjoint": adjoint,
    }
    found: dict[str, dict[str, object]] = {}
    for method, propose in methods.items():
        few = args.adjoint if method == "neural adjoint" else len(bench.targets)
        targets = bench.targets[:few]
        if not few:
            continue
        begin = time.perf_counter()
        proposals = propose(bench, targets)
        seconds = (time.perf_counter() - begin) / len(targets)
        errors = bench.errors(proposals, targets)
        tries = [t for t in TRIES if t <= errors.shape[1]]
        r = {t: float(errors[:, :t].amin(1).mean()) for t in tries}
        found[method] = {"r": r, "seconds": seconds, "targets": len(targets)}
        shown = "  ".join(f"r_{t} {value:.1e}" for t, value in r.items())
        print(f"  {method:22} {shown:42} {seconds:.1e} s a target", flush=True)
    found["limit"] = {"r": {1: bench.limit}}
    return found


def gathered(runs: dict[str, list[dict]]) -> dict[str, dict[str, dict[str, object]]]:
    """Means over the seeds, with their standard deviations."""
    table: dict[str, dict[str, dict[str, object]]] = {}
    for name, seeds in runs.items():
        for method in seeds[0]:
            if method == "limit":
                continue
            r = {t: [s[method]["r"][t] for s in seeds] for t in seeds[0][method]["r"]}
            row = table.setdefault(method, {})
            row[name] = {
                "r": {int(t): (float(np.mean(v)), float(np.std(v))) for t, v in r.items()},
                "seconds": float(np.mean([s[method]["seconds"] for s in seeds])),
                "targets": seeds[0][method]["targets"],
            }
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--problems", default="sine,ballistics,robot_arm,blast_furnace")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--targets", type=int, default=500)
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--adjoint", type=int, default=5)
    parser.add_argument("--write", type=Path, help="folder of the documentation")
    parser.add_argument("--keep", type=Path, help="a JSON file of results, which is added to")
    args = parser.parse_args()
    quietly()
    torch.set_num_threads(1)  # small layers: more threads only wait for each other
    head = machine("lightning", "zuko")
    print(head)
    kept = args.keep is not None and args.keep.exists()
    runs: dict[str, list[dict]] = json.loads(args.keep.read_text()) if kept else {}
    for seed in range(args.seeds):
        for name in args.problems.split(","):
            if len(runs.setdefault(name, [])) <= seed:
                runs[name].append(measured(name, seed, args))
                if args.keep is not None:
                    args.keep.write_text(json.dumps(runs))
    if args.write is not None:
        from inverse_problems_page import write_page

        write_page(args.write, gathered(runs), PUBLISHED, runs, head)


if __name__ == "__main__":
    main()
