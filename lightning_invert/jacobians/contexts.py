"""Contexts in which a function is differentiated."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

__all__ = ["differentiable", "evaluation_mode", "twice_differentiable"]


OPERATIONS = (
    *(("cuda", "matmul"), ("cudnn", "conv"), ("cudnn", "rnn")),
    *(("mkldnn", "matmul"), ("mkldnn", "conv"), ("mkldnn", "rnn")),
)
"""Operations that torch may compute in fewer bits than float32 has."""


@contextmanager
def differentiable(device_type: str) -> Iterator[None]:
    """Make gradients available, and in full precision, wherever the caller stands.

    Compiled functions run uncompiled: their backward pass is made for one use. Anomaly detection is
    off: a slope that is not finite is counted, and ends nothing.
    """
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autograd.set_detect_anomaly(False),
        torch.autocast(device_type, enabled=False),
        _full_float32(),
        # Where Dynamo is not loaded nothing has been compiled, and loading it takes seconds.
        torch.compiler.set_stance("force_eager")
        if "torch._dynamo" in sys.modules
        else nullcontext(),
    ):
        yield


@contextmanager
def twice_differentiable() -> Iterator[None]:
    """Let attention compute by the kernel that has a second derivative: flash attention has none."""
    with sdpa_kernel(SDPBackend.MATH):
        yield


@contextmanager
def _full_float32() -> Iterator[None]:
    """Switch off TF32 and the like: they keep 10 bits, and singular values below that are noise.

    torch has two interfaces to the same settings, and refuses to be asked by the older one what was
    set by the newer one. Both are as they were afterwards.
    """
    operations = [
        getattr(getattr(torch.backends, library), operation)
        for library, operation in OPERATIONS
        if hasattr(torch.backends, "fp32_precision")  # from torch 2.9 on
    ]
    before = [operation.fp32_precision for operation in operations]
    try:
        matmul, convolution = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    except RuntimeError:
        matmul = None
    try:
        if matmul is None:
            for operation in operations:
                operation.fp32_precision = "ieee"
        elif matmul != "highest" or convolution:
            torch.set_float32_matmul_precision("highest")
            torch.backends.cudnn.allow_tf32 = False
        yield
    finally:
        if matmul is not None and (matmul != "highest" or convolution):
            torch.set_float32_matmul_precision(matmul)
            torch.backends.cudnn.allow_tf32 = convolution
        for operation, precision in zip(operations, before, strict=True):
            operation.fp32_precision = precision


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
