"""What the weight of the consistency term does to an inverse network, against the true process.

The furnace's pair learns with alpha constant, falling linearly to 0 at half of the epochs, and as a
tandem (F trained before and frozen, alpha = 1), and with a consistency term that trains F, too. Then
I is asked for the outcomes of points that it has not seen: how far the *process* is from them at
I(y), how far F says it is (both: norm over the outcomes, in standard units), how many proposals leave
the box, and the condition numbers of the three maps at those points. The limit is what `solve` finds
from I(y) through the same F, inside the box. A sine, 2 -> 1, whose fibres are far from convex, shows
what an average over the fibre costs.

    python benchmarks/alpha.py [--seeds 2] [--epochs 60] [--few] [--write]
"""

from __future__ import annotations

import argparse
import copy
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import DOCS, machine, markdown, put, quiet_trainer, quietly, resimulation_error
from lightning.pytorch import seed_everything
from torch import Tensor

from lightning_invert import (
    ForwardInverseModule,
    LinearDecayAlpha,
    SmoothMLP,
    batched_jacobian,
    condition_number,
    singular_values,
    solve,
)
from lightning_invert.datamodules import ProblemDataModule

ALPHAS = (0.0, 0.1, 0.3, 0.5, 0.8, 0.95, 1.0)
WAYS = {
    "constant": ALPHAS,
    "decaying": (0.1, 0.3, 0.5, 0.8, 1.0),
    "trains F, too": (0.1, 0.5, 1.0),
    "tandem": (1.0,),
}
MAPS = ("forward", "inverse", "round_trip")
Found = dict[str, float]


