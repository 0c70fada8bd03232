"""The device of new tensors: ours are on the CPU, and those of the user's code where it says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import torch

__all__ = ["as_outside", "making_tensors_on_cpu"]

_outside: ContextVar[torch.device | None] = ContextVar("device outside", default=None)


@contextmanager
def making_tensors_on_cpu() -> Iterator[None]:
    """Make tensors on the CPU, where `torch.set_default_device` says otherwise: our code relies on it."""
    device = torch.get_default_device()
    if device.type == "cpu":
        yield
        return
    token = _outside.set(device)
    try:
        with torch.device("cpu"):
            yield
    finally:
        _outside.reset(token)


def as_outside() -> AbstractContextManager[Any]:
    """Let code of the user's make tensors on the device of its choice."""
    device = _outside.get()
    return nullcontext() if device is None else device
