"""The command ``lightning-invert observe``: give a pair what was measured at settings that were tried."""

from __future__ import annotations

import io
import re
from pathlib import Path

import torch
from torch import Tensor

from lightning_invert.cli.checkpoint import load_pair, variables_of
from lightning_invert.cli.next_steps import print_next, solve_step
from lightning_invert.cli.observe_options import Options
from lightning_invert.cli.options import listed
from lightning_invert.cli.tables import open_table
from lightning_invert.cli.targets import read_rows
from lightning_invert.pair.checkpoint import CHECKPOINT_KEY, read_checkpoint
from lightning_invert.pair.module import ForwardInverseModule
from lightning_invert.report.files import replace_file
from lightning_invert.tables import unused_path

__all__ = ["run"]

COPIED = 1e-3
"""Standard units: what is measured is never as near as that to all that was predicted."""


def run(options: Options) -> None:
    """Judge the rows of a table, and write a checkpoint that knows them."""
    pair = load_pair(options.ckpt, listed(options.allow))
    inputs, outputs = variables_of(pair, "x"), variables_of(pair, "y")
    if options.out is not None and Path(options.out).is_dir():
        raise IsADirectoryError(
            f"Expected --out to name a file, like pair_observed.ckpt, but {options.out!r} is a folder."
        )
    variables = (*inputs, *outputs)
    reader = open_table(options.data, [v.name for v in variables], options, variables)
    x, y = read_rows(reader, pair.proposer.surrogate)
    _check_measured(options.data, pair, x, y)
    trials = pair.observe(x, y)
    checkpoint = read_checkpoint(options.ckpt)
    checkpoint[CHECKPOINT_KEY]["evidence"] = pair.evidence.state_dict()
    packed = io.BytesIO()
    torch.save(checkpoint, packed)
    file = _beside(Path(options.ckpt)) if options.out is None else Path(options.out)
    replace_file(file, packed.getvalue())
    print(trials)
    print(f"Checkpoint: {file}")
    print_next(solve_step(str(file), pair))


def _check_measured(file: str, pair: ForwardInverseModule, x: Tensor, y: Tensor) -> None:
    """Raise a ValueError if the outcomes are those that the pair predicts."""
    with torch.no_grad():
        predicted = pair.proposer.knowledge.surrogate.predict(x)
    unit = pair.scale_y.std if pair.scale_y.fitted else torch.ones(())
    if ((predicted - y) / unit).abs().max() < COPIED:
        raise ValueError(
            f"Expected {file!r} to hold what was measured, but all its outcomes are those that the pair "
            "predicts. Write the measured ones over the predicted ones of a table of proposals."
        )


def _beside(ckpt: Path) -> Path:
    """Return the unused name of a checkpoint that has observed more than this one."""
    stem = re.sub(r"_observed(-\d+)?$", "", ckpt.stem)
    return unused_path(ckpt.with_stem(f"{stem}_observed"))
