"""Watch, while it trains, whether a PyTorch Lightning model can be inverted.

The public names are loaded when they are first used: ``import lightning_invert`` costs next to
nothing, and what needs torch alone does not import Lightning.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_invert.analysis import analyze
    from lightning_invert.jacobian import batched_jacobian
    from lightning_invert.matrix_free import extreme_singular_values
    from lightning_invert.metrics import InvertibilityMetric
    from lightning_invert.module import ForwardInverseModule
    from lightning_invert.networks import LinearPlusNonlinear, ResidualMLP, Standardize
    from lightning_invert.objective import ConstantAlpha, LinearDecayAlpha, consistency_loss
    from lightning_invert.penalty import ConditioningPenalty, JacobianConsistency
    from lightning_invert.spectrum import (
        condition_number,
        effective_rank,
        log_volume,
        numerical_rank,
        singular_values,
        weakest_directions,
    )

__all__ = [
    "ConditioningPenalty",
    "ConstantAlpha",
    "ForwardInverseModule",
    "InvertibilityMetric",
    "JacobianConsistency",
    "LinearDecayAlpha",
    "LinearPlusNonlinear",
    "ResidualMLP",
    "Standardize",
    "analyze",
    "batched_jacobian",
    "condition_number",
    "consistency_loss",
    "effective_rank",
    "extreme_singular_values",
    "log_volume",
    "numerical_rank",
    "singular_values",
    "weakest_directions",
]

__version__ = "0.1.0"

_HOMES = {
    "analysis": ("analyze",),
    "jacobian": ("batched_jacobian",),
    "matrix_free": ("extreme_singular_values",),
    "metrics": ("InvertibilityMetric",),
    "module": ("ForwardInverseModule",),
    "networks": ("LinearPlusNonlinear", "ResidualMLP", "Standardize"),
    "objective": ("ConstantAlpha", "LinearDecayAlpha", "consistency_loss"),
    "penalty": ("ConditioningPenalty", "JacobianConsistency"),
    "spectrum": (
        "condition_number",
        "effective_rank",
        "log_volume",
        "numerical_rank",
        "singular_values",
        "weakest_directions",
    ),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
