"""The page of the benchmark of inverse problems: a table and a picture."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common import markdown, put

SPACE = "\N{NO-BREAK SPACE}"

TITLES = {
    "sine": "sine",
    "ballistics": "ballistics",
    "robot_arm": "robot arm",
    "blast_furnace": "furnace",
}


def write_page(
    folder: Path,
    table: Mapping[str, Mapping[str, Any]],
    published: Mapping[str, Mapping[str, tuple[float, ...]]],
    runs: Mapping[str, list[dict[str, Any]]],
    machine: str,
) -> None:
    """Put table and picture into the documentation in ``folder``."""
    problems = list(runs)
    rows = []
    for method, of in table.items():
        cells = ["<br>".join(_with_spread(*v) for v in of[name]["r"].values()) for name in problems]
        seconds = [of[name]["seconds"] for name in problems]
        few = next(iter(of.values()))["targets"]
        mark = f" ({few} targets)" if few < 100 else ""
        took = f"{_short(min(seconds), '.1g')} to {_short(max(seconds), '.1g')}{SPACE}s"
        rows.append([f"{method}{mark}<br>{took}", *cells])
    for method, of in published.items():
        cells = ["<br>".join(_short(v) for v in of.get(name, ())) for name in problems]
        rows.append([f"*{method}, published*", *cells])
    limits = [
        "<br>".join(_short(seed["limit"]["r"][k]) for seed in seeds for k in seed["limit"]["r"])
        for seeds in runs.values()
    ]
    rows.append(["*the surrogate's own error, seed by seed*", *limits])
    found = markdown(["method, time a target", *(TITLES[name] for name in problems)], rows)
    seeds = ", ".join(f"{TITLES[name]} {len(of)}" for name, of in runs.items())
    put("known problems", f"\n{found}\n\nSeeds: {seeds}. {machine}.\n", folder)
    _draw(folder / "images" / "inverse_problems.png", table, published, problems)


def _with_spread(mean: float, spread: float) -> str:
    return _short(mean) + (f"{SPACE}±{SPACE}{_short(spread, '.0e')}" if spread else "")


def _short(value: float, form: str = ".1e") -> str:
    """Write a number with a short exponent, at whose minus no line breaks."""
    shortened = re.sub(r"e([+-])0*(\d)", r"e\1\2", format(value, form))
    return shortened.replace("+", "").replace("-", "\N{MINUS SIGN}")


def _draw(
    file: Path,
    table: Mapping[str, Mapping[str, Any]],
    published: Mapping[str, Mapping[str, tuple[float, ...]]],
    problems: list[str],
) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        1, len(problems), figsize=(3 * len(problems), 3.4), layout="constrained", squeeze=False
    )
    for ax, name in zip(axes[0], problems, strict=True):
        for i, (method, of) in enumerate(table.items()):
            r = of[name]["r"]
            ax.plot(list(r), [v[0] for v in r.values()], "-o", c=f"C{i}", ms=4, label=method)
        for i, (method, of) in enumerate(published.items()):
            values = of.get(name, ())
            ax.plot(
                (1, 10, 50)[: len(values)], values, c="k", marker="D+x"[i], ms=5, ls=":", lw=0.8,
                label=f"{method}, published",
            )  # fmt: skip
        ax.set(xscale="log", yscale="log", title=TITLES[name], xlabel="proposals T")
        ax.set_xticks((1, 10, 50), ("1", "10", "50"))
        ax.minorticks_off()
        ax.spines[["top", "right"]].set_visible(False)
    axes[0][0].set_ylabel("re-simulation error r$_T$")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, fontsize=7, frameon=False)
    figure.savefig(file, dpi=110)
