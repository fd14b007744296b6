import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from elaunch_rdzv_c10d import Store
from elaunch_rdzv_c10d.addresses import Endpoint, listen, resolve
from elaunch_rdzv_c10d.server import StoreServer
from elaunch_rdzv_c10d.sessions import Sessions
from elaunch_rdzv_c10d.thread_host import ThreadedServer


@pytest_asyncio.fixture
async def server() -> AsyncIterator[StoreServer]:
    """A control and TCPStore server in the loop of the test."""
    server = StoreServer(Sessions("the-host"))
    yield server
    await server.stop()


@pytest_asyncio.fixture
async def endpoint(server: StoreServer) -> Endpoint:
    """Where `server` listens."""
    listeners = listen(await resolve("127.0.0.1", 0))
    await server.start(listeners)
    return Endpoint(*listeners[0].getsockname())


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
    """Where a server in a thread listens, for tests that block."""
    server = ThreadedServer(control=False)
    yield asyncio.run(server.start("127.0.0.1", 0))
    asyncio.run(server.stop())


@pytest.fixture
def store(address: tuple[str, int]) -> Iterator[Store]:
    """Our client of that server."""
    with Store(*address, timeout=10.0) as store:
        yield store
