"""Loggers of experiments, and what stands for them while a look writes nothing.

What is left: a package that a function imports itself, and `super().log` outside of a method `log`.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from types import FunctionType, MethodType, ModuleType
from typing import Any

__all__ = ["Silent", "is_a_logger"]

LOGGERS = (
    *("lightning.pytorch.loggers", "lightning.fabric.loggers"),
    *("pytorch_lightning.loggers", "lightning_fabric.loggers"),
    *("torch.utils.tensorboard", "tensorboardX"),
    *("aim", "clearml", "comet_ml", "mlflow", "neptune", "swanlab", "trackio", "wandb"),
)
"""Modules whose objects and functions write what they are given."""

PLAIN = (str, int, float, bool, type(None), os.PathLike)


def is_a_logger(value: Any) -> bool:
    """Tell whether a value writes into an experiment: a logger, its run, a package, ``self.log``."""
    kind = type(value)
    if kind is ModuleType:
        return _writes(value.__name__)
    if kind is FunctionType:
        return _writes(value.__module__ or "")
    if kind is MethodType:
        kind = type(value.__self__)
        if value.__name__ in ("log", "log_dict"):
            return any(k.__name__ == "LightningModule" for k in kind.__mro__)
    return _makes_loggers(kind)  # type: ignore[arg-type]


@functools.lru_cache(maxsize=4096)
def _makes_loggers(kind: type) -> bool:
    return any(_writes(k.__module__) for k in kind.__mro__)


def _writes(module: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in LOGGERS)


class Silent:
    """Takes every call, and does nothing. It tells what a logger tells: its name, its folder."""

    def __init__(self, logger: Any = None) -> None:
        vars(self)["_logger"] = logger

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        """Pass for a logger of its kind."""
        logger = vars(self)["_logger"]
        return Silent if logger is None else type(logger)

    def __getattr__(self, name: str) -> Any:
        # To ask for an experiment may begin one.
        value = None if name == "experiment" else getattr(vars(self)["_logger"], name, None)
        return Silent(value) if value is None or not isinstance(value, PLAIN) else value

    def __setattr__(self, name: str, value: Any) -> None:
        """Keep nothing."""

    def __call__(self, *_: Any, **__: Any) -> Silent | None:
        """Do nothing: what writes returns nothing, and what is not known may be a context."""
        is_a_function = type(vars(self)["_logger"]) in (FunctionType, MethodType)
        return None if is_a_function else Silent()

    def __getitem__(self, key: Any) -> Silent:
        return Silent()

    __enter__ = __call__

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __setitem__(self, key: Any, value: Any) -> None:
        """Keep nothing."""

    def __exit__(self, *_: object) -> None:
        """Let errors pass."""
