import asyncio
import subprocess
import sys
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Any

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


SERVERS = """
import asyncio, sys
from elaunch_rdzv_c10d.thread_host import ThreadedServer

for _ in sys.stdin:
    server = ThreadedServer(control=False)
    print(*asyncio.run(server.start("127.0.0.1", 0)), flush=True)
"""


@pytest.fixture(scope="session")
def servers() -> Iterator[subprocess.Popen[str]]:
    """A process that starts a server for each line that it is told."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVERS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process


@pytest.fixture
def far_address(servers: subprocess.Popen[str]) -> tuple[str, int]:
    """Where a server in another process listens.

    Some calls of torch's client (`list_keys`) keep the interpreter's lock while they
    wait for the reply, which a server in a thread could then never give.
    """
    assert servers.stdin is not None
    assert servers.stdout is not None
    print(file=servers.stdin, flush=True)
    host, port = servers.stdout.readline().split()
    return host, int(port)


@pytest.fixture(scope="session")
def dist() -> Any:
    """The part of torch that has the stores."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of a missing numpy
        pytest.importorskip("torch", reason="torch is not installed: make test-interop")
        from torch import distributed
    return distributed


@pytest.fixture
def torch_store(dist: Any) -> Callable[..., Any]:
    """Make one of torch's clients of the store at an address."""

    def connect(address: tuple[str, int], **options: Any) -> Any:
        settings = {"is_master": False, "wait_for_workers": False, **options}
        return dist.TCPStore(*address, timeout=timedelta(seconds=20), **settings)

    return connect
