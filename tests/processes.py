"""Processes that wait for each other, played by threads."""

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor


def gathering(count, act):
    """Let ``act(rank, gather)`` run in each of some processes; ``gather`` waits for all of them."""
    passed, barrier = {}, threading.Barrier(count)

    def run(rank):
        turns = itertools.count()

        def gather(mine):
            turn = next(turns)
            passed[turn, rank] = mine
            barrier.wait(timeout=10)
            return [passed[turn, other] for other in range(count)]

        act(rank, gather)

    with ThreadPoolExecutor(count) as pool:
        list(pool.map(run, range(count)))
