"""Threads in the place of processes that wait for each other.

They take turns: processes have each a torch of their own, threads share its settings (the default dtype).
"""

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor


def gathering(count, act):
    """Run ``act(rank, gather)`` in ``count`` threads; ``gather`` waits for all of them."""
    values, barrier, alone = {}, threading.Barrier(count), threading.Lock()

    def run(rank):
        turns = itertools.count()

        def gather(own):
            turn = next(turns)
            values[turn, rank] = own
            alone.release()
            try:
                barrier.wait(timeout=10)
            finally:
                alone.acquire()
            return [values[turn, other] for other in range(count)]

        with alone:
            act(rank, gather)

    with ThreadPoolExecutor(count) as pool:
        list(pool.map(run, range(count)))
