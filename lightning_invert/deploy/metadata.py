"""What a deployed map tells of itself."""

from __future__ import annotations

import json
import math
from typing import Any

from lightning_invert import __version__
from lightning_invert.deploy.maps import Columns, physical_map
from lightning_invert.deploy.reliability import describe_reliability
from lightning_invert.jacobians.thresholds import Thresholds
from lightning_invert.pair.module import ForwardInverseModule
from lightning_invert.pair.objective import ConstantAlpha

__all__ = ["METADATA_KEY", "describe", "described"]

METADATA_KEY = "lightning_invert"


def describe(pair: ForwardInverseModule, name: str = "forward") -> dict[str, Any]:
    """Return what is to be known of a map of a pair, in plain values that JSON holds.

    Args:
        pair: The pair.
        name: Of the map: ``forward``, ``inverse`` or ``round_trip``.

    Returns:
        ``version`` of this package; ``map``; ``inputs`` and ``outputs`` of the map, each a list of
        ``name``, ``unit``, ``low`` and ``high`` (``None`` where that end is open or unknown) and
        ``mean`` and ``std``, by which the map standardises it (0 and 1 where it does not); the
        thresholds ``bands``, ``singular_floor`` and ``rank_atol``; ``alpha`` (``None`` of a
        schedule, which is no one number); ``reliability``, of the forward map, how far to rely on a
        proposal: see :func:`~lightning_invert.deploy.reliability.describe_reliability`.

    Raises:
        ValueError: If there is no such map, or nothing tells of how many columns it is.

    Example:
        >>> from torch import nn
        >>> from lightning_invert import Variable
        >>> pair = ForwardInverseModule(nn.Linear(1, 1), nn.Linear(1, 1), standardize=False)
        >>> pair.inputs, pair.outputs = (Variable("heat", "K", 0.0),), (Variable("rate"),)
        >>> describe(pair)["inputs"]
        [{'name': 'heat', 'unit': 'K', 'low': 0.0, 'high': None, 'mean': 0.0, 'std': 1.0}]
    """
    one = physical_map(pair, name)
    usual = Thresholds()
    return {
        "version": __version__,
        "map": name,
        "inputs": _described(one.domain),
        "outputs": _described(one.image),
        "bands": list(usual.bands),
        "singular_floor": usual.singular_floor,
        "rank_atol": usual.rank_atol,
        "alpha": pair.alpha.value if isinstance(pair.alpha, ConstantAlpha) else None,
        "reliability": describe_reliability(pair) if name == "forward" else None,
    }


def described(pair: ForwardInverseModule, name: str) -> str:
    """Return the same as JSON, in ASCII."""
    return json.dumps(describe(pair, name), allow_nan=False)


def _described(columns: Columns) -> list[dict[str, Any]]:
    return [
        {
            "name": variable.name,
            "unit": variable.unit,
            "low": _finite(variable.low),
            "high": _finite(variable.high),
            "mean": mean,
            "std": std,
        }
        for variable, mean, std in zip(
            columns.variables, columns.mean.tolist(), columns.std.tolist(), strict=True
        )
    ]


def _finite(end: float | None) -> float | None:
    return None if end is None or not math.isfinite(end) else float(end)
