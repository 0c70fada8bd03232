"""What the page's scripts read of Python, name by name: constants of the solver and a reliability."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lightning_invert.proposals.band import COVERAGE, Band, band_words
from lightning_invert.proposals.reliability import NEIGHBOURS, Reliability
from lightning_invert.solver import (
    bounded_step,
    branches,
    cases,
    constraints,
    descent,
    least_squares,
    ranking,
)

__all__ = ["CONSTANTS", "reliability_numbers"]

CONSTANTS: dict[str, float] = {
    "MAX_PASSES": bounded_step.MAX_PASSES,
    "MIN_SLOPE": bounded_step.MIN_SLOPE,
    "SLACK": bounded_step.SLACK,
    "MIN_SQUARE": bounded_step.MIN_SQUARE,
    "HARD": bounded_step.HARD,
    "CAREFUL_STEPS": least_squares.CAREFUL_STEPS,
    "CAREFUL_SHARE": least_squares.CAREFUL_SHARE,
    "FIRST_DAMPING": least_squares.FIRST_DAMPING,
    "MIN_DAMPING": least_squares.MIN_DAMPING,
    "MAX_DAMPING": least_squares.MAX_DAMPING,
    "MIN_BESIDE_CONSTRAINTS": least_squares.MIN_BESIDE_CONSTRAINTS,
    "LOWER": least_squares.LOWER,
    "RAISE": least_squares.RAISE,
    "GOOD": least_squares.GOOD,
    "POOR": least_squares.POOR,
    "MIN_GAIN": least_squares.MIN_GAIN,
    "MIN_DECREASE": least_squares.MIN_DECREASE,
    "MIN_LENGTH": least_squares.MIN_LENGTH,
    "TRUSTED_RANGE": least_squares.TRUSTED_RANGE,
    "FIRST_CURVATURE": descent.FIRST_CURVATURE,
    "MANY_STEPS": descent.MANY_STEPS,
    "SECOND_CURVATURE": descent.SECOND_CURVATURE,
    "MIN_CURVATURE": descent.MIN_CURVATURE,
    "MAX_CURVATURE": descent.MAX_CURVATURE,
    "MAX_CHANGE": descent.MAX_CHANGE,
    "REJECTED": descent.REJECTED,
    "DESCENT_GAIN": descent.MIN_GAIN,
    "DESCENT_DAMPING": descent.DAMPING,
    "RESTORING_STEPS": descent.RESTORING_STEPS,
    "RESTORED": descent.RESTORED,
    "PATIENCE": descent.PATIENCE,
    "MAX_SLOPE": descent.MAX_SLOPE,
    "ROUNDS": constraints.ROUNDS,
    "PATIENT_ROUNDS": constraints.PATIENT_ROUNDS,
    "EXACT": constraints.EXACT,
    "HELD": constraints.HELD,
    "SUM_ROUNDING": constraints.ROUNDING,
    "BINDING": constraints.BINDING,
    "MAX_CASES": cases.MAX_CASES,
    "SAME_COST": cases.SAME_COST,
    "BETWEEN": branches.BETWEEN,
    "MIN_APART": ranking.MIN_APART,
}


def reliability_numbers(reliability: Reliability) -> dict[str, Any]:
    """Return what deploy/page/reliability.js reads; values in standard units are rounded."""
    return {
        "neighbours": NEIGHBOURS,
        "points": _rounded(reliability.points),
        "squared_errors": _rounded(reliability.squared_errors),
        "centre": _rounded(reliability.centre),
        "whitening": _rounded(reliability.whitening),
        "weights": _rounded(reliability.weights),
        "accuracy": _rounded(reliability.accuracy),
        "log_mean": _rounded(reliability.log_mean),
        "log_std": _rounded(reliability.log_std),
        "seen_low": reliability.seen_low.tolist(),
        "seen_high": reliability.seen_high.tolist(),
        "band": _band_numbers(reliability.band, len(reliability.accuracy)),
    }


def _band_numbers(band: Band, num_outputs: int) -> dict[str, Any]:
    """Return the numbers of the joint band with a coverage of 90 %."""
    words = band_words(num_outputs, COVERAGE, joint=True, num_rows=len(band.scores))
    return {
        "leverage": {
            "frequencies": _rounded(band.leverage.frequencies),
            "factor": _rounded(band.leverage.factor),
        },
        "weights": _rounded(band.weights),
        "quantiles": _rounded(band.quantiles),
        "scores": _rounded(band.scores.amax(1)),
        "places": _rounded(band.places),
        "scale": _rounded(band.scale),
        "limits": _rounded(band.limits),
        "num_alike": band.num_alike,
        "rank": band.rank(COVERAGE),
        "words": words,
    }


def _rounded(numbers: Tensor | float) -> Any:
    """Return numbers in plain values of seven digits."""
    values = numbers.tolist() if isinstance(numbers, Tensor) else numbers

    def plain(part: Any) -> Any:
        return [plain(each) for each in part] if isinstance(part, list) else float(f"{part:.7g}")

    return plain(values)
