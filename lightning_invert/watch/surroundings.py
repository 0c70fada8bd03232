"""Surroundings: how whoever runs a module sets torch up around its forward."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch

__all__ = ["AS_IT_IS", "Surroundings", "surroundings_of"]


@dataclass(frozen=True)
class Surroundings:
    """What a forward finds around it. They are in force while it runs, and not in a look's own code."""

    default_dtype: torch.dtype | None = None  # of tensors that it makes; None: as it is
    # What autocast lowers operations to. A look is without autocast, unless a forward needs it.
    autocast_dtype: torch.dtype | None = None

    def in_force(self) -> AbstractContextManager[None]:
        """Give new tensors the default dtype."""
        return nullcontext() if self.default_dtype is None else _default_dtype(self.default_dtype)


AS_IT_IS = Surroundings()
"""Nothing is set up."""


def surroundings_of(
    context: Callable[[], AbstractContextManager[object]], device_type: str
) -> Surroundings:
    """Read what a context sets up, and evaluate nothing in it.

    Some contexts keep a record of each evaluation, as those of float8 do: no look enters them. What
    fails sets nothing up.
    """
    before = torch.get_default_dtype()
    try:
        with torch.no_grad(), context():
            inside, autocast = torch.get_default_dtype(), None
            if torch.is_autocast_enabled(device_type):
                autocast = torch.get_autocast_dtype(device_type)
        return Surroundings(None if inside == before else inside, autocast)
    except Exception:  # noqa: BLE001  # whatever a plugin of the user's does
        return AS_IT_IS
    finally:
        torch.set_default_dtype(before)


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
