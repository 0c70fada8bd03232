"""Where the known problems are hard: ``python -m docs.problem_map`` draws docs/images/problems.png.

It also prints the table of docs/evidence/problems.md.
"""

from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from lightning_invert import condition_number, singular_values
from lightning_invert.problems import Ballistics, BlastFurnace, MultilayerFilm, RobotArm, Sine
from lightning_invert.problems.multilayer_film import refractive_index
from lightning_invert.report.figures import style

FILE = Path(__file__).parent / "images" / "problems.png"
GRID = 81
SHARES = (0.5, 0.95, 0.99)
KAPPA = "log₁₀ κ, standardised"


def standardised(problem, x):
    """Singular values of the Jacobians in units of the spread of the prior's points."""
    prior = problem.sample(3000, seed=0)
    spread = prior.std(0) / problem.forward(prior).std(0)[:, None]
    return singular_values(problem.jacobian(x) * spread)


def log10_condition(problem, x):
    return condition_number(standardised(problem, x)).log10()


def plane(problem, base, across, up):
    """A grid over two inputs, or two groups of inputs, within the box."""
    low, high = problem.bounds
    axes = [torch.linspace(low[i], high[i], GRID).double() for i in (across[0], up[0])]
    x = torch.tensor(base).double().repeat(GRID * GRID, 1)
    grid = torch.cartesian_prod(*axes)
    x[:, across], x[:, up] = grid[:, :1], grid[:, 1:]
    return x, axes


def draw(figure, axes, problem, base, across, up, value, what, top=None, colours="cividis"):
    """Draw a value over two inputs; what is bright is hard."""
    x, (horizontal, vertical) = plane(problem, base, across, up)
    values = value(x).reshape(GRID, GRID).T
    mesh = axes.pcolormesh(horizontal, vertical, values, cmap=colours, vmax=top, shading="nearest")
    figure.colorbar(mesh, ax=axes, label=what, extend="neither" if top is None else "max")
    axes.set_xlabel(problem.inputs[across[0]].label)
    axes.set_ylabel(problem.inputs[up[0]].label)
    n, m = len(problem.inputs), len(problem.outputs)
    axes.set_title(
        f"{type(problem).__name__}, {n} → {m}", fontsize=9, fontweight="bold", loc="left"
    )


def picture():
    furnace, arm, throw, sine, film = (
        p() for p in (BlastFurnace, RobotArm, Ballistics, Sine, MultilayerFilm)
    )
    with style.styled():
        figure = Figure(figsize=(10.5, 5.8), layout="constrained")
        spots = figure.subplots(2, 3).flatten()
        draw(
            figure, spots[0], furnace, [12.5, 18.6, 41.3, 25.6, 900.0, 1400.0, 199.0], [0], [3],
            lambda x: log10_condition(furnace, x), KAPPA, top=6,
        )  # fmt: skip
        draw(
            figure, spots[1], arm, [0.0] * 4, [1], [2], lambda x: log10_condition(arm, x), KAPPA,
            top=3,
        )  # fmt: skip
        draw(
            figure, spots[2], throw, [0.0, 1.5, 0.8, 1.0], [2], [3],
            lambda x: throw.jacobian(x)[:, 0, 2].abs().log10(), "log₁₀ |∂ impact / ∂ angle|, m/rad",
            colours="cividis_r",
        )  # fmt: skip
        draw(
            figure, spots[3], sine, [0.0] * 2, [0], [1],
            lambda x: singular_values(sine.jacobian(x))[:, 0].clamp(min=0.3).log10(),
            "log₁₀ of the gradient's norm", colours="cividis_r",
        )  # fmt: skip
        draw(
            figure, spots[4], film, [0.0] * 8, [0, 2, 4, 6], [1, 3, 5, 7],
            lambda x: log10_condition(film, x), KAPPA,
        )  # fmt: skip
        mirrors = torch.linspace(450, 850, 9).double()
        quarter = [mirrors / 4 / refractive_index(m, mirrors) for m in ("TiO2", "SiO2")]
        spots[4].plot(*quarter, ":", color="white", linewidth=1)
        spots[4].set_xlabel("each film of TiO2 [nm]")
        spots[4].set_ylabel("each film of SiO2 [nm]")
        shares(spots[5], [furnace, arm, film])
    return figure


def shares(axes, problems):
    for problem, colour in zip(problems, (style.BLUE, style.ORANGE, style.RED), strict=True):
        values = log10_condition(problem, problem.sample(3000, seed=1)).sort().values
        share_above = 1 - np.arange(len(values)) / len(values)
        axes.step(values, share_above, color=colour, label=type(problem).__name__)
    axes.set(yscale="log", xlim=(0, 9), ylim=(5e-4, 1.1), xlabel=KAPPA, ylabel="share above")
    axes.set_title("Points of the prior", fontsize=9, fontweight="bold", loc="left")
    axes.legend(frameon=False, loc="upper right")


def table():
    """Return the table; docs/evidence/problems.md says in words where the rank is below k."""
    lines = ["| problem | n → m | κ median | 95 % | 99 % | rank < k |", "|---|---|---|---|---|---|"]
    for problem in (p() for p in (BlastFurnace, RobotArm, Ballistics, Sine, MultilayerFilm)):
        sigma = standardised(problem, problem.sample(3000, seed=1))
        kappa = condition_number(sigma).quantile(torch.tensor(SHARES).double())
        low = (sigma[:, -1] <= 1e-5).sum()
        n, m = len(problem.inputs), len(problem.outputs)
        numbers = " | ".join(f"{float(f'{value:.2g}'):g}" for value in kappa.tolist())
        lines.append(f"| `{problem.name}` | {n} → {m} | {numbers} | {low} of 3000 |")
    return "\n".join(lines)


if __name__ == "__main__":
    picture().savefig(FILE)
    print(table())
