"""What all benchmarks share: taking turns, and naming the machine."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

import torch

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
