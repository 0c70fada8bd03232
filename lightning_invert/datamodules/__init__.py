"""Sources of (x, y) pairs, a file each."""

from lightning_invert.datamodules.pair import PairDataModule, Statistics
from lightning_invert.datamodules.problem import ProblemDataModule
from lightning_invert.datamodules.tabular import TabularDataModule

__all__ = ["PairDataModule", "ProblemDataModule", "Statistics", "TabularDataModule"]
