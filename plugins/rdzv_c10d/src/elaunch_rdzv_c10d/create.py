"""A store for processes that know its host and port; hosted by one of them."""

import asyncio
import concurrent.futures
from collections.abc import Coroutine
from typing import Any, TypeVar

from elaunch_rdzv_c10d.client import Store
from elaunch_rdzv_c10d.thread_host import ThreadedServer


T = TypeVar("T")

ANY_PORT = -1
"""Stands for a port that is free."""

CREATED = "elaunch/created"
"""Barrier of those who wait for each other."""


class HostedStore(Store):
    """A store that this process hosts, and a connection to it; `close` ends both."""

    def __init__(
        self, server: ThreadedServer, host: str, port: int, timeout: float
    ) -> None:
        self._server: ThreadedServer | None = server
        super().__init__(host, port, timeout)

    def close(self) -> None:
        """End the connection and the store. Twice is fine."""
        super().close()
        server, self._server = self._server, None
        if server:
            _run(server.stop())


def create_c10d_store(  # noqa: PLR0913, PLR0917 - the signature that torchelastic's users know
    is_server: bool,  # noqa: FBT001 - likewise
    server_addr: str,
    server_port: int = ANY_PORT,
    world_size: int = 1,
    timeout: float = 600.0,
    wait_for_workers: bool = True,  # noqa: FBT001, FBT002 - likewise
) -> Store:
    """Host a store, or connect to it; torch's clients can use it, too. Blocks.

    Args:
        is_server: Whether this process hosts it, for as long as it lives or until
            `Store.close`.
        server_addr: Name or address of its host.
        server_port: Its port; -1 for any that is free, for a process that is alone.
        world_size: How many processes use it.
        timeout: Seconds to connect, and that an operation may take.
        wait_for_workers: Whether to wait until all have come.

    Returns:
        The store; its ``port`` is the one that it has.

    Raises:
        ValueError: If others are to find a port that only this process knows.
        OSError: If nobody can listen there.
        StoreTimeout: If nobody answers, or not all have come in time.
    """
    if server_port == ANY_PORT and (world_size > 1 or not is_server):
        raise ValueError(
            f"a store of {world_size} processes needs a server_port that all of them "
            f"know, not {server_port}"
        )
    if is_server:
        server = ThreadedServer(control=False)
        _, port = _run(server.start(server_addr, max(server_port, 0), shared=True))
        store: Store = HostedStore(server, server_addr, port, timeout)
    else:
        store = Store(server_addr, server_port, timeout)
    if wait_for_workers and world_size > 1:
        try:
            store.barrier(CREATED, world_size)
        except BaseException:
            store.close()
            raise
    return store


def _run(work: "Coroutine[Any, Any, T]") -> T:
    """Do asyncio's work, also in a thread that has a loop already."""
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()
