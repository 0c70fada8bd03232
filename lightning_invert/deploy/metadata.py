"""The metadata of a deployed map."""

from __future__ import annotations

import json
import math
from typing import Any

from lightning_invert import __version__
from lightning_invert.deploy.maps import Columns, physical_map
from lightning_invert.deploy.reliability import describe_reliability
from lightning_invert.jacobians.thresholds import Thresholds
from lightning_invert.pair.alpha import ConstantAlpha
from lightning_invert.pair.module import ForwardInverseModule

__all__ = ["METADATA_KEY", "describe", "describe_json"]

METADATA_KEY = "lightning_invert"


def describe(pair: ForwardInverseModule, name: str = "forward") -> dict[str, Any]:
    """Return the metadata of a map of a pair, in plain values that JSON holds.

    Args:
        pair: The pair.
        name: The map: ``forward``, ``inverse`` or ``round_trip``.

    Returns:
        ``version`` of this package; ``map``; ``inputs`` and ``outputs`` of the map, each a list of
        ``name``, ``unit``, ``low`` and ``high`` (``None`` where that end is open or unknown) and
        ``mean`` and ``std`` of the standardisation (0 and 1 without one); the thresholds ``bands``,
        ``singular_floor`` and ``rank_atol``; ``alpha`` (``None`` for a schedule); ``reliability`` of
        the forward map, see :func:`~lightning_invert.deploy.reliability.describe_reliability`.

    Raises:
        ValueError: If there is no such map, or the pair does not know its columns.

    Example:
        >>> from torch import nn
        >>> from lightning_invert import Variable
        >>> pair = ForwardInverseModule(nn.Linear(1, 1), nn.Linear(1, 1), standardize=False)
        >>> pair.inputs, pair.outputs = (Variable("heat", "K", 0.0),), (Variable("rate"),)
        >>> describe(pair)["inputs"]
        [{'name': 'heat', 'unit': 'K', 'low': 0.0, 'high': None, 'mean': 0.0, 'std': 1.0}]
    """
    physical = physical_map(pair, name)
    thresholds = Thresholds()
    return {
        "version": __version__,
        "map": name,
        "inputs": _columns(physical.domain),
        "outputs": _columns(physical.image),
        "bands": list(thresholds.bands),
        "singular_floor": thresholds.singular_floor,
        "rank_atol": thresholds.rank_atol,
        "alpha": pair.alpha.value if isinstance(pair.alpha, ConstantAlpha) else None,
        "reliability": describe_reliability(pair) if name == "forward" else None,
    }


def describe_json(pair: ForwardInverseModule, name: str) -> str:
    """Return the metadata as JSON, in ASCII."""
    return json.dumps(describe(pair, name), allow_nan=False)


def _columns(columns: Columns) -> list[dict[str, Any]]:
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
