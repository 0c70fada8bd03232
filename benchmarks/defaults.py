"""How near the defaults for tables come to what they could reach, against the true process.

Each known problem is written as a table with noise on its outcomes, and fitted as
`lightning-invert fit --config tabular` fits it: that config, its module, data module and trainer,
without the watching callback, which changes nothing. After each epoch the *true* error is taken: the
root mean square of F(x) minus the process without noise, at fresh points, in standard units. The
checkpoint that the config keeps is compared with the truly best epoch, and with the truly best of a
sweep over widths, weight decays and numbers of members. Each of the sweep has the same rows, batches
and schedule, and is kept by its own validation; it is F alone, many networks at once.

    python benchmarks/defaults.py [--rows 300] [--noise 0.01,0.2] [--problems sine] [--sweep]
        [--seed 0] [--keep FOLDER] [--write]

All cells with the sweep take some 4 hours of one core. ``--keep`` adds up what several calls find.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars
import torch
from common import machine, markdown, put, quietly
from lightning.pytorch import Callback, Trainer
from torch import Tensor
from torch.nn.functional import silu

from lightning_invert import ForwardInverseModule, InvertibilityCallback
from lightning_invert.cli.fit import InvertCLI
from lightning_invert.pair.learning_rate import one_cycle
from lightning_invert.problems import KNOWN, Problem

ROWS, NOISES, FRESH = (300, 3000, 30_000), (0.01, 0.05, 0.2), 2000
WIDTHS, DECAYS, MEMBERS = (64, 128, 256), (0.0, 0.1, 0.3), (1, 3, 5)
Found = dict[str, Any]


class Fit(InvertCLI):
    """The command up to where the trainer would run."""

    def _run_subcommand(self, subcommand: str) -> None:
        pass


class Truth(Callback):
    """Notes the true error and the loss in validation after each epoch."""

    def __init__(self, problem: Problem, seed: int) -> None:
        self.x = problem.sample(FRESH, 1_000_000 + seed)
        with torch.no_grad():
            self.y = problem.forward(self.x)
        known = self.y.isfinite().all(1)
        self.x, self.y = self.x[known], self.y[known]
        self.errors: list[float] = []

    def error(self, pair: ForwardInverseModule) -> float:
        with torch.no_grad():
            missed = (pair(self.x) - self.y) / pair.scale_y.std
        return missed.square().mean().sqrt().item()

    def on_validation_epoch_end(self, trainer: Trainer, pair: ForwardInverseModule) -> None:
        if not trainer.sanity_checking:
            self.errors.append(self.error(pair))


def table(problem: Problem, rows: int, noise: float, seed: int, file: Path) -> list[str]:
    """Write rows with noise as a table; return the words that name it and its columns."""
    x = problem.sample(rows, seed)
    with torch.no_grad():
        y = problem.forward(x)
    x, y = x[y.isfinite().all(1)], y[y.isfinite().all(1)]
    generator = torch.Generator().manual_seed(500_000 + seed)
    y = y + noise * y.std(0) * torch.randn(y.shape, generator=generator, dtype=y.dtype)
    sides = {"inputs": problem.inputs, "outputs": problem.outputs}
    names = [variable.name for side in sides.values() for variable in side]
    polars.DataFrame(torch.cat([x, y], 1).numpy(), schema=names).write_csv(file)
    words = ["--data.file", str(file)]
    for side, variables in sides.items():
        words += [f"--data.{side}", ",".join(variable.name for variable in variables)]
    return words


def of_defaults(words: list[str], truth: Truth, folder: str) -> tuple[Found, InvertCLI]:
    """Fit as the config does; return true errors: of what is kept, of the best and the last epoch."""
    options = ["--trainer.logger", "false", "--trainer.enable_progress_bar", "false"]
    options += ["--trainer.accelerator", "cpu", "--trainer.default_root_dir", folder]
    command = Fit(["fit", "--config", "tabular", *words, *options])
    trainer, pair = command.trainer, command.model
    trainer.callbacks = [c for c in trainer.callbacks if not isinstance(c, InvertibilityCallback)]
    trainer.callbacks.insert(0, truth)
    began = time.process_time()
    trainer.fit(pair, datamodule=command.datamodule)
    spent = time.process_time() - began
    path = trainer.checkpoint_callback.best_model_path
    kept = truth.error(ForwardInverseModule.load_from_checkpoint(path).eval())
    epoch = int(Path(path).stem.partition("-")[2])
    errors = truth.errors
    found = {
        "kept": kept,
        "epoch": epoch,
        "best": min(errors),
        "best_epoch": errors.index(min(errors)),
        "last": errors[-1],
        "epochs": len(errors),
        "seconds": spent,
    }
    return found, command


class Stack:
    """K networks like ``SmoothMLP``, side by side."""

    def __init__(self, count: int, n: int, m: int, width: int, depth: int = 3) -> None:
        def drawn(fan: int, *shape: int) -> Tensor:
            return ((2 * torch.rand(count, *shape) - 1) / math.sqrt(fan)).requires_grad_()

        sizes = [n, *[width] * depth]
        self.layers = [(drawn(a, a, b), drawn(a, 1, b)) for a, b in pairwise(sizes)]
        self.head, self.skip = (drawn(width, width, m), drawn(width, 1, m)), drawn(n, n, m)
        self.parameters = [w for layer in [*self.layers, self.head] for w in layer] + [self.skip]
        self.count = count

    def __call__(self, x: Tensor) -> Tensor:
        """Map (N, n) to (K, N, m)."""
        x = x.expand(self.count, *x.shape)
        (first, bias), *others = self.layers
        h = silu(torch.baddbmm(bias, x, first))
        for weight, bias in others:
            h = h + silu(torch.baddbmm(bias, h, weight))
        return torch.baddbmm(self.head[1], h, self.head[0]) + torch.bmm(x, self.skip)


def of_sweep(command: InvertCLI, truth: Truth, widths: list[int]) -> Found:
    """Return the true errors of what each setting keeps, by its name."""
    data, total = command.datamodule, int(command.trainer.estimated_stepping_batches)
    of_x, of_y = (data.statistics[:2], data.statistics[2:])

    def standard(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return ((x - of_x[0]) / of_x[1]).float(), ((y - of_y[0]) / of_y[1]).float()

    train, val = (standard(s.inputs, s.outputs) for s in map(data._rows, ("train", "val")))
    fresh, found, batch = standard(truth.x, truth.y), {}, data.train_dataloader().batch_size
    epoch_steps = math.ceil(len(train[0]) / batch)
    decay = torch.tensor(DECAYS).repeat_interleave(max(MEMBERS))[:, None, None]
    for width in widths:
        nets = Stack(len(decay), train[0].shape[1], train[1].shape[1], width)
        optimizer = torch.optim.Adam(nets.parameters, fused=True)
        best = {}
        for step in range(total):
            if step % epoch_steps == 0:
                order = torch.randperm(len(train[0])).split(batch)
            rate = 3e-3 * one_cycle(step / (total - 1))
            optimizer.param_groups[0]["lr"] = rate
            x, y = (part[order[step % epoch_steps]] for part in train)
            optimizer.zero_grad()
            (nets(x) - y).square().mean((1, 2)).sum().backward()
            with torch.no_grad():
                torch._foreach_mul_(nets.parameters, [1 - rate * decay] * len(nets.parameters))
            optimizer.step()
            if (step + 1) % epoch_steps == 0 or step + 1 == total:
                keep_best(best, nets, val, fresh)
        found |= {f"width {width}, {name}": error for name, (_, error) in best.items()}
    return found


@torch.no_grad()
def keep_best(best: dict[str, tuple[float, float]], nets: Stack, val: Any, fresh: Any) -> None:
    """Replace the loss in validation and the true error of each setting that has improved."""
    shape = (len(DECAYS), max(MEMBERS))
    answers = [nets(x).unflatten(0, shape) for x in (val[0], fresh[0])]
    for members in MEMBERS:
        losses, errors = (
            (a[:, :members].mean(1) - y).square().mean((1, 2)).tolist()
            for a, y in zip(answers, (val[1], fresh[1]), strict=True)
        )
        for decay, loss, error in zip(DECAYS, losses, errors, strict=True):
            name = f"decay {decay:g}, members {members}"
            if name not in best or loss < best[name][0]:
                best[name] = (loss, math.sqrt(error))


def cell(name: str, rows: int, noise: float, options: argparse.Namespace) -> Found:
    """Fit a table by the defaults, and by the sweep if it is asked for."""
    problem = KNOWN[name]()
    torch.manual_seed(options.seed)
    truth = Truth(problem, options.seed)
    with tempfile.TemporaryDirectory() as folder:
        words = table(problem, rows, noise, options.seed, Path(folder) / "table.csv")
        if options.epochs:
            words += ["--trainer.max_epochs", str(options.epochs)]
        found, command = of_defaults(words, truth, folder)
    found |= {"problem": name, "rows": rows, "noise": noise, "seed": options.seed}
    if options.sweep:
        widths = [int(width) for width in options.widths.split(",")]
        found["sweep"] = of_sweep(command, truth, widths)
    return found


def report(cells: list[Found]) -> str:
    """Return a row a problem and number of rows: error, ratio to best epoch, ratio to the sweep."""
    lines = []
    for name, rows in sorted(
        {(c["problem"], c["rows"]) for c in cells}, key=lambda k: (k[1], k[0])
    ):
        line = [f"{rows:,}".replace(",", " "), name.replace("_", " ")]
        for noise in NOISES:
            runs = [
                c for c in cells if (c["problem"], c["rows"], c["noise"]) == (name, rows, noise)
            ]
            line.append("; ".join(map(described, runs)))
        lines.append(line)
    return markdown(["rows", "problem", *(f"noise {100 * n:g} %" for n in NOISES)], lines)


def described(c: Found) -> str:
    text = f"{c['kept']:.3g} ({c['kept'] / c['best']:.2f}"
    return text + (f", {c['kept'] / min(c['sweep'].values()):.2f})" if "sweep" in c else ")")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", default=",".join(KNOWN))
    parser.add_argument("--rows", default=",".join(map(str, ROWS)))
    parser.add_argument("--noise", default=",".join(map(str, NOISES)))
    parser.add_argument("--seed", type=int, default=0, help="of points, noise, split and weights")
    parser.add_argument("--sweep", action="store_true", help="also train what is compared with")
    parser.add_argument("--widths", default=",".join(map(str, WIDTHS)), help="of the sweep")
    parser.add_argument("--epochs", type=int, help="at most, instead of the config's")
    parser.add_argument("--keep", type=Path, help="folder of what was found, a file a cell")
    parser.add_argument("--write", action="store_true", help="into docs/evidence/benchmarks.md")
    options = parser.parse_args()
    quietly()
    torch.set_num_threads(1)
    print(machine("lightning"))
    print(
        "true error of F (ratio to the truly best epoch, and to the truly best of the sweep: limit 1)"
    )
    cells = []
    for name in options.problems.split(","):
        for rows in map(int, options.rows.split(",")):
            for noise in map(float, options.noise.split(",")):
                file = options.keep and options.keep / f"{name}_{rows}_{noise}_{options.seed}.json"
                if file and file.exists():
                    cells.append(json.loads(file.read_text()))
                    continue
                cells.append(cell(name, rows, noise, options))
                if file:
                    options.keep.mkdir(parents=True, exist_ok=True)
                    file.write_text(json.dumps(cells[-1]))
                c = cells[-1]
                print(
                    f"{name}, {rows} rows, noise {noise:g}: {described(c)}; epoch {c['epoch']} kept, "
                    f"{c['best_epoch']} best, of {c['epochs']}; {c['seconds']:.0f} s",
                    file=sys.stderr,
                )
    print(report(cells))
    if options.write:
        put("defaults", report(cells))


if __name__ == "__main__":
    main()
