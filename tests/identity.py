"""What a module is: the same before and after a look.

``quiet_trainer`` puts a guard before and behind each callback that watches. Whatever it does, in any
test, has to leave everything of the module as it was, by identity and by content.
"""

import random
from collections import OrderedDict, deque
from functools import partialmethod

import numpy as np
import torch
from lightning.pytorch import Callback
from torch import nn
from torch.nn.parameter import is_lazy

from lightning_invert import InvertibilityCallback

HOOKS = [name for name in vars(InvertibilityCallback) if name.startswith("on_") or name == "setup"]
SLOTS = ("_parameters", "_buffers", "_modules")
PLAIN = {int, float, str, bool, type(None)}
EMPTY = {dict, OrderedDict, list, tuple, set}


def identity_of(module: nn.Module) -> dict[str, int]:
    """Every parameter, buffer, submodule and attribute under every name -> its identity."""
    objects = {}
    for path, part in module.named_modules(remove_duplicate=False):
        objects[path] = id(part)
        own = _own(part)
        for kind in SLOTS:
            objects |= {f"{path}.{kind}.{name}": id(x) for name, x in own.get(kind, {}).items()}
        objects |= {f"{path}:{name}": id(value) for name, value in own.items()}
        objects |= {f"{path}:class": type(part)}
    return objects


def state_of(module: nn.Module) -> dict[str, tuple]:
    """Every weight and buffer under every name -> type, dtype and values."""
    named = [
        *module.named_parameters(remove_duplicate=False),
        *module.named_buffers(remove_duplicate=False),
    ]
    return {
        name: (type(tensor), tensor.dtype, tensor.requires_grad, tensor.tolist())
        for name, tensor in named
    }


def content_of(value, depth=0):
    """What a value holds, in plain values: tensors with their place and gradient, collections, streams."""
    kind = type(value)
    if kind in PLAIN:
        return value
    if depth > 8:
        return id(value)
    if kind in EMPTY and not value:
        return kind
    if isinstance(value, torch.Tensor):
        return _content_of_tensor(value)
    if isinstance(value, np.ndarray):
        return str(value.tolist())
    if isinstance(value, torch.Generator):
        return bytes(value.get_state().numpy())
    if isinstance(value, np.random.Generator):
        return str(value.bit_generator.state)
    if isinstance(value, random.Random):
        return value.getstate()
    if isinstance(value, nn.Module):
        return everything_of(value, depth + 1)
    if isinstance(value, list | tuple | deque | set):
        return [content_of(part, depth + 1) for part in value]
    if isinstance(value, dict):
        return {id(key): content_of(part, depth + 1) for key, part in dict.items(value)}
    if kind.__module__.startswith("tests") and hasattr(value, "__dict__"):
        return content_of(vars(value), depth + 1)
    return value if isinstance(value, int | float | str) else id(value)


def _content_of_tensor(value):
    kind = (type(value), value.dtype, value.requires_grad)
    special = value.layout != torch.strided or value.is_meta or value.is_nested or is_lazy(value)
    if special or hasattr(value, "full_tensor"):
        return kind
    with torch._C.DisableTorchFunctionSubclass():
        grad = value.grad if value.is_leaf else None
        numbers = bytes(value.detach().contiguous().reshape(-1).view(torch.uint8).numpy())
        grad = None if grad is None else (id(grad), content_of(grad))
        node = value.grad_fn  # older torch wraps it anew each time it is asked
        node = node and (node.name(), getattr(node, "_sequence_nr", int)())
        return *kind, value.data_ptr(), node, numbers, grad


def everything_of(module: nn.Module, depth=0) -> dict:
    """Identity and content of all that a module is made of."""
    attributes = {
        f"{path}.{name}": content_of(value, depth + 1)
        for path, part in module.named_modules()
        for name, value in _own(part).items()
        if name not in ("_modules", "_trainer", "_fabric")
    }
    return {"identity": identity_of(module), "attributes": attributes}


def streams() -> dict:
    """The state of the random streams that all share."""
    return {
        "torch": bytes(torch.get_rng_state().numpy()),
        "python": random.getstate(),
        "numpy": [bytes(x) if isinstance(x, np.ndarray) else x for x in np.random.get_state()],
    }


def _own(part: nn.Module) -> dict:
    return {} if isinstance(part, torch.jit.ScriptModule) else vars(part)


def assert_same(found: dict, before: dict) -> None:
    """Compare what :func:`everything_of` found, and tell what differs."""
    for kind, expected in before.items():
        if found[kind] != expected:
            new, old = (
                x if isinstance(x, dict) else dict(enumerate(x)) for x in (found[kind], expected)
            )
            changed = [name for name in {**old, **new} if new.get(name) != old.get(name)]
            raise AssertionError(f"a look changed {kind}: {changed}")


class Guard(Callback):
    """Stands before and behind a callback, and compares the module with what it was between them."""

    def __init__(self):
        self.before = self.found = None

    def found_in(self, trainer, module):
        own = {k: v for k, v in trainer.callback_metrics.items() if "invertib" not in k}
        return {**everything_of(module), "streams": streams(), "metrics": content_of(own)}


class First(Guard):
    def note(self, trainer, module, *args, **kwargs):
        self.before = self.found_in(trainer, module)


class Last(Guard):
    def __init__(self, first):
        super().__init__()
        self.first = first

    def compare(self, trainer, module, *args, **kwargs):
        before, self.first.before = self.first.before, None
        if before is not None:
            assert_same(self.found_in(trainer, module), before)


for name in HOOKS:
    setattr(First, name, partialmethod(First.note))
    setattr(Last, name, partialmethod(Last.compare))


def guarded(callbacks):
    """Put a guard before and behind each callback that watches."""
    stands = []
    for callback in callbacks:
        watches = isinstance(callback, InvertibilityCallback)
        stands += [first := First(), callback, Last(first)] if watches else [callback]
    return stands
