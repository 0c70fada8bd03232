"""How the solver searches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from inspect import signature
from typing import Any

from lightning_invert.arguments import check_flag, check_integer, suggest

__all__ = ["Search"]


@dataclass(frozen=True)
class Search:
    """How long is searched, and from how many starts."""

    num_starts: int = 8
    max_steps: int = 50  # to the target, and as many that lower the cost
    progress: bool = True

    @classmethod
    def of(cls, options: dict[str, Any], function: Callable[..., Any]) -> Search:
        """Take what is of a search out of options; what else is there has to be of the function."""
        names, others = [field.name for field in fields(cls)], [*signature(function).parameters]
        for name in options:
            if name not in (*names, *others):
                hint = suggest(name, [*others, *names])
                raise TypeError(f"{function.__name__}() has no argument `{name}`.{hint}")
        read = cls(**{name: options.pop(name) for name in names if name in options})
        check_integer("num_starts", read.num_starts, low=1)
        check_integer("max_steps", read.max_steps, low=1)
        check_flag("progress", read.progress)
        return read
