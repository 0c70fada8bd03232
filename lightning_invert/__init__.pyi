from lightning_invert.analysis.analyze import analyze as analyze
from lightning_invert.callbacks import (
    ConditioningEarlyStopping as ConditioningEarlyStopping,
    InvertibilityCallback as InvertibilityCallback,
    PredictionWriter as PredictionWriter,
)
from lightning_invert.deploy import build_page as build_page, export_onnx as export_onnx
from lightning_invert.jacobians.jacobian import batched_jacobian as batched_jacobian
from lightning_invert.jacobians.singular_values import (
    singular_values as singular_values,
    weakest_directions as weakest_directions,
)
from lightning_invert.jacobians.thresholds import (
    Thresholds as Thresholds,
    condition_number as condition_number,
    numerical_rank as numerical_rank,
)
from lightning_invert.pair.alpha import (
    AlphaSchedule as AlphaSchedule,
    ConstantAlpha as ConstantAlpha,
    LinearDecayAlpha as LinearDecayAlpha,
)
from lightning_invert.pair.ensemble import Ensemble as Ensemble
from lightning_invert.pair.loss import consistency_loss as consistency_loss
from lightning_invert.pair.module import ForwardInverseModule as ForwardInverseModule
from lightning_invert.pair.networks import (
    LinearPlusNonlinear as LinearPlusNonlinear,
    ResidualMLP as ResidualMLP,
    SmoothMLP as SmoothMLP,
    Standardize as Standardize,
)
from lightning_invert.pair.penalty import (
    ConditioningPenalty as ConditioningPenalty,
    JacobianConsistency as JacobianConsistency,
)
from lightning_invert.problems.problem import Problem as Problem
from lightning_invert.proposals.evidence import Evidence as Evidence
from lightning_invert.proposals.proposal import Proposal as Proposal
from lightning_invert.proposals.proposer import Proposer as Proposer
from lightning_invert.solver.constraint import (
    Constraint as Constraint,
    LikeData as LikeData,
    Linear as Linear,
)
from lightning_invert.solver.cost import Near as Near, Plausible as Plausible, Robust as Robust
from lightning_invert.solver.solution import Solution as Solution
from lightning_invert.solver.solve import solve as solve
from lightning_invert.solver.targets import Interval as Interval
from lightning_invert.variables import Variable as Variable
from lightning_invert.watch.metric import InvertibilityMetric as InvertibilityMetric
from lightning_invert.watch.observation import Observation as Observation

__version__: str
