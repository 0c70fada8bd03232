"""Evaluate modules without a trace: nothing is logged meanwhile, and all is put back afterwards."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import FunctionType
from typing import Any

import numpy as np
import torch
from torch import nn
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
        with _streams_kept(), ExitStack() as stack:
            for part in parts:
                snapshot.add_module(part)
            snapshot.add_weights(parts)
            stack.enter_context(_silent(parts))
            stack.enter_context(_without_new_hooks(parts))
            stack.enter_context(_quiet_hooks(parts, snapshot))
            yield
    finally:
        snapshot.restore()


@contextmanager
def _streams_kept() -> Iterator[None]:
    """Put the random streams back.

    Those of a device only if they have moved: whoever sets one makes cuDNN draw the dropout of
    recurrent layers anew, and training goes on with another one.
    """
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002  # that of the user
    cpu = torch.get_rng_state()
    cuda = torch.cuda.is_available() and torch.cuda.is_initialized()
    devices = range(torch.cuda.device_count() if cuda else 0)
    states = [torch.cuda.get_rng_state(device) for device in devices]
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        torch.set_rng_state(cpu)
        for device, state in zip(devices, states, strict=True):
            if not torch.equal(torch.cuda.get_rng_state(device), state):
                torch.cuda.set_rng_state(state, device)


@contextmanager
def _silent(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Let what a watched forward logs go nowhere: this is not a step of the module's own."""
    # By name, because `lightning` and `pytorch_lightning` each have a class of their own.
    logging = [
        vars(module)
        for module in modules
        if any(kind.__name__ == "LightningModule" for kind in type(module).__mro__)
    ]
    replaced = [(own, name, own.get(name)) for own in logging for name in ("log", "log_dict")]
    trainers = {id(t): t for own in logging if (t := own.get("_trainer")) is not None}.values()
    loggers = [(trainer, trainer.loggers) for trainer in trainers if hasattr(trainer, "loggers")]
    for own, name, _ in replaced:
        own[name] = lambda *_, **__: None
    for trainer, originals in loggers:
        trainer.loggers = [*map(Silent, originals)]
    try:
        yield
    finally:
        for own, name, before in replaced:
            own.pop(name, None)
            if before is not None:
                own[name] = before
        for trainer, originals in loggers:
            trainer.loggers = originals


@contextmanager
def _quiet_hooks(modules: Sequence[nn.Module], snapshot: Snapshot) -> Iterator[None]:
    """Let hooks of the project's own leave nothing behind.

    A forward hook that returns something computes the output: it goes on. One that returned nothing
    only looks on: it is not called again, and what it keeps is put back. Backward hooks are not called.
    """
    replaced: list[tuple[dict[int, Any], dict[int, Any]]] = []
    of_all = vars(nn.modules.module)
    registered = [(name, of_all[f"_global{name}"]) for name in HOOKS]
    registered += [(n, hooks) for part in modules for n in HOOKS if (hooks := vars(part).get(n))]
    for name, hooks in registered:
        foreign = [key for key, hook in hooks.items() if _is_foreign(hook)]
        if not foreign:
            continue
        replaced.append((hooks, dict(hooks)))
        for key in foreign:
            if "backward" in name:
                del hooks[key]
            else:
                snapshot.add_function(hooks[key])
                snapshot.add(hooks[key])
                hooks[key] = _WhileItComputes(hooks[key])
    try:
        yield
    finally:
        for hooks, before in replaced:
            hooks.clear()
            hooks.update(before)


@contextmanager
def _without_new_hooks(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Take away the hooks that a forward has registered meanwhile, and left."""
    first = RemovableHandle.next_id
    try:
        yield
    finally:
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
