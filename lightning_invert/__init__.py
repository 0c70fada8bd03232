"""Watch, while it trains, whether a PyTorch Lightning model can be inverted.

The public names are loaded when they are first used: ``import lightning_invert`` costs next to
nothing, and what needs torch alone does not import Lightning.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_invert.analysis.analyze import analyze
    from lightning_invert.callbacks import (
        ConditioningEarlyStopping,
        InvertibilityCallback,
        PredictionWriter,
    )
    from lightning_invert.jacobians.jacobian import batched_jacobian
    from lightning_invert.jacobians.lanczos import extreme_singular_values
    from lightning_invert.jacobians.singular_values import (
        effective_rank,
        log_volume,
        singular_values,
        weakest_directions,
    )
    from lightning_invert.jacobians.thresholds import Thresholds, condition_number, numerical_rank
    from lightning_invert.pair.ensemble import Ensemble
    from lightning_invert.pair.front import Front, front
    from lightning_invert.pair.module import ForwardInverseModule
    from lightning_invert.pair.networks import (
        LinearPlusNonlinear,
        ResidualMLP,
        SmoothMLP,
        Standardize,
    )
    from lightning_invert.pair.objective import ConstantAlpha, LinearDecayAlpha, consistency_loss
    from lightning_invert.pair.penalty import ConditioningPenalty, JacobianConsistency
    from lightning_invert.solver.cost import Near
    from lightning_invert.solver.proposal import Proposal
    from lightning_invert.solver.solution import Solution
    from lightning_invert.solver.solve import solve
    from lightning_invert.solver.targets import Interval
    from lightning_invert.variables import Variable
    from lightning_invert.watch.metric import InvertibilityMetric

__all__ = [
    "ConditioningEarlyStopping",
    "ConditioningPenalty",
    "ConstantAlpha",
    "Ensemble",
    "ForwardInverseModule",
    "Front",
    "Interval",
    "InvertibilityCallback",
    "InvertibilityMetric",
    "JacobianConsistency",
    "LinearDecayAlpha",
    "LinearPlusNonlinear",
    "Near",
    "PredictionWriter",
    "Proposal",
    "ResidualMLP",
    "SmoothMLP",
    "Solution",
    "Standardize",
    "Thresholds",
    "Variable",
    "analyze",
    "batched_jacobian",
    "condition_number",
    "consistency_loss",
    "effective_rank",
    "extreme_singular_values",
    "front",
    "log_volume",
    "numerical_rank",
    "singular_values",
    "solve",
    "weakest_directions",
]

__version__ = "0.1.0"

_HOMES = {
    "ConditioningEarlyStopping": "callbacks",
    "ConditioningPenalty": "pair.penalty",
    "ConstantAlpha": "pair.objective",
    "Ensemble": "pair.ensemble",
    "ForwardInverseModule": "pair.module",
    "Front": "pair.front",
    "Interval": "solver.targets",
    "InvertibilityCallback": "callbacks",
    "InvertibilityMetric": "watch.metric",
    "JacobianConsistency": "pair.penalty",
    "LinearDecayAlpha": "pair.objective",
    "LinearPlusNonlinear": "pair.networks",
    "Near": "solver.cost",
    "PredictionWriter": "callbacks",
    "Proposal": "solver.proposal",
    "ResidualMLP": "pair.networks",
    "SmoothMLP": "pair.networks",
    "Solution": "solver.solution",
    "Standardize": "pair.networks",
    "Thresholds": "jacobians.thresholds",
    "Variable": "variables",
    "analyze": "analysis.analyze",
    "batched_jacobian": "jacobians.jacobian",
    "condition_number": "jacobians.thresholds",
    "consistency_loss": "pair.objective",
    "effective_rank": "jacobians.singular_values",
    "extreme_singular_values": "jacobians.lanczos",
    "front": "pair.front",
    "log_volume": "jacobians.singular_values",
    "numerical_rank": "jacobians.thresholds",
    "singular_values": "jacobians.singular_values",
    "solve": "solver.solve",
    "weakest_directions": "jacobians.singular_values",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
