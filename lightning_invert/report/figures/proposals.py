"""All figures of what was proposed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from lightning_invert.report.figures.achieved import achieved
from lightning_invert.report.figures.sensitivities import sensitivities
from lightning_invert.report.figures.settings import settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lightning_invert.solver.proposal import Proposal

__all__ = ["proposal_figures"]


def proposal_figures(
    found: Proposal, *, known: Tensor | None = None, tolerance: float = 0.1
) -> dict[str, Figure]:
    """Draw what was wanted and achieved, the settings for the first target, and how sensitive they are.

    Args:
        found: What was proposed.
        known: Settings of the training data, shape (K, n).
        tolerance: By how many standard units the target may move in the last two.

    Returns:
        Name -> figure: ``achieved``, ``settings`` and ``sensitivities``.
    """
    return {
        "achieved": achieved(found),
        "settings": settings(found, known=known, tolerance=tolerance),
        "sensitivities": sensitivities(found, known=known, tolerance=tolerance),
    }
