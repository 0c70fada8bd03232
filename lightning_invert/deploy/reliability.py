"""Describe how far to rely on a proposal, in plain values: for where there is no torch."""

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
    known = pair.evidence.rows("train")
    if reliability is None or known is None:
        return None
    ends = {"input_low": known[0].amin(0).tolist(), "input_high": known[0].amax(0).tolist()}
    return {**reliability.to_json(), **ends}
