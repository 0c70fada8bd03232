"""What benchmarks share: turns, the machine, a quiet trainer, judging proposals, keeping a table."""

from __future__ import annotations

import logging
import platform
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lightning_invert import Ensemble, ForwardInverseModule, SmoothMLP
from lightning_invert.datamodules import ProblemDataModule
from lightning_invert.problems import Problem

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

DOCS = Path(__file__).parent.parent / "docs"

TURN = 0.05
"""Seconds that one contestant runs before it is the next one's turn."""


def in_turns(contestants: dict[str, Callable[[], object]], seconds: float) -> dict[str, float]:
    """Return the median seconds of each, run one after the other, again and again."""
    rounds = 5 if seconds > 0.1 else 1
    for run in contestants.values():
        for _ in range(min(rounds, 2)):
            run()
    times: dict[str, list[float]] = {name: [] for name in contestants}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[next(iter(times))]) < rounds:
        for name, run in contestants.items():
            turn = time.perf_counter() + TURN
            while True:
                begin = time.perf_counter()
                run()
                now = time.perf_counter()
                times[name].append(now - begin)
                if now > turn:
                    break
    return {name: statistics.median(values) for name, values in times.items()}


def machine(*packages: str) -> str:
    """Name the machine and the versions."""
    found = []
    for package in ("torch", "numpy", *packages):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"no {package}")
    return f"{platform.machine()}, {torch.get_num_threads()} threads; {', '.join(found)}"


def quietly() -> None:
    """Let Lightning say nothing: benchmarks print numbers."""
    warnings.simplefilter("ignore")
    for name in ("lightning", "lightning.pytorch", "lightning_invert"):
        logging.getLogger(name).setLevel(logging.ERROR)


def quiet_trainer(epochs: int, **options: Any) -> Trainer:
    """Return a trainer that trains and does nothing else but what is asked for."""
    from lightning.pytorch import Trainer

    given = {"logger": False, "accelerator": "cpu", "max_epochs": epochs, **options}
    bars = ("enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    return Trainer(**dict.fromkeys(bars, False), **given)


def trained(data: ProblemDataModule, epochs: int, seed: int) -> ForwardInverseModule:
    """Train a pair with the recipe of the demo."""
    torch.manual_seed(seed)
    n, m = len(data.inputs), len(data.outputs)
    pair = ForwardInverseModule(
        Ensemble(SmoothMLP(n, m, width=192), members=3),
        SmoothMLP(m, n, width=128),
        alpha=0.8,
        learning_rate=0.01,
        adam={"betas": (0.95, 0.99), "weight_decay": 0.0},
    )
    quiet_trainer(epochs, check_val_every_n_epoch=epochs).fit(pair, datamodule=data)
    return pair.eval()


def resimulation_error(problem: Problem, x: Tensor, y: Tensor, spread: Tensor) -> Tensor:
    """Return how far the process is from y at x, in units of ``spread``: (N,), inf if without outcome."""
    with torch.no_grad():
        missed = (problem.forward(x) - y) / spread
    return missed.norm(dim=1).nan_to_num(nan=torch.inf)


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def put(name: str, text: str, docs: Path = DOCS) -> None:
    """Replace what stands, in the one page that has them, between two comments that name the text."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    (page,) = (page for page in docs.rglob("*.md") if begin in page.read_text())
    before, rest = page.read_text().split(begin)
    _, after = rest.split(end)
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}")
