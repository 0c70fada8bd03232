"""Describe how far to rely on a proposal, in plain values that need no torch."""

from __future__ import annotations

from typing import Any

from lightning_invert.pair.module import ForwardInverseModule

__all__ = ["describe_reliability"]

KNOWN_POINTS = 512
"""Points of each split that a file carries; the reliability is measured at these."""


def describe_reliability(pair: ForwardInverseModule) -> dict[str, Any] | None:
    """Return the reliability of a pair's proposals without its members; ``None`` if it has none.

    Beside what :meth:`.Reliability.to_json` holds, ``input_low`` and ``input_high`` are the ranges of
    the known settings in physical units.
    """
    reliability = pair.proposer.measure_reliability(KNOWN_POINTS, members=False)
    training_rows = pair.evidence.rows("train")
    if reliability is None or training_rows is None:
        return None
    x, _ = training_rows
    ends = {"input_low": x.amin(0).tolist(), "input_high": x.amax(0).tolist()}
    return {**reliability.to_json(), **ends}
