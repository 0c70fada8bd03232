"""What makes a surrogate of the furnace find the truly fragile points: one thing changed at a time.

F alone, in standardised units, one cycle of Adam; judged at 8 000 fresh points of the prior, of which
some 230 have a true condition number above 100. It prints how far the Jacobian is off (median and
95th percentile of the relative error), the rank correlation of the condition numbers, which share of
the truly fragile points is found (recall), and which share of the found is truly fragile (precision).

    python benchmarks/surrogate.py [--only smooth,relu] [--seeds 2] [--share 1.0]

``--share 0.1`` trains for a tenth of the epochs. All variants, one seed: about 25 minutes. ``--seeds``
above 1 also judges the mean of the networks, as ``lightning_invert.Ensemble`` takes it.
"""

from __future__ import annotations

import argparse
import math
import time

import torch
from common import machine
from torch import Tensor, nn
from torch.nn.functional import mse_loss, silu
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lightning_invert import Ensemble, ResidualMLP, analyze, batched_jacobian
from lightning_invert.datamodules import ProblemDataModule
from lightning_invert.pair.learning_rate import one_cycle

FRESH, SEED_OF_FRESH = 8000, 12345

BASE = {"activation": "SiLU", "width": 256, "depth": 3, "points": 5000, "batch": 64, "epochs": 200,
        "noise": 0.01, "rate": 3e-3, "betas": (0.9, 0.999), "decay": 0.0}  # fmt: skip

DEMO = {"width": 192, "points": 150_000, "batch": 512, "epochs": 28, "rate": 1e-2,
        "betas": (0.95, 0.99)}  # fmt: skip

VARIANTS = {
    "smooth": {},
    "relu": {"activation": "ReLU"},
    "relu and dropout, the literature's": {"network": "literature"},
    "tanh": {"activation": "Tanh"},
    "gelu": {"activation": "GELU"},
    "softplus": {"activation": "Softplus"},
    "no residual layers": {"residual": False},
    "width 64": {"width": 64},
    "width 512": {"width": 512},
    "depth 2": {"depth": 2},
    "depth 5": {"depth": 5},
    "weight decay 0.1": {"decay": 0.1},
    "averaged weights": {"averaged": 0.999},
    "twice the epochs": {"epochs": 400},
    "constant rate 1e-3": {"cycle": False, "rate": 1e-3},
    "no noise": {"noise": 0.0},
    "true Jacobians, weight 0.1": {"sobolev": 0.1},
    "20 000 points": {"points": 20_000, "batch": 128},
    "20 000 points, no noise": {"points": 20_000, "batch": 128, "noise": 0.0},
    "demo": DEMO,
    "demo, 20 epochs": DEMO | {"epochs": 20},
    "demo, 20 epochs, usual betas": DEMO | {"epochs": 20, "betas": (0.9, 0.999)},
    "demo, 20 epochs, width 256": DEMO | {"epochs": 20, "width": 256},
    "demo, 30 epochs, width 128": DEMO | {"epochs": 30, "width": 128},
}


class Net(nn.Module):
    """:class:`~lightning_invert.SmoothMLP`, with every choice open."""

    def __init__(self, activation: str, width: int, depth: int, residual: bool) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(7, width), nn.Linear(width, 4)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(depth - 1))
        self.skip = nn.Linear(7, 4, bias=False)
        self.bend = silu if activation == "SiLU" else getattr(nn, activation)()
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        h = self.bend(self.first(x))
        for layer in self.hidden:
            h = h + self.bend(layer(h)) if self.residual else self.bend(layer(h))
        return self.head(h) + self.skip(x)


class Furnace:
    """The data of a variant, standardised, and the truth in the same units."""

    def __init__(self, points: int, noise: float) -> None:
        data = ProblemDataModule("blast_furnace", num_points=points, noise=noise)
        self.problem, self.scales = data.problem, data.statistics
        train = data._rows("train")
        x_mean, x_std, y_mean, y_std = self.scales
        self.x = ((train.inputs - x_mean) / x_std).float()
        self.y = ((train.outputs - y_mean) / y_std).float()
        self.fresh = (data.problem.sample(FRESH, SEED_OF_FRESH) - x_mean) / x_std

    def truth(self, z: Tensor) -> Tensor:
        x_mean, x_std, y_mean, y_std = self.scales
        return (self.problem.outcomes(z.double() * x_std + x_mean) - y_mean) / y_std


def trained(furnace: Furnace, options: dict[str, object], seed: int, share: float) -> nn.Module:
    torch.manual_seed(seed)
    o = BASE | options
    shape = {key: o[key] for key in ("activation", "width", "depth")}
    net = ResidualMLP(7, 4) if "network" in o else Net(**shape, residual=o.get("residual", True))
    optimizer = torch.optim.AdamW(
        net.parameters(), lr=o["rate"], betas=o["betas"], weight_decay=o["decay"], fused=True
    )
    epochs = max(1, round(o["epochs"] * share))
    steps = epochs * math.ceil(len(furnace.x) / o["batch"])
    cycle = (
        LambdaLR(optimizer, lambda step: one_cycle(step / steps)) if o.get("cycle", True) else None
    )
    average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(o.get("averaged", 0.0)))
    slopes = None
    if "sobolev" in o:
        slopes = batched_jacobian(furnace.truth, furnace.x.double(), check=False).float()
    for _ in range(epochs):
        for rows in torch.randperm(len(furnace.x)).split(o["batch"]):
            x = furnace.x[rows]
            loss = mse_loss(net(x), furnace.y[rows])
            if slopes is not None:
                found = batched_jacobian(net, x, create_graph=True, check=False)
                loss = loss + o["sobolev"] * mse_loss(found, slopes[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if cycle is not None:
                cycle.step()
            if "averaged" in o:
                average.update_parameters(net)
    return (average.module if "averaged" in o else net).eval()


def judged(net: nn.Module, furnace: Furnace) -> str:
    found = analyze(net, furnace.fresh.float(), truth=furnace.truth, scale="physical").scalars
    error, p95 = found["jacobian_error_median"], found["jacobian_error_p95"]
    return (
        f"{error:7.2%} {p95:7.2%} {found['cond_rank_correlation']:8.4f} "
        f"{found.get('fragile_recall', math.nan):7.2f} {found.get('fragile_precision', math.nan):10.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default=",".join(VARIANTS), help="names, by commas")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--share", type=float, default=1.0, help="of the epochs")
    args = parser.parse_args()
    torch.set_num_threads(1)  # small layers: more threads only wait for each other
    print(machine("lightning"))
    print("limit: the truth itself, off by 0 %, with correlation, recall and precision 1")
    print(f"{'':36} seconds  J off   95 %   rank corr.  recall  precision")
    names = [name for name in VARIANTS if any(name.startswith(o) for o in args.only.split(","))]
    for name in names:
        options = VARIANTS[name]
        o = BASE | options
        furnace, members = Furnace(o["points"], o["noise"]), []
        for seed in range(args.seeds):
            begin = time.process_time()
            members.append(trained(furnace, options, seed, args.share))
            spent = time.process_time() - begin
            print(f"{name:36} {spent:6.0f} {judged(members[-1], furnace)}", flush=True)
        if args.seeds > 1:
            mean = f"mean of these {args.seeds} networks"
            print(f"{mean:36} {'':6} {judged(Ensemble(members).eval(), furnace)}", flush=True)


if __name__ == "__main__":
    main()
