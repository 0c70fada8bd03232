"""How far a proposal can be relied on, in plain values: for where there is no torch."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lightning_invert.pair.module import ForwardInverseModule

__all__ = ["describe_trust"]

KNOWN_POINTS = 512
"""Of each split: what travels with a file. The calibration is that of these points."""

DIGITS = 7


def describe_trust(pair: ForwardInverseModule) -> dict[str, Any] | None:
    """Return what a calibration of the pair's proposals consists of; ``None`` if it has none.

    It is that of at most :data:`KNOWN_POINTS` validation and as many training points, without the
    spread over F's members: what it needs of a proposal is x and the residual.

    Args:
        pair: A pair that keeps rows of its data.

    Returns:
        The attributes of :class:`~lightning_invert.solver.calibration.Calibration` as lists, with
        ``seen_low`` and ``seen_high`` the ranges of the known outcomes in physical units, and
        ``input_low`` and ``input_high`` those of the known settings.
    """
    found = pair.calibrated(KNOWN_POINTS, members=False)
    if found is None:
        return None
    described = {
        name: _rounded(value) if isinstance(value, Tensor) else float(f"{value:.{DIGITS}g}")
        for name, value in vars(found).items()
    }
    known = pair.evidence.rows("train")
    assert known is not None
    ends = {"input_low": known[0].amin(0).tolist(), "input_high": known[0].amax(0).tolist()}
    seen = {name: getattr(found, name).tolist() for name in ("seen_low", "seen_high")}
    return {**described, **seen, **ends}


def _rounded(values: Tensor) -> Any:
    if values.ndim > 1:
        return [_rounded(row) for row in values]
    return [float(f"{value:.{DIGITS}g}") for value in values.tolist()]
