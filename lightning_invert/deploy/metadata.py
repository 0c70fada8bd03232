"""The metadata of a deployed map."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from torch import Tensor

from lightning_invert import __version__
from lightning_invert.deploy.maps import Columns, physical_map
from lightning_invert.jacobians.thresholds import Thresholds
from lightning_invert.pair.alpha import ConstantAlpha
from lightning_invert.pair.module import ForwardInverseModule

__all__ = ["METADATA_KEY", "describe"]

METADATA_KEY = "lightning_invert"

KNOWN_POINTS = 512
"""Points of each split that a file carries; the reliability is measured at these."""

USUAL = (0.025, 0.975)
"""Quantiles of the training rows."""


def describe(pair: ForwardInverseModule, name: str = "forward") -> dict[str, Any]:
    """Return the metadata of a map of a pair, in plain values that JSON holds.

    Keys: ``version`` of this package; ``map``; ``inputs`` and ``outputs`` of the map, each a list of
    ``name``, ``unit``, ``low`` and ``high`` (``None`` where that end is open or unknown), ``usual_low``
    and ``usual_high``, between which 95 % of the known training rows lie (``None`` without rows), and
    ``mean`` and ``std`` of the standardisation (0 and 1 without one), and ``matters_if`` (``None``, or
    the name, sign and number of :class:`.Variable`); the thresholds ``bands``,
    ``singular_floor`` and ``rank_atol``; ``alpha`` (``None`` for a schedule); ``reliability`` of the
    forward map's proposals (``None`` without data): what :meth:`.Reliability.to_json` holds, and the
    ranges ``input_low`` and ``input_high`` of the known settings in physical units; ``tried``, in
    words, what rows that were tried have changed (``None`` without any).
    """
    physical = physical_map(pair, name)
    thresholds = Thresholds()
    rows = dict(zip("xy", pair.evidence.rows("train") or (None, None), strict=True))
    return {
        "version": __version__,
        "map": name,
        "inputs": _columns(physical.domain, rows[physical.input_name]),
        "outputs": _columns(physical.image, rows[physical.output_name[0]]),  # y_round_trip is a y
        "bands": list(thresholds.bands),
        "singular_floor": thresholds.singular_floor,
        "rank_atol": thresholds.rank_atol,
        "alpha": pair.alpha.value if isinstance(pair.alpha, ConstantAlpha) else None,
        "reliability": _reliability(pair) if name == "forward" else None,
        "tried": _tried(pair) if name != "inverse" else None,
    }


def _tried(pair: ForwardInverseModule) -> str | None:
    """Say what rows that were tried have changed, and what of it a file does not carry."""
    feedback = pair.proposer.knowledge.feedback
    if feedback is None:
        return None
    corrected = "The predictions are" if feedback.correction else "Nothing in the predictions is"
    words = f"{corrected} corrected by rows that were tried: {len(feedback.errors)} are known."
    if feedback.changed:
        words += (
            " The process has changed since the training: away from these rows the bands given here are too "
            "narrow. Train anew, or ask `propose` in Python, whose bands know of it."
        )
    return words


def _columns(columns: Columns, rows: Tensor | None) -> list[dict[str, Any]]:
    usual = [[None] * len(columns.variables)] * 2
    if rows is not None:
        usual = np.quantile(rows.cpu().numpy(), USUAL, axis=0).tolist()
    numbers = zip(columns.mean.tolist(), columns.std.tolist(), *usual, strict=True)
    return [
        {
            "name": variable.name,
            "unit": variable.unit,
            "low": _finite(variable.low),
            "high": _finite(variable.high),
            "usual_low": usual_low,
            "usual_high": usual_high,
            "mean": mean,
            "std": std,
            "matters_if": variable.matters_if and [*variable.matters_if],
        }
        for variable, (mean, std, usual_low, usual_high) in zip(
            columns.variables, numbers, strict=True
        )
    ]


def _finite(end: float | None) -> float | None:
    return None if end is None or not math.isfinite(end) else float(end)


def _reliability(pair: ForwardInverseModule) -> dict[str, Any] | None:
    """Return the reliability of a pair's proposals, without that of its members."""
    reliability = pair.proposer.knowledge.measure(KNOWN_POINTS, members=False)
    training_rows = pair.evidence.rows("train")
    if reliability is None or training_rows is None:
        return None
    x, _ = training_rows
    ends = {"input_low": x.amin(0).tolist(), "input_high": x.amax(0).tolist()}
    return {**reliability.to_json(), **ends}
