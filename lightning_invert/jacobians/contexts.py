"""Contexts in which a function is differentiated."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from lightning_invert.jacobians.threads import once_for_all_threads

__all__ = [
    "differentiable",
    "evaluation_mode",
    "twice_differentiable",
    "uncompiled",
]


BACKENDS = (("generic", "all"), ("cuda", "all"), ("mkldnn", "all"))
OPERATIONS = tuple(
    (backend, operation)
    for backend in ("cuda", "mkldnn")
    for operation in ("matmul", "conv", "rnn")
)
"""What torch may compute in fewer bits than float32 has, and what an operation without a setting of its
own inherits one from."""


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
        uncompiled(),
    ):
        yield


@contextmanager
def uncompiled() -> Iterator[None]:
    """Let compiled functions run as they were written, so that nothing is compiled."""
    # Where Dynamo is not loaded nothing has been compiled, and loading it takes seconds.
    if "torch._dynamo" not in sys.modules:
        yield
        return
    with _eager():
        yield


@once_for_all_threads
@contextmanager
def _eager() -> Iterator[None]:
    with torch.compiler.set_stance("force_eager"):
        yield


@contextmanager
def twice_differentiable() -> Iterator[None]:
    """Let attention compute by the kernel that has a second derivative: flash attention has none."""
    with sdpa_kernel(SDPBackend.MATH):
        yield


@once_for_all_threads
@contextmanager
def _full_float32() -> Iterator[None]:
    """Switch off TF32 and the like: they keep 10 bits, and singular values below that are noise.

    torch has two interfaces to the same settings, and refuses to be asked by the older one what was
    set by the newer one. Both are as they were afterwards.
    """
    read = getattr(torch._C, "_get_fp32_precision_getter", None)  # from torch 2.9 on
    if read and all(read(*operation) == "ieee" for operation in OPERATIONS):
        yield
        return
    try:
        older = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    except RuntimeError:
        older = None
    newer = []
    if read:
        write = torch._C._set_fp32_precision_setter
        for place in BACKENDS:  # without what they inherit, operations show what is their own
            newer.append((place, read(*place)))
            write(*place, "none")
        newer += [(place, read(*place)) for place in OPERATIONS]
    try:
        if older:
            _set_older("highest", False)
        for place in OPERATIONS if read else ():
            write(*place, "ieee")
        yield
    finally:
        if older:
            _set_older(*older)
        for place, precision in newer:
            write(*place, precision)


def _set_older(matmul: str, convolution: bool) -> None:
    torch.set_float32_matmul_precision(matmul)
    torch.backends.cudnn.allow_tf32 = convolution


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
