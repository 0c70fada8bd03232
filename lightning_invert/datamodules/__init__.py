"""Sources of (x, y) pairs, one file a source."""

from lightning_invert.datamodules.pair import PairDataModule, Statistics, Variable

__all__ = ["PairDataModule", "Statistics", "Variable"]
