"""What rows that were tried and measured say of a surrogate."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lightning_invert.proposals.correction import MAX_ROWS, Correction
from lightning_invert.proposals.drift import Drift
from lightning_invert.proposals.surrogate import Surrogate

__all__ = ["Feedback"]


@dataclass(frozen=True)
class Feedback:
    """What K tried rows say: of a change of the process, and of F's bias."""

    drift: Drift
    correction: Correction | None
    errors: Tensor  # (K, m): of F, as corrected by the other rows, in standard units

    @classmethod
    def of(cls, surrogate: Surrogate) -> Feedback | None:
        """Read the tried rows of a surrogate without a correction; ``None`` if it has none."""
        rows, units = surrogate.evidence.rows("tried"), surrogate.units
        if rows is None or units is None:
            return None
        missed = surrogate.evidence.missed
        drift = Drift.of(missed.tolist())
        points, errors = _errors(surrogate, rows)
        # Rows before a change are those of another process, and so are the validation rows.
        counted = errors.isfinite().all(1)
        counted[: max(0, drift.since - (len(missed) - len(counted)))] = False
        judged, validation = None, surrogate.evidence.rows("val")
        if drift.alarm is None and validation is not None:
            places, misses = _errors(surrogate, validation)
            known = misses.isfinite().all(1)
            judged = places[known], misses[known]
        fitted = counted.nonzero()[-MAX_ROWS:, 0]
        correction = Correction.fit(points[fitted], errors[fitted], judged)
        if correction is not None:
            errors[counted] -= correction.at(points[counted])
            errors[fitted] = correction.left_out
        return cls(drift, correction, errors)

    @property
    def changed(self) -> bool:
        """Whether the process has changed, so that the validation rows no longer tell of it."""
        return self.drift.alarm is not None

    def doubt(
        self, points: Tensor, coverage: float, *, joint: bool
    ) -> tuple[Tensor, Tensor] | None:
        """Return what is not known of F's bias at standardised points, and its part of a band, (N, m).

        ``None`` if the process has not changed: then the validation rows tell.
        """
        if not self.changed or self.correction is None:
            return None
        doubt = self.correction.to(points.device).doubt(points)
        share = coverage ** (1 / doubt.shape[1]) if joint else coverage
        return doubt, doubt * math.sqrt(2) * float(torch.erfinv(torch.tensor(share).double()))


def _errors(surrogate: Surrogate, rows: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Return standardised points and y - F(x) in standard units, without correction."""
    assert surrogate.units is not None
    placement = surrogate.description.placement()
    x, y = (part.to(placement.device) for part in rows)
    plain = replace(surrogate, correction=None)
    with surrogate.evaluating():
        errors = (y - plain.predict(x.to(placement.dtype)).double()) / surrogate.units[1]
    return surrogate.standardize(x), errors
