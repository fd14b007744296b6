"""torchrun's rendezvous handler under the clock; started by rendezvous.py.

Prints a line when it is ready to begin, then the seconds of each act as it ends.
"""

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from torch.distributed.elastic.rendezvous import RendezvousParameters
from torch.distributed.elastic.rendezvous.c10d_rendezvous_backend import create_backend
from torch.distributed.elastic.rendezvous.dynamic_rendezvous import (
    DynamicRendezvousHandler,
    create_handler,
)


MONITOR_INTERVAL = 0.1
"""Seconds between two looks of torchrun's agent for nodes that wait: its default."""


def node(endpoint: str, size: int) -> DynamicRendezvousHandler:
    """Return one node's handler, made as torchrun makes it."""
    params = RendezvousParameters(
        "c10d", endpoint, "benchmark", size, size, last_call_timeout=1
    )
    backend, store = create_backend(params)
    return create_handler(store, backend, params)


def again(handler: DynamicRendezvousHandler, *, failed: bool) -> None:
    """Meet again after a failure: who did not fail finds out as an agent does."""
    while not failed and handler.num_nodes_waiting() == 0:
        time.sleep(MONITOR_INTERVAL)
    handler.next_rendezvous()


def main() -> None:
    """Measure and print."""
    size, endpoint = int(sys.argv[1]), f"127.0.0.1:{sys.argv[2]}"
    handlers: list[DynamicRendezvousHandler] = []
    hosted = threading.Event()

    def join(rank: int) -> None:
        if rank:
            hosted.wait()
        handler = node(endpoint, size)
        hosted.set()
        handlers.append(handler)
        handler.next_rendezvous()

    with ThreadPoolExecutor(size) as pool:
        print("ready", flush=True)
        begin = time.perf_counter()
        list(pool.map(join, range(size)))
        print(time.perf_counter() - begin, flush=True)
        time.sleep(1.0)  # agents start their workers, and watch them
        begin = time.perf_counter()
        list(pool.map(lambda h: again(h, failed=h is handlers[-1]), handlers))
        print(time.perf_counter() - begin, flush=True)


if __name__ == "__main__":
    main()
