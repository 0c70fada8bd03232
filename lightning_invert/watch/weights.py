"""Other weights in the places of a module's own, which stay untouched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from lightning_invert.jacobians.snapshot import is_sharded

__all__ = ["fitting_weights", "with_weights"]


def fitting_weights(module: nn.Module, state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return what a state dictionary holds for a module, on its devices; raise ValueError if it does not fit.

    Frozen weights may be missing, as they have not changed; what has no place in the module may be there.
    """
    extra = next((key for key in state if key.endswith("_extra_state")), None)
    if extra:
        raise ValueError(f"it keeps {extra!r}, which is more than weights")
    weights = {}
    for key, slots, name in _places(module):
        before, weight = slots[name], state.get(key)
        if is_sharded(before):
            raise ValueError("the weights are sharded over processes")
        is_parameter = isinstance(before, nn.Parameter)
        if weight is None and is_parameter and not before.requires_grad:
            continue
        if not isinstance(weight, Tensor) or weight.shape != before.shape:
            raise ValueError(f"its {key!r} is missing, or of another shape than the module's")
        weight = weight.to(before.device, before.dtype)
        weights[key] = nn.Parameter(weight, before.requires_grad) if is_parameter else weight
    return weights


@contextmanager
def with_weights(module: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Put weights and buffers in the places of a module's own meanwhile."""
    replaced = [(*place, place[1][place[2]]) for place in _places(module) if place[0] in weights]
    try:
        for key, slots, name, _ in replaced:
            slots[name] = weights[key]
        yield
    finally:
        for _, slots, name, before in replaced:
            slots[name] = before


def _places(module: nn.Module) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Return the places of weights and of buffers that are saved: key, and the dictionary with the name."""
    for path, part in module.named_modules(remove_duplicate=False):
        for slots in (part._parameters, part._buffers):
            for name, value in slots.items():
                saved = slots is part._parameters or name not in part._non_persistent_buffers_set
                if value is not None and saved:
                    yield f"{path}.{name}" if path else name, slots, name
