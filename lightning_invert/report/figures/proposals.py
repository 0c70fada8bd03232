"""All figures of proposals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from lightning_invert.report.figures.achieved import achieved
from lightning_invert.report.figures.sensitivities import sensitivities
from lightning_invert.report.figures.settings import settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lightning_invert.proposals.proposal import Proposal

__all__ = ["proposal_figures"]


def proposal_figures(
    proposal: Proposal, *, known: Tensor | None = None, tolerance: float = 0.1
) -> dict[str, Figure]:
    """Draw targets and outcomes, the settings for the first target, and their sensitivities."""
    return {
        "achieved": achieved(proposal),
        "settings": settings(proposal, known=known, tolerance=tolerance),
        "sensitivities": sensitivities(proposal, known=known, tolerance=tolerance),
    }