def trained(
    data: ProblemDataModule, way: str, alpha: float, frozen: Any, seed: int, epochs: int
) -> ForwardInverseModule:
    seed_everything(seed, verbose=False)
    n, m = len(data.inputs), len(data.outputs)
    pair = ForwardInverseModule(
        SmoothMLP(n, m, width=128) if way != "tandem" else copy.deepcopy(frozen),
        SmoothMLP(m, n, width=128),
        alpha=LinearDecayAlpha(alpha, max(1, epochs // 2)) if way == "decaying" else alpha,
        forward_training={
            "learns_consistency": way == "trains F, too",
            "frozen": way == "tandem",
        },
        adam={"weight_decay": 0.0},
    )
    quiet_trainer(epochs, limit_val_batches=0).fit(pair, datamodule=data)
    return pair.eval()


def judged(pair: ForwardInverseModule, data: ProblemDataModule, x: Tensor, y: Tensor) -> Found:
    """Hold a pair against the process at points x with their true outcomes y."""
    low, high = data.problem.bounds
    spread = pair.scale_y.std
    with torch.no_grad():
        proposed = pair.inverse(y)
        consistency = ((pair(proposed) - y) / spread).norm(dim=1)
        rmse = ((pair(x) - y) / spread).square().mean().sqrt()
    true = resimulation_error(data.problem, proposed, y, spread)
    solved = solve(pair.forward, y, bounds=(low, high), starts=proposed, scale=(high - low, spread))
    limit = resimulation_error(data.problem, solved.inputs.double(), y, spread)
    found = {
        "true": true.median().item(),
        "true_p95": true.quantile(0.95).item(),
        "consistency": consistency.median().item(),
        "outside": ((proposed < low) | (proposed > high)).any(1).double().mean().item(),
        "solved": limit.median().item(),
        "solved_p95": limit.quantile(0.95).item(),
        "rmse": rmse.item(),
    }
    stds = {"forward": (pair.scale_x.std, spread), "inverse": (spread, pair.scale_x.std)}
    for name in MAPS:
        of_x, of_y = stds.get(name, (spread, spread))
        function = pair.forward if name == "forward" else getattr(pair, name)
        jacobian = batched_jacobian(function, x if name == "forward" else y, check=False)
        kappa = condition_number(singular_values(jacobian * of_x / of_y[:, None]))
        found[name] = kappa.median().item()
        found[f"{name}_p95"] = kappa.quantile(0.95).item()
    return found


def compared(problem: str, ways: dict[str, tuple[float, ...]], options: argparse.Namespace):
    """Return, for each way and alpha, the mean over the seeds of the logarithms, as numbers again."""
    found: dict[tuple[str, float], Found] = {}
    runs: dict[tuple[str, float], list[Found]] = {}
    for seed in range(options.seeds):
        data = ProblemDataModule(
            problem,
            num_points=options.points,
            noise=0.01,
            seed=seed,
            batch_size=128,
        )
        data.setup()
        x = data.problem.sample(options.targets, seed=1000 + seed)
        with torch.no_grad():
            y = data.problem.forward(x)
        frozen = None
        for way, alphas in ways.items():
            for alpha in alphas:
                pair = trained(data, way, alpha, frozen, seed, options.epochs)
                frozen = frozen or pair.forward_net  # that of alpha = 0, as of any constant one
                runs.setdefault((way, alpha), []).append(judged(pair, data, x, y))
    for key, several in runs.items():
        found[key] = {
            name: float(np.mean([run[name] for run in several]))
            if name == "outside"
            else float(np.exp(np.mean([np.log(run[name]) for run in several])))
            for name in several[0]
        }
    return found


def table(found: dict[tuple[str, float], Found], kappa: bool = True) -> str:
    head = ["", "α", "true, median", "95 %", "by F, median", "outside", "solved, median", "95 %"]
    if kappa:
        head += ["κ of F", "κ of I", "κ of F∘I"]
    rows = []
    for (way, alpha), means in found.items():
        row = [way, f"{alpha:g}", f"{means['true']:.2g}", f"{means['true_p95']:.2g}"]
        row += [f"{means['consistency']:.2g}", f"{means['outside']:.0%}".replace("%", " %")]
        row += [f"{means['solved']:.2g}", f"{means['solved_p95']:.2g}"]
        if kappa:
            row += [f"{means[name]:.3g}, {means[name + '_p95']:.3g}" for name in MAPS]
        rows.append(row)
    return markdown(head, rows)


def picture(found: dict[tuple[str, float], Found], path: Path) -> None:
    """Draw error, share outside and condition numbers over alpha."""
    from lightning_invert.report.figures.style import BLUE, GREEN, ORANGE, RED, sheet, styled

    with styled():
        facts = [
            "solid: α constant",
            "dashed: falling to 0 at half of the epochs",
            "cross: tandem, a little to the right",
        ]
        page = sheet(9.6, 3.0, "What α does to the proposals I(y) for a furnace", facts)
        panels = (
            ("distance from the target [standard units]",
             (("true_p95", RED, "true, 95 %"), ("true", ORANGE, "true, median"),
              ("consistency", BLUE, "as F says, median"), ("solved", GREEN, "solved, true, median"))),
            ("proposals outside the box [%]", (("outside", BLUE, ""),)),
            ("condition number κ (thin: 95th percentile)",
             (("forward", GREEN, "F"), ("inverse", BLUE, "I"), ("round_trip", RED, "F∘I"))),
        )  # fmt: skip
        for i, (title, lines) in enumerate(panels):
            axes = page.panel(0.58 + 3.12 * i, 0.52, 2.54, 2.2)
            for name, colour, label in lines:
                for part, width in ((name, 1.6), (f"{name}_p95", 0.7)):
                    if part != name and i != 2:
                        continue
                    for way, style in (("constant", "-o"), ("decaying", "--o"), ("tandem", "x")):
                        points = [(a, means[part]) for (w, a), means in found.items() if w == way]
                        a, values = (np.array(column) for column in zip(*points, strict=True))
                        axes.plot(
                            a + 0.03 * (way == "tandem"), values * (100 if i == 1 else 1), style,
                            color=colour, lw=width, ms=2 + width,
                            label=label if way == "constant" and part == name else None,
                        )  # fmt: skip
            axes.set_yscale("log" if i != 1 else "linear")
            axes.set_xlabel("α")
            axes.set_title(title, fontsize=8.5, loc="left")
            if i != 1:
                low, high = axes.get_ylim()
                axes.set_ylim(low, high * 4)  # room for the legend
                axes.legend(frameon=False, fontsize=7.5, ncols=2, loc="upper left")
        page.figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--points", type=int, default=5000)
    parser.add_argument("--targets", type=int, default=1000)
    parser.add_argument("--few", action="store_true", help="two weights and the tandem only")
    parser.add_argument("--write", action="store_true", help="into docs/explanations/alpha.md")
    options = parser.parse_args()
    quietly()
    ways = {"constant": (0.0, 1.0), "tandem": (1.0,)} if options.few else WAYS
    print(machine("lightning"))
    begin = time.perf_counter()
    furnace = compared("blast_furnace", ways, options)
    print("\nfurnace, 7 -> 4; limit: `solve` from the proposal\n" + table(furnace))
    sine = compared("sine", {"constant": ways["constant"]}, options)
    print("\nsine, 2 -> 1\n" + table(sine, kappa=False))
    print(f"\n{time.perf_counter() - begin:.0f} s")
    if options.write:
        put("furnace", table(furnace))
        put("sine", table(sine, kappa=False))
        picture(furnace, DOCS / "images" / "alpha.png")


if __name__ == "__main__":
    main()
