"""In what state a function is differentiated."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import nn

__all__ = ["differentiable", "evaluation_mode"]


@contextmanager
def differentiable(device_type: str) -> Iterator[None]:
    """Make gradients available, and in full precision, wherever the caller stands.

    What was compiled runs uncompiled: the backward pass of a compiled function is made for one use.

    Args:
        device_type: Where the work is done, as in ``tensor.device.type``.
    """
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast(device_type, enabled=False),
        # Where Dynamo is not loaded nothing has been compiled, and loading it takes seconds.
        torch.compiler.set_stance("force_eager")
        if "torch._dynamo" in sys.modules
        else nullcontext(),
    ):
        yield


@contextmanager
def evaluation_mode(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Switch off dropout and the like, and put every submodule's own flag back afterwards."""
    # The flags are set one by one: a module's own `train` may do more than set them.
    training = {part for module in modules for part in module.modules() if part.training}
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True
