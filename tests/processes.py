"""Threads in the place of processes that wait for each other."""

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor


def gathering(count, act):
    """Run ``act(rank, gather)`` in ``count`` threads; ``gather`` waits for all of them."""
    values, barrier = {}, threading.Barrier(count)

    def run(rank):
        turns = itertools.count()

        def gather(own):
            turn = next(turns)
            values[turn, rank] = own
            barrier.wait(timeout=10)
            return [values[turn, other] for other in range(count)]

        act(rank, gather)

    with ThreadPoolExecutor(count) as pool:
        list(pool.map(run, range(count)))
