"""The base class that makes our callbacks serve both names under which Lightning is installed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback as LightningCallback

__all__ = ["Callback"]

if TYPE_CHECKING or "pytorch_lightning" not in sys.modules:
    Base = LightningCallback
else:
    # The two packages are copies of each other that do not know each other's classes. Trainers call
    # a callback by its hooks alone, but LightningCLI of `pytorch_lightning` checks its type.
    from pytorch_lightning import Callback as PytorchLightningCallback

    class Base(LightningCallback, PytorchLightningCallback):
        """A callback of `lightning.pytorch` and of `pytorch_lightning`."""


class Callback(Base):
    """A callback that can be copied, whatever the module."""

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what Lightning attaches: the module's `log`, and with it module and trainer."""
        return {name: v for name, v in vars(self).items() if name not in ("log", "log_dict")}
