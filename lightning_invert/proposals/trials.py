"""Rows that were tried and measured, and what they tell."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_invert.arrays import Placement, TensorLike, read_tensor
from lightning_invert.doorway import Shown
from lightning_invert.proposals.surrogate import Surrogate
from lightning_invert.solver.rows import finite_rows, first_index
from lightning_invert.variables import Variable

__all__ = ["Trials", "read_measured", "read_trials", "wrong_shape"]


@dataclass(frozen=True, kw_only=True, repr=False)
class Trials(Shown):
    """N rows that were tried and measured, judged by the bands as they were before these rows.

    ``print`` describes it in words.

    Attributes:
        inputs: The inputs that were tried, shape (N, n).
        measured: What was measured, shape (N, m).
        predicted: What was predicted, shape (N, m).
        inside: Whether all outcomes lay inside the band that should hold nine of ten, shape (N,);
            ``None`` without a band.
        error: Root mean square distance of the outcomes from the prediction, in standard units,
            shape (N,).
        corrected_error: The same with the correction that the *other* tried rows make, shape (N,).
        corrected: Outputs that are corrected from now on.
        num_rows: Rows tried so far, these included.
        num_missed: How many of them missed their band.
        alarm: Index, among all tried rows, of the row that raised the alarm: outcomes miss their bands
            too often. ``None``: no alarm.
        since: Index of the row at which the process has changed, by estimate.
    """

    inputs: Tensor
    measured: Tensor
    predicted: Tensor
    inside: Tensor | None
    error: Tensor
    corrected_error: Tensor
    corrected: tuple[Variable, ...]
    num_rows: int
    num_missed: int
    alarm: int | None
    since: int

    def __len__(self) -> int:
        return len(self.inputs)


def read_trials(x: TensorLike, y: TensorLike, surrogate: Surrogate) -> tuple[Tensor, Tensor]:
    """Return inputs (N, n) and outcomes (N, m), float64, if they are like the known rows."""
    evidence = surrogate.evidence
    if evidence.rows("train") is None:
        raise ValueError(
            "Expected known rows of the training data, but there are none. Fit the pair, with "
            "`keep_points` above 0."
        )
    rows = read_measured(x, y, surrogate, "a row for each trial")
    if not 0 < len(rows[0]) <= evidence.num_points:
        raise ValueError(
            f"Expected from 1 to {evidence.num_points} rows, as many as are kept (`keep_points` of a "
            f"pair, `num_points` of an Evidence), but got {len(rows[0])}."
        )
    return rows


def read_measured(
    x: TensorLike, y: TensorLike, surrogate: Surrogate, what: str
) -> tuple[Tensor, Tensor]:
    """Return inputs (N, n) and outcomes (N, m), float64, if they are finite and like the known rows.

    NaN may stand for an input that does not matter.
    """
    float64 = Placement(torch.float64, torch.device("cpu"))
    rows = surrogate.filled(read_tensor("x", x, float64)), read_tensor("y", y, float64)
    for name, part, known in zip("xy", rows, surrogate.known or rows, strict=True):
        if part.ndim != 2 or part.shape[1:] != known.shape[1:] or len(part) != len(rows[0]):
            raise ValueError(wrong_shape(name, known.shape[-1], what, part))
        if not (finite := finite_rows(part)).all():
            row = first_index(~finite)
            raise ValueError(
                f"Expected argument `{name}` to be finite, but row {row} has {part[row].tolist()}. "
                "Leave out rows where a value was not measured."
            )
    return rows


def wrong_shape(name: str, columns: int, what: str, part: Tensor) -> str:
    """Say that an argument has another shape."""
    return f"Expected argument `{name}` to be of shape (N, {columns}), {what}, but got {tuple(part.shape)}."
