"""The metadata of a deployed map."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_invert import __version__
from lightning_invert.arguments import check_number
from lightning_invert.deploy.maps import Columns, physical_map
from lightning_invert.deploy.schema import reliability_numbers
from lightning_invert.jacobians.thresholds import Thresholds
from lightning_invert.pair.alpha import ConstantAlpha
from lightning_invert.pair.module import ForwardInverseModule
from lightning_invert.solver.constraints import read_constraints
from lightning_invert.variables import by_column

__all__ = ["METADATA_KEY", "describe"]

METADATA_KEY = "lightning_invert"

KNOWN_POINTS = 512
"""Points of each split that a file carries; the reliability is measured at these."""

USUAL = (0.025, 0.975)
"""Quantiles of the training rows."""

HISTORY = ("rows", "cheaper_share", "spent_mean", "proposed_mean", "within")
"""What a file carries of the summary of a back-test."""


def describe(
    pair: ForwardInverseModule,
    name: str = "forward",
    *,
    prices: Mapping[Any, float] | None = None,
    backtest: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the metadata of a map of a pair, in plain values for JSON.

    * ``version`` of this package, ``map``.
    * ``inputs``, ``outputs``: for each column ``name``, ``unit``, ``low`` and ``high`` (``None``: open or
      unknown), ``usual_low`` and ``usual_high`` (95 % of the training rows; ``None`` without rows),
      ``mean`` and ``std`` (0 and 1 without statistics), ``levels``, ``matters_if`` (as in
      :class:`.Variable`).
    * ``bands``, ``singular_floor``, ``rank_atol``; ``alpha`` (``None`` for a schedule).
    * ``reliability`` of the forward map's proposals (``None`` without data): that of
      :func:`.reliability_numbers`, with ``input_low`` and ``input_high``, the ranges of the known settings.
    * ``tried``: what tried rows have changed, in words (``None`` without any).
    * Of the forward map ``constraints``, each with ``name``, ``coefficients``, ``low`` and ``high``;
      ``prices`` by name; what the page shows of a ``backtest``.
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
        "constraints": _constraints(pair, physical.domain) if name == "forward" else [],
        "prices": None if prices is None else _prices(prices, physical.domain),
        "backtest": None if backtest is None else _history(backtest),
    }


def _constraints(pair: ForwardInverseModule, columns: Columns) -> list[dict[str, Any]]:
    """Return the linear constraints of a pair, in physical units."""
    unit = torch.ones(len(columns.variables), dtype=torch.float64)
    read = read_constraints(pair.constraints, columns.variables, unit, unit[None], 1e-3)
    parts = []
    for part, row_name in zip(pair.constraints, () if read is None else read.names, strict=True):
        weights = by_column("constraints", part.weights, columns.variables)
        coefficients = [float(weights.get(place, 0.0)) for place in range(len(unit))]
        ends = {"low": _finite(part.low), "high": _finite(part.high)}
        parts.append({"name": row_name, "coefficients": coefficients, **ends})
    return parts


def _prices(prices: Mapping[Any, float], columns: Columns) -> dict[str, float]:
    """Return prices by the name of their setting."""
    by_place = by_column("prices", prices, columns.variables)
    return {
        columns.variables[place].name: check_number("prices", price)
        for place, price in by_place.items()
    }


def _history(backtest: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a file carries of the summary of a back-test."""
    is_mapping = isinstance(backtest, Mapping)
    missing = [key for key in HISTORY if not is_mapping or key not in backtest]
    if missing or not isinstance(backtest["within"], Mapping):
        got = f"one without {', '.join(missing)}" if is_mapping and missing else repr(backtest)
        raise ValueError(
            "Expected argument `backtest` to be the `summary()` of a back-test, which `lightning-invert "
            f"backtest` writes to backtest.json, but got {got:.200}."
        )
    return {key: backtest[key] for key in HISTORY}


def _tried(pair: ForwardInverseModule) -> str | None:
    """Say what rows that were tried have changed, and what of it a file does not carry."""
    feedback = pair.proposer.knowledge.feedback
    if feedback is None:
        return None
    corrected = "correct" if feedback.correction else "do not change"
    words = f"{len(feedback.errors)} rows that were tried {corrected} the predictions."
    if feedback.changed:
        words += (
            " The process has changed since the training: away from these rows the bands given here are too "
            "narrow. Train anew, or use `propose` in Python, whose bands follow the change."
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
            "levels": list(variable.levels),
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
    return {**reliability_numbers(reliability), **ends}
