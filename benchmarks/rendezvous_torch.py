"""torchrun's rendezvous handler under the clock; started by rendezvous.py.

Prints a line when it is ready to begin, then one for each act as it ends: the seconds,
and for a backend over HTTP the requests and bytes of each node.
"""

import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import etcd_traffic
from torch.distributed.elastic.rendezvous import (
    RendezvousParameters,
    c10d_rendezvous_backend,
    etcd_rendezvous_backend,
)
from torch.distributed.elastic.rendezvous.dynamic_rendezvous import (
    DynamicRendezvousHandler,
    create_handler,
)


MONITOR_INTERVAL = 0.1
"""Seconds between two looks of torchrun's agent for nodes that wait: its default."""


_BACKENDS = {
    "c10d": c10d_rendezvous_backend.create_backend,
    "etcd-v2": etcd_rendezvous_backend.create_backend,
}


def node(params: RendezvousParameters) -> DynamicRendezvousHandler:
    """Return one node's handler, made as torchrun makes it."""
    backend, store = _BACKENDS[params.backend](params)
    return create_handler(store, backend, params)


def again(handler: DynamicRendezvousHandler, *, failed: bool) -> None:
    """Meet again after a failure: who did not fail finds out as an agent does."""
    while not failed and handler.num_nodes_waiting() == 0:
        time.sleep(MONITOR_INTERVAL)
    handler.next_rendezvous()


def timed(act: Callable[[], object], size: int) -> None:
    """Do something and print what it cost."""
    before = etcd_traffic.so_far()
    begin = time.perf_counter()
    act()
    seconds = time.perf_counter() - begin
    said = etcd_traffic.so_far() - before
    print(seconds, said.requests.total() / size, said.bytes / size, flush=True)


def main() -> None:
    """Measure and print."""
    backend, endpoint, run_id, nodes = sys.argv[1:]
    size = int(nodes)
    params = RendezvousParameters(
        backend, endpoint, run_id, size, size, last_call_timeout=1
    )
    etcd_traffic.count()
    handlers: list[DynamicRendezvousHandler] = []
    hosted = threading.Event()

    def join(rank: int) -> None:
        if rank:
            hosted.wait()
        handler = node(params)
        hosted.set()
        handlers.append(handler)
        handler.next_rendezvous()

    with ThreadPoolExecutor(size) as pool:
        print("ready", flush=True)
        timed(lambda: list(pool.map(join, range(size))), size)
        time.sleep(1.0)  # agents start their workers, and watch them
        last = handlers[-1]
        timed(
            lambda: list(pool.map(lambda h: again(h, failed=h is last), handlers)), size
        )


if __name__ == "__main__":
    main()
