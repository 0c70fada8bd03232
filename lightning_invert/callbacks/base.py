"""The base class that makes our callbacks serve both names under which Lightning is installed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from lightning.pytorch import Callback as LightningCallback

__all__ = ["Callback"]

if TYPE_CHECKING or "pytorch_lightning" not in sys.modules:
    Callback = LightningCallback
else:
    # The two packages are copies of each other that do not know each other's classes. Trainers call
    # a callback by its hooks alone, but LightningCLI of `pytorch_lightning` checks its type.
    from pytorch_lightning import Callback as PytorchLightningCallback

    class Callback(LightningCallback, PytorchLightningCallback):
        """A callback of `lightning.pytorch` and of `pytorch_lightning`."""
