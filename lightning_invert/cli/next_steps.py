"""What to type next, for whom a command has done what it does."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

import yaml

from lightning_invert.pair.module import ForwardInverseModule

__all__ = ["export_step", "print_next", "solve_step"]


def print_next(*steps: str) -> None:
    """Print commands, one a line."""
    shown = [step for step in steps if step]
    print("\n".join(f"{'' if line else 'Next:':11} {step}" for line, step in enumerate(shown)))


def solve_step(ckpt: str, pair: ForwardInverseModule) -> str:
    """Return a ``solve`` for the mean of each outcome; empty where the outcomes have no names."""
    if not pair.output_names or not pair.scale_y.fitted:
        return ""
    means = zip(pair.output_names, pair.scale_y.mean.tolist(), strict=True)
    targets = _inline({str(name): float(f"{mean:.3g}") for name, mean in means})
    return f"lightning-invert solve --ckpt {shlex.quote(ckpt)} --targets {targets}"


def export_step(ckpt: str, cost: Mapping[str, float] | None = None, backtest: str = "") -> str:
    """Return an ``export`` to a page, with prices and the summary of a back-test."""
    step = f"lightning-invert export --ckpt {shlex.quote(ckpt)} --to page"
    step += f" --cost {_inline(dict(cost))}" if cost else ""
    return f"{step} --backtest {shlex.quote(backtest)}" if backtest else step


def _inline(values: dict[str, float]) -> str:
    """Return numbers by name as a shell takes them."""
    text = yaml.safe_dump(
        values, default_flow_style=True, allow_unicode=True, width=2**20, sort_keys=False
    )
    return shlex.quote(text.strip())
