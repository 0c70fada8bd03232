"""How a module is looked at without a trace."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

__all__ = ["isolated"]


@contextmanager
def isolated(module: nn.Module) -> Iterator[None]:
    """Put the random streams back afterwards, and let what the module logs meanwhile go nowhere.

    Args:
        module: A LightningModule, or any other.
    """
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002  # that of the user
    cuda = torch.cuda.is_available() and torch.cuda.is_initialized()
    devices = list(range(torch.cuda.device_count())) if cuda else []
    try:
        with torch.random.fork_rng(devices), _silent(module):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


@contextmanager
def _silent(module: nn.Module) -> Iterator[None]:
    """Let `self.log` in a watched forward do nothing: this is not a step of the module's own."""
    own = dict(vars(module))
    names = [name for name in ("log", "log_dict") if hasattr(module, name)]
    for name in names:
        vars(module)[name] = lambda *_, **__: None
    try:
        yield
    finally:
        for name in names:
            vars(module).pop(name)
            if name in own:
                vars(module)[name] = own[name]
