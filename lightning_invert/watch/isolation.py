"""Evaluate modules without a trace: nothing is logged meanwhile, and all is put back afterwards."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FunctionType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lightning_invert.jacobians.namespaces import is_of_a_library
from lightning_invert.jacobians.silence import Silent
from lightning_invert.jacobians.snapshot import Snapshot

__all__ = ["isolated"]

HOOKS = tuple(name for name in vars(nn.Module()) if name.endswith("_hooks") and "dict" not in name)


@contextmanager
def isolated(*modules: nn.Module, weights: bool = True) -> Iterator[None]:
    """Put back afterwards whatever using the modules may change, and let them log nothing meanwhile.

    ``weights``: whether weights are put back, too.
    """
    parts = list({id(part): part for module in modules for part in module.modules()}.values())
    snapshot = Snapshot(weights=weights)
    try:
        _keep_streams(snapshot)
        for part in parts:
            snapshot.add_module(part)
        snapshot.add_weights(parts)
        _silence(parts, snapshot)
        _quiet_hooks(parts, snapshot)
        yield
    finally:
        snapshot.restore()


def _keep_streams(snapshot: Snapshot) -> None:
    snapshot.undo(random.setstate, random.getstate())
    snapshot.undo(np.random.set_state, np.random.get_state())  # noqa: NPY002  # that of the user
    snapshot.undo(torch.set_rng_state, torch.get_rng_state())
    cuda = torch.cuda.is_available() and torch.cuda.is_initialized()
    for device in range(torch.cuda.device_count() if cuda else 0):
        snapshot.undo(_set_stream, device, torch.cuda.get_rng_state(device))


def _set_stream(device: int, state: Tensor) -> None:
    """Put the random stream of a device back if it has moved.

    Whoever sets one makes cuDNN draw the dropout of recurrent layers anew.
    """
    if not torch.equal(torch.cuda.get_rng_state(device), state):
        torch.cuda.set_rng_state(state, device)


def _silence(modules: Sequence[nn.Module], snapshot: Snapshot) -> None:
    """Let what a watched forward logs go nowhere: this is not a step of the module's own."""
    for module in modules:
        # By name, because `lightning` and `pytorch_lightning` each have a class of their own.
        if any(kind.__name__ == "LightningModule" for kind in type(module).__mro__):
            own = vars(module)  # which is put back
            own["log"] = own["log_dict"] = lambda *_, **__: None
            trainer: Any = own.get("_trainer")
            loggers = getattr(trainer, "loggers", [])
            if any(type(logger) is not Silent for logger in loggers):
                snapshot.undo(setattr, trainer, "loggers", loggers)
                trainer.loggers = [*map(Silent, loggers)]


def _quiet_hooks(modules: Sequence[nn.Module], snapshot: Snapshot) -> None:
    """Let hooks of the project's own leave nothing behind, nor those that a forward registers.

    A forward hook that returns something computes the output: it goes on. One that returned nothing
    only looks on: it is not called again, and what it keeps is put back. Backward hooks are not called.
    """
    of_all = vars(nn.modules.module)
    registered = [(name, of_all[f"_global{name}"]) for name in HOOKS]
    registered += [(n, hooks) for part in modules for n in HOOKS if (hooks := vars(part).get(n))]
    snapshot.undo(_remove_new_hooks, modules, RemovableHandle.next_id)
    for name, hooks in registered:
        foreign = [key for key, hook in hooks.items() if _is_foreign(hook)]
        if foreign:
            snapshot.keep(hooks, ())
        for key in foreign:
            if "backward" in name:
                del hooks[key]
            else:
                snapshot.add_function(hooks[key])
                snapshot.add(hooks[key])
                hooks[key] = _WhileItComputes(hooks[key])


def _remove_new_hooks(modules: Sequence[nn.Module], first: int) -> None:
    if RemovableHandle.next_id > first:
        places = (
            hooks for part in modules for name, hooks in vars(part).items() if "_hooks" in name
        )
        for hooks in places:
            for key in [key for key in hooks or () if key >= first]:
                del hooks[key]


class _WhileItComputes:
    """A hook that is called until it has returned nothing."""

    def __init__(self, hook: Callable[..., Any]) -> None:
        self._hook: Callable[..., Any] | None = hook

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        result = None if self._hook is None else self._hook(*args, **kwargs)
        if result is None or type(result) is Silent:  # as `lambda *_: logger.log(...)` returns
            self._hook, result = None, None
        return result


def _is_foreign(hook: Any) -> bool:
    """Tell whether a hook is the project's own, and no part of how a library computes."""
    while isinstance(hook, functools.partial):
        hook = hook.func
    hook = getattr(hook, "__func__", hook)
    module = getattr(hook, "__module__", None)
    if not isinstance(hook, FunctionType):
        module = type(hook).__module__
    return not is_of_a_library(module)
