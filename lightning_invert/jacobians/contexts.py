"""Contexts in which a function is differentiated: torch's settings, checkpoints, the mode of modules."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import checkpoint

__all__ = [
    "differentiable",
    "evaluation_mode",
    "twice_differentiable",
    "uncompiled",
    "without_checkpoints",
    "without_reentrant_checkpoints",
]

Change: TypeAlias = Callable[[], AbstractContextManager[Any]]

BACKENDS = (("generic", "all"), ("cuda", "all"), ("mkldnn", "all"))
OPERATIONS = tuple(
    (backend, operation)
    for backend in ("cuda", "mkldnn")
    for operation in ("matmul", "conv", "rnn")
)
"""What torch may compute in fewer bits than float32 has, and what an operation without a setting of its
own inherits one from."""


def once_for_all_threads(change: Change) -> Change:
    """Let the first thread make a change of what all share, and the last one take it back.

    Each by itself would put back what another has set: the change would stay for good.
    """
    lock, stack, depth = threading.Lock(), ExitStack(), 0

    @contextmanager
    def changed() -> Iterator[None]:
        nonlocal depth
        with lock:
            if depth == 0:
                stack.enter_context(change())
            depth += 1
        try:
            yield
        finally:
            with lock:
                depth -= 1
                if depth == 0:
                    stack.close()

    return changed


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


_eager = once_for_all_threads(lambda: torch.compiler.set_stance("force_eager"))


def uncompiled() -> AbstractContextManager[None]:
    """Let compiled functions run as they were written, so that nothing is compiled."""
    # Where Dynamo is not loaded nothing has been compiled, and loading it takes seconds.
    return _eager() if "torch._dynamo" in sys.modules else nullcontext()


def twice_differentiable() -> AbstractContextManager[None]:
    """Let attention compute by the kernel that has a second derivative: flash attention has none."""
    return sdpa_kernel(SDPBackend.MATH)


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


class _Unchecked:
    """Replace torch's reentrant checkpoints, and keep the activations."""

    @staticmethod
    def apply(function: Callable[..., Any], preserve_rng_state: bool, *arguments: Any) -> Any:
        return function(*arguments)


def _unchecked(*_: Any, **__: Any) -> Iterator[None]:
    """Replace the generator of torch's other checkpoints."""
    yield


def _replacing(name: str, stand_in: Any) -> Change:
    """Replace a kind of checkpoint, for which torch has no switch; where it has no such name, nothing.

    Other threads see the substitution, too: their values and gradients are the same meanwhile, and
    take more memory.
    """

    @once_for_all_threads
    @contextmanager
    def replaced() -> Iterator[None]:
        original = getattr(checkpoint, name, None)
        if original is not None:
            setattr(checkpoint, name, stand_in)
        try:
            yield
        finally:
            if original is not None:
                setattr(checkpoint, name, original)

    return replaced


without_reentrant_checkpoints = _replacing("CheckpointFunction", _Unchecked)
"""Evaluate without those whose backward pass adds to the parameters' `.grad`, which `grad` refuses."""

_GENERATOR = "_checkpoint_without_reentrant_generator"
_FROM_TORCH_2_14 = f"{_GENERATOR}_impl"
_without_others = _replacing(
    _FROM_TORCH_2_14 if hasattr(checkpoint, _FROM_TORCH_2_14) else _GENERATOR, _unchecked
)


@contextmanager
def without_checkpoints() -> Iterator[None]:
    """Keep all activations: a backward pass would recompute them with the weights of that moment."""
    with without_reentrant_checkpoints(), _without_others():
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
