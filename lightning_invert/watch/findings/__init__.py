"""Findings: what is found of a map beside its spectrum, a file each."""

from __future__ import annotations

from lightning_invert.watch.finding import MapQuestion
from lightning_invert.watch.findings.accuracy import Target
from lightning_invert.watch.findings.reach import Reach
from lightning_invert.watch.findings.round_trip import Identity
from lightning_invert.watch.findings.truth import AgainstTruth

__all__ = ["QUESTIONS"]

QUESTIONS: dict[str, type[MapQuestion]] = {
    question.key: question for question in (Target, Identity, AgainstTruth, Reach)
}
"""Key of ``maps=`` -> the question that it asks."""
