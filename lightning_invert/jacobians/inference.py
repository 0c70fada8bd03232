"""Tensors made in inference mode, as by `trainer.validate`: no gradient passes through them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

from lightning_invert.jacobians.contexts import without_checkpoints

__all__ = ["explained", "explanation_of", "with_clones"]

WORD = "nference tensor"
"""Part of what torch says of one."""

CLONE_IT = (
    " The function holds a tensor made in inference mode (as in `trainer.predict`), through which no "
    "gradient passes. Outside inference mode, make it again or clone it: `cache = cache.clone()`. Or "
    "write `Trainer(inference_mode=False)`."
)


Result = TypeVar("Result")

_lock = RLock()


def with_clones(function: Callable[..., Result], *arguments: Any) -> Result:
    """Call a function; where it fails for a tensor made in inference mode, with a clone of each.

    Wherever the function holds them: each operation is given the clones.
    """
    try:
        return function(*arguments)
    except RuntimeError as error:
        if WORD not in str(error):
            raise
    with _clones_given(), without_checkpoints():
        return function(*arguments)


def explanation_of(error: Exception) -> str:
    """Return what to do where no clone could be given, as inside of a scripted module; or nothing."""
    return CLONE_IT if WORD in str(error) and CLONE_IT not in str(error) else ""


@contextmanager
def explained() -> Iterator[None]:
    """Say what to do where no clone could be given."""
    try:
        yield
    except RuntimeError as error:
        if not explanation_of(error) or type(error) is not RuntimeError:
            raise
        raise RuntimeError(f"{error}{CLONE_IT}") from error


@contextmanager
def _clones_given() -> Iterator[None]:
    # Functions of the project's own with a backward pass are called past all modes.
    with _lock:
        given, own = _Clones(), vars(torch.autograd.Function)["apply"]

        def apply(kind: type, *arguments: Any, **options: Any) -> Any:
            with torch._C.DisableTorchFunction():  # or the mode answers for the tensors
                arguments = given.of(arguments)
            return own.__get__(None, kind)(*arguments, **options)

        setattr(torch.autograd.Function, "apply", classmethod(apply))  # noqa: B010
        try:
            with given:
                yield
        finally:
            setattr(torch.autograd.Function, "apply", own)  # noqa: B010


class _Clones(TorchFunctionMode):
    """Gives operations clones in the place of tensors made in inference mode."""

    def __init__(self) -> None:
        super().__init__()
        self._clones: dict[int, tuple[Tensor, Tensor]] = {}
        """Identity -> the tensor, which keeps its identity while it is held, and its clone."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return function(*self.of(args), **self.of(kwargs or {}))

    def of(self, arguments: Any) -> Any:
        """Return arguments with clones in the place of such tensors."""
        return tree_map_only(Tensor, self._clone, arguments)

    def _clone(self, tensor: Tensor) -> Tensor:
        if not tensor.is_inference():
            return tensor
        if id(tensor) not in self._clones:
            self._clones[id(tensor)] = tensor, tensor.clone()
        return self._clones[id(tensor)][1]
