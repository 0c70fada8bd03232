"""Callbacks for any LightningModule, one file a callback."""

from lightning_invert.callbacks.early_stopping import ConditioningEarlyStopping
from lightning_invert.callbacks.invertibility import InvertibilityCallback
from lightning_invert.callbacks.prediction_writer import PredictionWriter

__all__ = ["ConditioningEarlyStopping", "InvertibilityCallback", "PredictionWriter"]
