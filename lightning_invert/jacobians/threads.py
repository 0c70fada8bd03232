"""Changes of what all threads share, such as a setting of torch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

__all__ = ["once_for_all_threads"]


def once_for_all_threads(
    change: Callable[[], AbstractContextManager[None]],
) -> Callable[[], AbstractContextManager[None]]:
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
